import Glibc
import Logging
import Synchronization
import Systemd
import TokenModel
import TokenServer
import TokenStore

/// Sends the committed audit records to the journal, on a thread of its own that nobody waits for: journald may be
/// frozen, and then so is this thread, and nothing else.
///
/// It knows how far it got only by reading the journal back: that a record was sent proves nothing.
final class JournalFeed: @unchecked Sendable {
    // @unchecked: all but `progressNow` is touched by the feed's thread alone once it runs; that is a mutex's.
    private let ledger: SQLiteLedger
    private let logger: Logger
    private let others: OtherRecords
    private let heldBack: @Sendable () -> [HeldBackRefusals]
    private var heldBackAskedAt: Int64
    private let clock: any Clock
    private let database: String
    /// Records that mutations may hold back. Beyond its cap the audit lets the oldest rows go, sent or not.
    private let heldBackRecordsMax: Int64
    private var progress: JournalProgress
    private var reader: JournalReader?
    private var state = JournalStatus.State.ok
    private var hasReadBack = false
    /// What an earlier run sent and nobody has seen: it is sent again as soon as something can be read back.
    private var owesProof = false
    private var isVolatile = false
    private var volatileAskedAt: Int64 = .min / 2
    private var lacking: ClosedRange<Int64>?
    private let startedAt: Int64
    private let progressNow: Mutex<JournalStatus>

    private enum Bound {
        /// Records read from the database at once.
        static let page = 512
        /// How long mutations may hold a page back; so a storm delays the journal and does not stop it.
        static let holdBackMilliseconds: Int64 = 2_000
        /// The writer is at work as long as numbers go up within this time.
        static let quietMilliseconds: UInt32 = 5
        static let pollMilliseconds: UInt32 = 200
        static let retryMilliseconds: UInt32 = 5_000
        /// Records looked at at the start, from the journal's end; what lies before is sent again.
        static let lookBack = 1_000_000
        /// After this without a record read back, the journal counts as one that may not be read.
        static let unreadableMilliseconds: Int64 = 30_000
        /// How often it is asked what refusals were held back.
        static let heldBackMilliseconds: Int64 = 10_000
        /// How often it is asked whether the journal is in memory only.
        static let volatileMilliseconds: Int64 = 10_000
        static let lagLookMilliseconds: UInt32 = 10_000
    }

    /// Reads how far it had got when that was last written down.
    /// - Throws: `LedgerReadError`.
    init(
        ledger: SQLiteLedger, others: OtherRecords, auditRowsMax: Int64, clock: any Clock, logger: Logger,
        heldBack: @escaping @Sendable () -> [HeldBackRefusals]
    ) throws {
        let position = try ledger.journalPosition()
        self.ledger = ledger
        self.others = others
        self.heldBack = heldBack
        self.clock = clock
        self.logger = logger
        database = position.database
        heldBackRecordsMax = auditRowsMax / 4
        startedAt = clock.bootMilliseconds()
        heldBackAskedAt = startedAt
        progress = JournalProgress(sent: position.sent, confirmed: position.confirmed, now: startedAt)
        progressNow = Mutex(
            JournalStatus(
                state: .ok, sent: position.sent, confirmed: position.confirmed, synced: position.confirmed))
    }

    /// Begins, on a thread that is never joined.
    func start() {
        publish()
        startThread(name: "journal") { [self] in run() }
        startThread(name: "journal-watch") { [self] in watch() }
    }

    /// Before the end: what is waiting outside of the sequence goes too, but a journald that stands still keeps nobody.
    func finish() {
        others.put(heldBack: heldBack())
        let isDone = Monitor()
        let done = Mutex(false)
        startThread(name: "journal-last") { [others, database, logger] in
            others.send(database: database, logger: logger)
            done.withLock { $0 = true }
            isDone.locked { isDone.wake() }
        }
        let deadline = MonotonicClock.milliseconds + Int64(JournalWriter.flushMilliseconds)
        isDone.locked { while !done.withLock({ $0 }), isDone.wait(until: deadline) {} }
    }

    /// Sending goes on where the journal ends, not where something was noted: what was not synced may be lost since.
    private func findPosition() {
        let restoredThrough =
            ((try? ledger.auditMarks()) ?? []).last { $0.reason == .restored }.map(\.last) ?? 0
        let found = openReader()
        if hasReadBack {
            progress.startOver()
        } else if progress.sent > progress.confirmed {
            // Nothing is there, or nothing may be read. Which of both it is, the last one tells when it is sent again.
            owesProof = true
            progress = JournalProgress(
                sent: progress.sent - 1, confirmed: progress.confirmed, now: clock.bootMilliseconds())
        }
        noteRollback(found, restoredThrough: restoredThrough)
        publish()
        for mark in (try? ledger.auditMarks()) ?? [] { others.put(mark) }
    }

