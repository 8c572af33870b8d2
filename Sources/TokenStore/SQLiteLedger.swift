internal import CLinux
internal import GRDB
internal import Glibc
internal import Synchronization
public import TokenModel

/// The ledger of one host's tokens: SQLite behind one writer thread, and an index in memory that answers `introspect`.
///
/// A mutation that was admitted comes back in exactly one delivery. Before it does, its change and its audit row are
/// durable, and the change is visible to every thread.
public final class SQLiteLedger: TokenLedger, WatchedWriter, @unchecked Sendable {
    // @unchecked: what is not Sendable by itself, `thread`, is touched only with its mutex held; the rest has locks of
    // its own.
    private let state: LedgerState
    private let queue: MutationQueue
    private let directory: StateDirectory
    let clock: any Clock
    private let random: any RandomSource
    private let listWalkRows: Int
    private let lastCount = Mutex<(alive: Int, validUntil: Int64)?>(nil)
    /// A count of so many takes some tens of microseconds; of a million it takes milliseconds.
    private static let tokensCountedAtOnce: UInt32 = 20_000
    /// How long a count of more is good: who reads it is a person or a monitor.
    private static let countMilliseconds: Int64 = 1_000
    private let thread: Mutex<pthread_t?>

    /// Opens the database in a directory that is ours alone, builds the index and starts the writer.
    ///
    /// - Parameters:
    ///   - stateDirectory: is made, mode 0700, where there is none.
    ///   - log: gets what the store has to say, on the writer's thread or, before that, on the caller's.
    ///   - deliver: gets each batch once, on the writer's thread, which waits for it.
    /// - Throws: `StoreError`, whose sentence says what to do.
    public init(
        stateDirectory: String, clock: any Clock = SystemClock(), random: any RandomSource = SystemRandom(),
        configuration: StoreConfiguration = StoreConfiguration(),
        log: @escaping @Sendable (StoreEvent) -> Void, deliver: @escaping @Sendable (Delivery) -> Void
    ) throws {
        let started = clock.bootMilliseconds()
        let directory = try StateDirectory(path: stateDirectory)
        try directory.makeFirstDatabase()
        let database = try TokenDatabase(in: directory)
        let (index, head) = try TokenIndex.load(database, asOf: Moment(clock: clock))
        let state = LedgerState(
            index: index, pool: database.pool, sequence: head.sequence,
            tokensPerOwner: configuration.tokensPerOwner)
        let queue = MutationQueue(
            capacity: configuration.queueCapacity, shareOfUser: configuration.queueShareOfUser)
        let writer = try Writer(
            state: state, queue: queue, configuration: configuration, clock: clock, directory: directory,
            database: database, head: head, log: log, deliver: deliver)
        log(
            .opened(
                applications: index.applications.count, tokens: index.tokens.count, sequence: head.sequence,
                milliseconds: clock.bootMilliseconds() - started))
        let ahead = head.time.milliseconds - clock.wall().milliseconds
        if ahead >= ClockWatch.jumpMilliseconds { log(.clockBehindRecords(milliseconds: ahead)) }
        self.state = state
        self.queue = queue
        self.directory = directory
        self.clock = clock
        self.random = random
        listWalkRows = configuration.listWalkRows
        thread = Mutex(try Self.start(writer))
        Self.startLoadingEnded(state)
    }

    deinit { close() }

    /// Takes no more mutations, ends and delivers those that wait, empties the write-ahead log and closes the
    /// database. Returns when all that is done. Does nothing the second time. Not to be called from `deliver`.
    public func close() {
        queue.close()
        thread.withLock { thread in
            guard let running = thread else { return }
            pthread_join(running, nil)
            thread = nil
            directory.release()
        }
    }

    /// Changes the quota of owners from now on; what they hold already they keep.
    public func setTokensPerOwner(_ limit: Int) { state.tokensPerOwner.store(limit, ordering: .relaxed) }

    // MARK: TokenLedger

    /// See `TokenLedger`.
    public func introspect(_ digests: UnsafeBufferPointer<TokenDigest>, answer: (Int, ActiveToken?) -> Void) {
        let wall = clock.wall()
        state.withIndex { index in
            if digests.count > 1 { index.prefetch(digests) }
            for place in 0..<digests.count { answer(place, active(digests[place], in: index, wall)) }
        }
    }

    @inline(__always)
    private func active(_ digest: TokenDigest, in index: TokenIndex, _ wall: Instant) -> ActiveToken? {
        let entry = index.find(digest)
        guard entry.raw != 0 else { return nil }
        let (slot, issuedAt, expiresAt): (UInt32, Instant, Instant)
        if entry.isPrevious {
            let previous = index.previous[entry.slot].pointee
            guard clock.bootMilliseconds() < previous.bootDeadlineMilliseconds else { return nil }
            (slot, issuedAt, expiresAt) = (previous.token, previous.issuedAt, previous.expiresAt)
        } else {
            slot = entry.slot
            (issuedAt, expiresAt) = (index.tokens[slot].pointee.issuedAt, index.tokens[slot].pointee.expiresAt)
        }
        guard wall < expiresAt else { return nil }
        let token = index.tokens[slot]
        if !entry.isPrevious { index.noteUse(slot, at: wall) }
        let application = index.applications[token.pointee.application]
        return ActiveToken(
            registrationID: application.pointee.registrationID,
            application: index.names.bytes(application.pointee.name),
            project: index.names.bytes(token.pointee.project), issuedAt: issuedAt, expiration: expiresAt)
    }

