import TokenModel

/// What is on its way to the journal, and how far it has come. Pure: the feed sends, reads back and tells the time.
///
/// A record is known by its number and the beginning of its chain value: after an old copy of a database was put in its
/// place, the journal holds other records of the same numbers.
struct JournalProgress {
    /// Records between the first that is not read back and the last that was sent: bounds what is remembered.
    static let windowRecords = 200_000
    /// journald syncs what it was sent within five minutes (SyncIntervalSec= in journald.conf(5)); twice that, and what
    /// was read back is on the disk.
    static let syncedAfterMilliseconds: Int64 = 600_000
    /// After so long without news, what is not there is sent again; twice as long each time, up to the maximum.
    static let resendMilliseconds: Int64 = 15_000
    static let resendMaxMilliseconds: Int64 = 600_000

    /// A record, as far as telling it from others takes.
    struct Mark: Equatable {
        let sequence: Int64
        let chain: UInt64

        init(sequence: Int64, chain: UInt64) {
            self.sequence = sequence
            self.chain = chain
        }

        init(_ record: AuditRecord) { self.init(sequence: record.sequence, chain: record.chain.words.0) }
    }

    private(set) var sent: Int64
    private(set) var confirmed: Int64
    private(set) var synced: Int64
    /// What was sent and is not read back, in order: that before `first` is.
    private var pending: [Mark] = []
    private var first = 0
    /// What was read back ahead of others: the newest of each number.
    private var seen: [Int64: UInt64] = [:]
    /// What was confirmed when, a minute apart.
    private var history: [(milliseconds: Int64, confirmed: Int64)] = []
    private var newsAt: Int64
    private var resendAfter = Self.resendMilliseconds

    /// - Parameters:
    ///   - confirmed: what is known to have been synced.
    init(sent: Int64, confirmed: Int64, now: Int64) {
        self.sent = sent
        self.confirmed = confirmed
        synced = confirmed
        newsAt = now
    }

    /// The numbers that two records have.
    static func differing(_ marks: [Mark]) -> [Int64] {
        let sorted = marks.sorted { ($0.sequence, $0.chain) < ($1.sequence, $1.chain) }
        return zip(sorted, sorted.dropFirst())
            .filter { $0.sequence == $1.sequence && $0.chain != $1.chain }.map(\.0.sequence)
    }

    var hasPending: Bool { first < pending.count }
    var isFull: Bool { pending.count - first >= Self.windowRecords }

    /// Whether a record is in the journal already.
    func isFound(_ mark: Mark) -> Bool { seen[mark.sequence] == mark.chain }

    /// A record was handed to journald, or was found to be there.
    mutating func didSend(_ mark: Mark) {
        sent = max(sent, mark.sequence)
        pending.append(mark)
    }

    /// There is no record up to this number that was not sent: a restore gave the numbers to none.
    mutating func didSkip(to sequence: Int64) {
        seen[sequence] = 0
        didSend(Mark(sequence: sequence, chain: 0))
    }

    /// Nobody reads back: only what was sent is known.
    mutating func forgetPending() {
        pending = []
        first = 0
        seen = [:]
    }

    /// A record was read back.
    mutating func didRead(_ mark: Mark) {
        if mark.sequence > confirmed { seen[mark.sequence] = mark.chain }
    }

    /// Sending begins anew after what is confirmed; what is found to be there is not sent.
    mutating func startOver() {
        pending = []
        first = 0
        sent = confirmed
    }

    /// Moves the position over what was read back.
    /// - Parameter isKept: whether the journal is one that outlives a reboot.
    mutating func advance(now: Int64, isKept: Bool) {
        let before = confirmed
        while first < pending.count, isFound(pending[first]) {
            confirmed = pending[first].sequence
            seen[confirmed] = nil
            first += 1
        }
        if first > 4_096 || first == pending.count {
            pending.removeFirst(first)
            first = 0
        }
        if confirmed != before || !hasPending {
            newsAt = now
            if confirmed != before { resendAfter = Self.resendMilliseconds }
        }
        guard isKept else { return history = [] }
        if now - (history.last?.milliseconds ?? .min / 2) >= 60_000 { history.append((now, confirmed)) }
        while let oldest = history.first, now - oldest.milliseconds >= Self.syncedAfterMilliseconds {
            synced = max(synced, oldest.confirmed)
            history.removeFirst()
        }
    }

    /// Whether what is pending is to be sent again; then sending begins anew after what is confirmed.
    mutating func shouldResend(now: Int64) -> Bool {
        guard hasPending, now - newsAt >= resendAfter else { return false }
        newsAt = now
        resendAfter = min(2 * resendAfter, Self.resendMaxMilliseconds)
        startOver()
        return true
    }
}

/// When to warn that the journal lags: where a storm has left many records, or journald takes none for a minute. Pure.
struct JournalLagRule {
    static let recordsMax: Int64 = 100_000
    static let stillMilliseconds: Int64 = 60_000

    enum Verdict: Equatable {
        case warn(Int64)
        case caughtUp
    }

    private var warnedAt: Int64 = 0
    private var lastConfirmed: Int64 = -1
    private var movedAt: Int64 = 0

    /// - Parameter confirmed: how far the journal is known to be.
    mutating func look(last: Int64, confirmed: Int64, now: Int64) -> Verdict? {
        let lag = last - confirmed
        if confirmed != lastConfirmed || lag <= 0 {
            lastConfirmed = confirmed
            movedAt = now
        }
        let isStill = lag > 0 && now - movedAt >= Self.stillMilliseconds
        if (isStill && warnedAt == 0) || lag >= max(Self.recordsMax, 2 * warnedAt) {
            warnedAt = lag
            return .warn(lag)
        }
        if warnedAt > 0 && lag <= 0 {
            warnedAt = 0
            return .caughtUp
        }
        return nil
    }
}