    /// Opens the journal anew, and notes what it holds beyond what is confirmed, looked for from its end.
    /// - Returns: the highest number there, and all that could be records of the audit.
    @discardableResult
    private func openReader() -> (newest: Int64, marks: [JournalProgress.Mark]) {
        reader = JournalReader(matching: matches)
        guard let reader else { return (0, []) }
        var newest: Int64 = 0
        var looked = 0
        reader.seekToEnd()
        let last = ledger.lastSequence
        var found: [JournalProgress.Mark] = []
        while looked < Bound.lookBack, reader.previous() {
            looked += 1
            guard let mark = Self.mark(reader) else { continue }
            hasReadBack = true
            newest = max(newest, mark.sequence)
            if mark.sequence <= progress.confirmed { break }
            // What is beyond the audit's end is no record of it, whatever becomes of the number.
            if mark.sequence <= last { found.append(mark) }
        }
        // The newest of a number counts.
        for mark in found.reversed() { progress.didRead(mark) }
        reader.seekToEnd()
        // Behind the end of nothing there is no next one, even when some have come.
        if !reader.previous() { reader.seekToStart() }
        return (newest, found)
    }

    private var matches: [String] { ["\(AuditFields.databaseField)=\(database)", "_UID=\(geteuid())"] }

    private static func mark(_ reader: JournalReader) -> JournalProgress.Mark? {
        guard let sequence = reader.value("SCAEM_SEQUENCE").flatMap({ Int64($0) }),
            let chain = reader.value("SCAEM_CHAIN").flatMap({ Fingerprint(text: String($0.prefix(16))) })
        else { return nil }
        return JournalProgress.Mark(sequence: sequence, chain: chain.value)
    }

    /// The journal knows of changes that the database does not: it is an old copy, and what it serves may have ended. Some
    /// have numbers that it has given to others since then; those before a restore are known.
    private func noteRollback(_ found: (newest: Int64, marks: [JournalProgress.Mark]), restoredThrough: Int64) {
        let last = ledger.lastSequence
        let numbered = JournalProgress.differing(found.marks).filter { $0 > restoredThrough }
        guard let first = numbered.min() ?? (found.newest > last ? last + 1 : nil) else { return }
        let lacking = first...max(found.newest, numbered.max() ?? 0)
        self.lacking = lacking
        logger.report(
            .critical, .databaseOlder,
            """
            the database is older than the journal: it lacks changes, and tokens that they ended are good again; stop, \
            then run scaem-tokend restore with --since-from
            """, ["first": "\(lacking.lowerBound)", "last": "\(lacking.upperBound)"])
    }

    // MARK: The thread

    private func run() {
        findPosition()
        while true {
            let last = ledger.lastSequence
            sendOthers()
            if !Journal.isPresent {
                turn(.absent)
                sleep(milliseconds: Bound.retryMilliseconds)
                continue
            }
            if state == .absent {
                openReader()
                turn(.ok)
            }
            if progress.sent < last && !progress.isFull {
                holdBack()
                sendPage()
            }
            readBack()
            publish()
            if progress.sent >= ledger.lastSequence || progress.isFull { sleep(milliseconds: Bound.pollMilliseconds) }
        }
    }

    private func sendOthers() {
        let now = clock.bootMilliseconds()
        if now - heldBackAskedAt >= Bound.heldBackMilliseconds {
            heldBackAskedAt = now
            others.put(heldBack: heldBack())
        }
        others.send(database: database, logger: logger)
    }

    /// Mutations come first: sending waits while they do, but not for ever, nor while the audit fills with what was not sent.
    private func holdBack() {
        guard ledger.lastSequence - progress.sent < heldBackRecordsMax else { return }
        let end = clock.bootMilliseconds() + Bound.holdBackMilliseconds
        while clock.bootMilliseconds() < end {
            let before = ledger.lastSequence
            sleep(milliseconds: Bound.quietMilliseconds)
            if ledger.waitingMutations == 0 && ledger.lastSequence == before { return }
        }
    }

