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
    private let heldBack: @Sendable () -> [(uid: UInt32, count: Int64)]
    private var heldBackAskedAt: Int64
    private let clock: any Clock
    private let database: String
    private var progress: JournalProgress
    private var reader: JournalReader?
    private var state = JournalStatus.State.ok
    private var hasReadBack = false
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
        static let lagWarning: Int64 = 100_000
    }

    /// Reads how far it had got when that was last written down.
    /// - Throws: `LedgerReadError`.
    init(
        ledger: SQLiteLedger, others: OtherRecords, clock: any Clock, logger: Logger,
        heldBack: @escaping @Sendable () -> [(uid: UInt32, count: Int64)]
    ) throws {
        let position = try ledger.journalPosition()
        self.ledger = ledger
        self.others = others
        self.heldBack = heldBack
        self.clock = clock
        self.logger = logger
        database = position.database
        startedAt = clock.bootMilliseconds()
        heldBackAskedAt = startedAt
        progress = JournalProgress(sent: position.sent, confirmed: position.confirmed, found: [], now: startedAt)
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

    /// Sending goes on where the journal ends, not where something was noted: what was not synced may be lost since.
    private func findPosition() {
        openReader()
        guard let reader else { return publish() }
        let found = Self.look(back: reader, to: progress.confirmed)
        hasReadBack = !found.isEmpty
        if hasReadBack {
            progress = JournalProgress(
                sent: progress.confirmed, confirmed: progress.confirmed, found: found, now: clock.bootMilliseconds())
        }
        publish()
        warnOfRollback(newest: found.max() ?? 0)
    }

    private func openReader() {
        reader = JournalReader(matching: ["\(AuditFields.databaseField)=\(database)", "_UID=\(geteuid())"])
    }

    /// What the journal holds beyond a position, looked for from its end.
    private static func look(back reader: JournalReader, to confirmed: Int64) -> Set<Int64> {
        var found: Set<Int64> = []
        var looked = 0
        reader.seekToEnd()
        while looked < Bound.lookBack, reader.previous() {
            looked += 1
            guard let sequence = reader.value("SCAEM_SEQUENCE").flatMap({ Int64($0) }) else { continue }
            if sequence <= confirmed { break }
            found.insert(sequence)
        }
        reader.seekToEnd()
        // Behind the end of nothing there is no next one, even when some have come.
        if !reader.previous() { reader.seekToStart() }
        return found
    }

    /// The journal knows of changes that the database does not: it is an old copy, and what it serves may have ended.
    private func warnOfRollback(newest: Int64) {
        let last = ledger.lastSequence
        guard newest > last else { return }
        logger.report(
            .critical, .databaseOlder, "the database is older than the journal",
            [
                "reason": """
                it lacks changes \(last + 1) to \(newest), and tokens that they ended are good again; stop, then run \
                scaem-tokend restore with --since-from
                """
            ])
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
        others.send(logger: logger)
    }

    /// Mutations come first: sending waits while they do, but not for ever.
    private func holdBack() {
        let end = clock.bootMilliseconds() + Bound.holdBackMilliseconds
        while clock.bootMilliseconds() < end {
            let before = ledger.lastSequence
            sleep(milliseconds: Bound.quietMilliseconds)
            if ledger.waitingMutations == 0 && ledger.lastSequence == before { return }
        }
    }

    private func sendPage() {
        guard let records = try? ledger.records(after: progress.sent, limit: Bound.page), !records.isEmpty else {
            return sleep(milliseconds: Bound.pollMilliseconds)
        }
        for record in records {
            if !progress.isFound(record.sequence) {
                guard Journal.send(AuditFields.fields(record, database: database)) == 0 else {
                    turn(.failing)
                    return sleep(milliseconds: Bound.retryMilliseconds)
                }
            }
            progress.didSend(record.sequence)
            publish()
        }
        if state == .failing || state == .absent { turn(.ok) }
    }

    private func readBack() {
        let now = clock.bootMilliseconds()
        guard let reader else { return cannotRead() }
        guard progress.hasPending else { return progress.advance(now: now) }
        reader.refresh()
        while reader.next() {
            guard let sequence = reader.value("SCAEM_SEQUENCE").flatMap({ Int64($0) }) else { continue }
            hasReadBack = true
            progress.didRead(sequence)
        }
        progress.advance(now: now)
        if hasReadBack {
            turn(reader.hasPersistentFiles ? .ok : .volatile)
        } else if now - startedAt > Bound.unreadableMilliseconds {
            cannotRead()
        }
        if progress.shouldResend(now: now) {
            logger.report(
                .warning, .journalLacks, "the journal lacks records that were sent to it; they are sent again",
                ["after": "\(progress.confirmed)"])
        }
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
                .notice, .journalGood, "the journal takes the audit records, and they can be read back")
        case .absent:
            logger.report(
                .notice, .journalFailing,
                "there is no journald: the audit records stay in the database until there is one")
        case .failing:
            logger.report(
                .warning, .journalFailing, "journald takes no records: they stay in the database until it does")
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
        // Without a persistent journal nothing is ever synced.
        let status = JournalStatus(
            state: state, sent: progress.sent, confirmed: progress.confirmed,
            synced: state == .volatile ? 0 : progress.synced)
        progressNow.withLock { $0 = status }
        ledger.noteJournal(status)
    }

    /// Warns of a lag that grows, from a thread of its own: the other may be stuck in the kernel.
    private func watch() {
        var warnedAt: Int64 = 0
        while true {
            sleep(milliseconds: 10_000)
            let lag = ledger.lastSequence - progressNow.withLock { $0.sent }
            if lag >= max(Bound.lagWarning, 2 * warnedAt) {
                warnedAt = lag
                logger.report(.warning, .journalLags, "the journal lags behind the audit", ["records": "\(lag)"])
            } else if warnedAt > 0 && lag < Bound.page {
                warnedAt = 0
                logger.report(.notice, .journalCaughtUp, "the journal has caught up with the audit")
            }
        }
    }

    private func sleep(milliseconds: UInt32) { usleep(milliseconds * 1_000) }
}
