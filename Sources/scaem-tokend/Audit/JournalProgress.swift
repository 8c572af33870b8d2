import TokenModel

/// What is on its way to the journal, and how far it has come. Pure: the feed sends, reads back and tells the time.
struct JournalProgress {
    /// Records between the first that is not read back and the last that was sent: bounds what is remembered.
    static let windowRecords = 200_000
    /// journald syncs what it was sent within five minutes (SyncIntervalSec= in journald.conf(5)); twice that, and what
    /// was read back is on the disk.
    static let syncedAfterMilliseconds: Int64 = 600_000
    /// After so long without news, what is not there is sent again; twice as long each time, up to the maximum.
    static let resendMilliseconds: Int64 = 15_000
    static let resendMaxMilliseconds: Int64 = 600_000

    private(set) var sent: Int64
    private(set) var confirmed: Int64
    private(set) var synced: Int64
    /// Numbers that were sent and are not read back, in order: those before `first` are.
    private var pending: [Int64] = []
    private var first = 0
    /// Numbers that were read back ahead of others.
    private var seen: Set<Int64> = []
    /// What was confirmed when, a minute apart.
    private var history: [(milliseconds: Int64, confirmed: Int64)] = []
    private var newsAt: Int64
    private var resendAfter = Self.resendMilliseconds

    /// - Parameters:
    ///   - confirmed: what is known to have been synced.
    ///   - found: what stands in the journal beyond that.
    init(sent: Int64, confirmed: Int64, found: Set<Int64>, now: Int64) {
        self.sent = sent
        self.confirmed = confirmed
        synced = confirmed
        seen = found
        newsAt = now
    }

    var hasPending: Bool { first < pending.count }
    var isFull: Bool { pending.count - first >= Self.windowRecords }

    /// Whether a record is in the journal already.
    func isFound(_ sequence: Int64) -> Bool { seen.contains(sequence) }

    /// A record was handed to journald, or was found to be there.
    mutating func didSend(_ sequence: Int64) {
        sent = max(sent, sequence)
        pending.append(sequence)
    }

    /// Nobody reads back: only what was sent is known.
    mutating func forgetPending() {
        pending = []
        first = 0
        seen = []
    }

    /// A record was read back.
    mutating func didRead(_ sequence: Int64) {
        if sequence > confirmed { seen.insert(sequence) }
    }

    /// Moves the position over what was read back.
    mutating func advance(now: Int64) {
        let before = confirmed
        while first < pending.count, seen.remove(pending[first]) != nil {
            confirmed = pending[first]
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
        pending = []
        first = 0
        sent = confirmed
        return true
    }
}