    private func sendPage() {
        let last = ledger.lastSequence
        guard let records = try? ledger.records(after: progress.sent, limit: Bound.page) else {
            return sleep(milliseconds: Bound.pollMilliseconds)
        }
        if records.isEmpty { progress.didSkip(to: last) }
        for record in records {
            let mark = JournalProgress.Mark(record)
            if !progress.isFound(mark) {
                guard AuditFields.entries(record, database: database).allSatisfy({ Journal.send($0) == 0 }) else {
                    turn(.failing)
                    return sleep(milliseconds: Bound.retryMilliseconds)
                }
            }
            progress.didSend(mark)
            publish()
        }
        if state == .failing { turn(.ok) }
    }

    private func readBack() {
        let now = clock.bootMilliseconds()
        guard let reader else { return cannotRead() }
        if progress.hasPending { reader.refresh() }
        while progress.hasPending, reader.next() {
            guard let mark = Self.mark(reader) else { continue }
            hasReadBack = true
            progress.didRead(mark)
        }
        if hasReadBack {
            if owesProof {
                owesProof = false
                progress.startOver()
            }
            askWhetherVolatile(now)
            if state != .failing { turn(isVolatile ? .volatile : .ok) }
        } else if progress.hasPending, now - startedAt > Bound.unreadableMilliseconds {
            cannotRead()
        }
        progress.advance(now: now, isKept: !isVolatile)
        if progress.shouldResend(now: now) {
            logger.report(
                .warning, .journalLacks, "the journal lacks records that were sent to it; they are sent again",
                ["after": "\(progress.confirmed)"])
            // Whatever has become of the files that were open.
            openReader()
        }
    }

    /// Whether our last record stands where the next reboot takes it. That there are persistent files says nothing: they may
    /// be of before.
    private func askWhetherVolatile(_ now: Int64) {
        guard now - volatileAskedAt >= Bound.volatileMilliseconds else { return }
        volatileAskedAt = now
        guard let inMemory = JournalReader(matching: matches, inMemoryOnly: true) else { return isVolatile = false }
        inMemory.seekToEnd()
        var last: JournalProgress.Mark?
        // Behind it cuts may stand, but few.
        for _ in 0..<100 where last == nil && inMemory.previous() { last = Self.mark(inMemory) }
        isVolatile = last.map { $0.sequence >= progress.confirmed } ?? false
    }

    private func cannotRead() {
        turn(.unreadable)
        if !hasReadBack { progress.forgetPending() }
        // Files may have come, or the right to read them.
        if reader == nil { openReader() }
    }

    private func turn(_ new: JournalStatus.State) {
        guard new != state else { return }
        state = new
        publish()
        switch new {
        case .ok:
            logger.report(
                .notice, .journalTakes, "the journal takes the audit records, and they can be read back")
        case .absent:
            logger.report(
                .warning, .journalAway,
                "there is no journald: the audit records stay in the database until there is one")
        case .failing:
            logger.report(
                .warning, .journalAway, "journald takes no records: they stay in the database until it does")
        case .unreadable:
            logger.report(
                .warning, .journalUnreadable,
                """
                the journal cannot be read back, so no audit record is known to be in it: add the daemon's user to \
                group systemd-journal
                """)
        case .volatile:
            logger.report(
                .warning, .journalVolatile,
                "the journal is in memory only and goes with a reboot: set Storage=persistent in journald.conf")
        }
    }

    private func publish() {
        let status = JournalStatus(
            state: state, sent: progress.sent, confirmed: progress.confirmed, synced: progress.synced,
            lacking: lacking)
        progressNow.withLock { $0 = status }
        ledger.noteJournal(status)
    }

    /// Warns of a lag that grows, from a thread of its own: the other may be stuck in the kernel.
    private func watch() {
        var rule = JournalLagRule()
        while true {
            sleep(milliseconds: Bound.lagLookMilliseconds)
            let (last, status) = (ledger.lastSequence, progressNow.withLock { $0 })
            let confirmed = last - status.lag(behind: last)
            switch rule.look(last: last, confirmed: confirmed, now: clock.bootMilliseconds()) {
            case .warn(let lag):
                logger.report(.warning, .journalLags, "the journal lags behind the audit", ["records": "\(lag)"])
            case .caughtUp:
                logger.report(.notice, .journalCaughtUp, "the journal has caught up with the audit")
            case nil: break
            }
        }
    }

    private func sleep(milliseconds: UInt32) { usleep(milliseconds * 1_000) }
}