    /// See `TokenLedger`.
    public func noteInactive(_ digest: TokenDigest, by caller: Caller) {
        state.ended.notePresented(digest, by: caller, at: clock.wall(), bootMilliseconds: clock.bootMilliseconds())
    }

    /// See `TokenLedger`. What a token is made of is drawn and hashed here, on the thread of who asks: that is a tenth of
    /// what a rotation takes, and of writers there is one.
    public func enqueue(_ mutation: Mutation) -> Admission {
        mutation.drawn = DrawnToken(for: mutation.command, from: random)
        return queue.add(mutation)
    }

    /// See `TokenLedger`.
    public func wakeWriter() { queue.wake() }

    /// See `TokenLedger`. The index is locked for a few thousand tokens at a time.
    public func status() -> LedgerStatus {
        LedgerStatus(
            applications: state.withIndex { $0.applications.count }, tokens: countAlive(),
            lastSequence: state.gate.sequence, storageProblem: state.problem.withLock { $0 },
            databaseBytes: directory.size(of: "tokens.db"), writeAheadLogBytes: directory.size(of: "tokens.db-wal"),
            queuedMutations: queue.count, journal: state.journal.withLock { $0 })
    }

    /// Of many tokens the last count is told again for a while: whoever asks all the time shall not slow the others.
    private func countAlive() -> Int {
        let now = Moment(clock: clock)
        let isLarge = state.withIndex { $0.tokens.end > Self.tokensCountedAtOnce }
        if isLarge, let last = lastCount.withLock({ $0 }), now.bootMilliseconds < last.validUntil { return last.alive }
        var alive = 0
        var first: UInt32 = 1
        var isDone = false
        while !isDone {
            state.withIndex { index in
                let last = min(first + 4_096, index.tokens.end)
                if first < last { alive += index.countAlive(first..<last, at: now) }
                isDone = last >= index.tokens.end
                first = last
            }
        }
        lastCount.withLock { $0 = (alive, now.bootMilliseconds + Self.countMilliseconds) }
        return alive
    }

    /// See `TokenLedger`. The index is locked for a few rows at a time.
    public func list(_ query: ListQuery) throws -> ListPage {
        let (stored, walkedTo) = try state.reading {
            try LedgerReader.list(query, walking: listWalkRows, pool: $0)
        }
        let now = Moment(clock: clock)
        var rows: [ListRow] = []
        rows.reserveCapacity(stored.count)
        for row in stored { rows.append(state.withIndex { index in row.row(index, at: now) }) }
        return ListPage(rows: rows, walkedTo: walkedTo)
    }

    /// See `TokenLedger`.
    public func records(after sequence: Int64, limit: Int) throws -> [AuditRecord] {
        try state.reading { try LedgerReader.records(after: sequence, limit: limit, pool: $0) }
    }

    /// See `TokenLedger`.
    public func recordBounds() throws -> (oldest: Int64, last: Int64) {
        try state.reading { try LedgerReader.recordBounds(pool: $0) }
    }

    // MARK: The journal

    /// The last committed sequence number.
    public var lastSequence: Int64 { state.gate.sequence }

    /// Mutations that wait for the writer.
    public var waitingMutations: Int { queue.count }

    /// How far the journal had come when it was last written behind, and which database the records are of.
    /// - Throws: `StoreError`.
    public func journalPosition() throws -> (database: String, sent: Int64, confirmed: Int64) {
        let rows = try LedgerReader.rows(pool, "SELECT database, sent, confirmed FROM audit_journal", []) {
            ($0.text(0), $0.integer(1), $0.integer(2))
        }
        guard let row = rows.first else {
            throw StoreError(.damaged, "The database tokens.db lacks a row; stop the daemon and restore a backup.")
        }
        return row
    }

    /// The numbers that have no row, in their order.
    /// - Throws: `LedgerReadError`.
    public func auditMarks() throws -> [AuditMark] {
        try LedgerReader.read(pool, LedgerReader.marks, [], LedgerReader.mark)
    }

    /// See `TokenLedger`.
    public var journalStatus: JournalStatus? { state.journal.withLock { $0 } }

    /// Notes how far the journal has come, for `status`, and to be written behind: what is synced may be pruned.
    public func noteJournal(_ status: JournalStatus) { state.journal.withLock { $0 = status } }

    // MARK: WatchedWriter

    /// See `WatchedWriter`.
    public func askWriter() { queue.ask() }

    /// See `WatchedWriter`.
    public func writerState() -> WriterState { queue.pulse.state(clock) }

    // MARK: Inside

    /// For checks.
    var databasePath: String { directory.databasePath }

    /// For checks.
    var pool: DatabasePool? { state.pool.withLock { $0 } }

    /// For checks: the processor time of the writer's thread, in seconds.
    var writerSeconds: Double {
        thread.withLock { thread in
            var (clock, time) = (clockid_t(), timespec())
            guard let thread, pthread_getcpuclockid(thread, &clock) == 0, clock_gettime(clock, &time) == 0 else {
                return 0
            }
            return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
        }
    }

    /// For checks.
    var readersHeld: Int { state.gate.readersHeld }

    /// For checks: the index with its lock held.
    func withIndex<Result>(_ body: (TokenIndex) -> Result) -> Result { state.withIndex(body) }

    private static func start(_ writer: Writer) throws -> pthread_t {
        var thread = pthread_t()
        let argument = Unmanaged.passRetained(writer)
        let result = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                linux_name_thread("writer")
                Unmanaged<Writer>.fromOpaque(argument).takeRetainedValue().run()
                return nil
            }, argument.toOpaque())
        guard result == 0 else {
            argument.release()
            throw StoreError.system("The writer's thread cannot be started", errno: result)
        }
        return thread
    }
}
