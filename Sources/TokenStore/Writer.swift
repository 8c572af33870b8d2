internal import Synchronization
internal import TokenModel

/// The one thread that changes anything: takes what waits, decides it, writes it with its audit in one transaction, and
/// only when the commit is durable puts it into the index and hands the answers over. While one transaction is being made
/// durable by `LogSync`, the next one is decided and written, but for its commit.
final class Writer: @unchecked Sendable {
    // @unchecked: made on one thread and then used by the writer's thread alone; `state`, `queue` and `sync` have locks.
    let state: LedgerState
    let queue: MutationQueue
    let configuration: StoreConfiguration
    let clock: any Clock
    let log: @Sendable (StoreEvent) -> Void
    let deliver: @Sendable (Delivery) -> Void
    let directory: StateDirectory
    var database: TokenDatabase
    var head: AuditHead
    /// The last record that was handed over.
    var announced: Int64
    var health = Health.serving
    var upkeep: Upkeep
    var pruning = Pruning()
    private var clockWatch = ClockWatch()
    private var chain = AuditChain()
    /// What is being decided and written: it grows for as long as the one before it is being synced.
    private var open: Transaction?
    /// What is committed in the log and being made durable: nobody has heard of it, and the index does not have it.
    private var syncing: Transaction?
    private let sync: LogSync
    let checkpointing: Checkpointing
    /// Whether a sync has failed since the database was opened.
    var isLogLost = false

    enum Health: Equatable {
        case serving
        /// The database is to be closed and opened again before anything is written.
        case reopening(nextTryMilliseconds: Int64)
    }

    init(
        state: LedgerState, queue: MutationQueue, configuration: StoreConfiguration, clock: any Clock,
        directory: StateDirectory, database: TokenDatabase, head: AuditHead,
        log: @escaping @Sendable (StoreEvent) -> Void, deliver: @escaping @Sendable (Delivery) -> Void
    ) throws {
        sync = try LogSync(pulse: queue.pulse, clock: clock) { queue.wakeForWork() }
        checkpointing = try Checkpointing()
        self.state = state
        self.queue = queue
        self.configuration = configuration
        self.clock = clock
        self.directory = directory
        self.database = database
        self.head = head
        announced = head.sequence
        self.log = log
        self.deliver = deliver
        upkeep = Upkeep(
            configuration: configuration, database: database, bootMilliseconds: clock.bootMilliseconds())
        pruning.trustClock(from: clock.bootMilliseconds(), configuration)
    }

    /// Works until the queue is closed and empty, then leaves the database as a start wants to find it.
    func run() {
        while true {
            if syncing != nil, sync.isDone { settle() }
            if health != .serving { maintain(isIdle: false) }
            if syncing == nil {
                queue.pulse.answer()
                if open != nil {
                    commit()
                    if syncing == nil { maintain(isIdle: false) }
                    beginCheckpoint(isIdle: false)
                    continue
                }
            } else if let open, open.mutations.count >= configuration.batchShareOfUser || open.isComplete {
                // What is full is not made longer for those that wait in it.
                settle()
                continue
            }
            let isAlone = syncing == nil
            let taken = queue.take(
                configuration, timeoutMilliseconds: timeoutMilliseconds, beside: isAlone ? nil : sync)
            watchClock()
            switch taken {
            case .mutations(let mutations): add(mutations)
            case .idle: if isAlone { maintain(isIdle: true) }
            case .asked: maintain(isIdle: false)
            case .synced: continue
            case .closed:
                finish()
                sync.end()
                return
            }
        }
    }

    private var timeoutMilliseconds: Int {
        // Beside a sync nothing else is done.
        guard health == .serving, syncing == nil else { return configuration.reopenMilliseconds }
        let timeout = upkeep.timeoutMilliseconds(at: clock.bootMilliseconds(), pages: database.writeAheadLogPages)
        return pruning.hasMore ? min(timeout, configuration.idleMilliseconds) : timeout
    }

    func watchClock() {
        guard let jump = clockWatch.jump(clock) else { return }
        pruning.trustClock(from: clock.bootMilliseconds(), configuration)
        log(.clockSet(milliseconds: jump))
    }

    /// Decides and writes what was taken, in the open transaction. What has to wait for the next one goes back.
    private func add(_ mutations: [Mutation]) {
        guard health == .serving else {
            let sentence = state.problem.withLock { $0 } ?? StoreError.reopening.sentence
            for mutation in mutations { mutation.outcome = .storageUnavailable(sentence) }
            deliver(Delivery(mutations: mutations, records: []))
            return
        }
        var work = open.take() ?? Transaction(after: syncing, head: head, batch: newBatch(mutations.count))
        work.batch.now = Moment(clock: clock)
        let before = work.mutations.count
        do {
            let statements = try database.writing()
            do {
                try decide(mutations, into: &work)
                try queue.pulse.inDisk(clock) { try writeDecided(into: &work, statements) }
                queue.giveBack(mutations.dropFirst(work.mutations.count - before))
                open = work
            } catch {
                // It is not taken with the others, nor are those behind it.
                work.mutations += mutations.dropFirst(work.mutations.count - before)
                abandon(work, statements, because: .any(error))
            }
        } catch {
            work.mutations += mutations
            conclude(work, .notCommitted(.any(error)))
        }
    }

    private func newBatch(_ count: Int) -> Batch {
        Batch(
            index: state.indexOfWriter, after: syncing?.batch, expecting: max(count, syncing?.mutations.count ?? 0),
            tokensPerOwner: state.tokensPerOwner.load(ordering: .relaxed))
    }

    /// Rolls back what is open.
    private func abandon(_ work: Transaction, _ statements: WriterStatements, because error: StoreError) {
        let isRolledBack = statements.rollback()
        // What follows may open the database anew.
        settle()
        conclude(work, isRolledBack ? .notCommitted(error) : .unknown(error))
    }

    /// Decides one mutation after the other, until one has to wait for the next transaction.
    private func decide(_ mutations: [Mutation], into work: inout Transaction) throws {
        work.expect(max(mutations.count, syncing?.mutations.count ?? 0))
        var places: ArraySlice<PairPlace> = []
        var offset = 0
        while offset < mutations.count {
            if syncing != nil, sync.isDone {
                // Who waits for the one before is answered at once.
                try settle(under: &work)
                places = []
            }
            // Some at once, for the memory's latency; not all, for the first may leave the others to the next transaction.
            if places.isEmpty { places = work.batch.places(of: mutations.dropFirst(offset).prefix(32))[...] }
            guard let place = places.popFirst() else { return }
            let mutation = mutations[offset]
            let decision: Decision
            do {
                decision = try work.batch.decide(mutation, at: place, sequence: work.nextSequence)
            } catch let error as StoreError {
                throw error
            } catch {
                log(.randomnessFailed)
                work.settle(mutation, .internalError)
                offset += 1
                continue
            }
            switch decision {
            case .afterSync:
                try settle(under: &work)
                places = []
                continue
            case .later:
                work.isComplete = true
                return
            case .settled(let outcome):
                // As when it is introspected: who presents a token that was ended is on record.
                if case .revokeToken(let digest) = mutation.command, case .revoked(0) = outcome {
                    state.ended.notePresented(
                        digest, by: mutation.caller, at: work.batch.now.wall,
                        bootMilliseconds: work.batch.now.bootMilliseconds)
                }
                work.settle(mutation, outcome)
            case .change(let change, let outcome):
                work.add(change, by: mutation.caller)
                work.settle(mutation, outcome)
            case .changes(let changes, let outcome):
                for change in changes { work.add(change, by: mutation.caller) }
                work.settle(mutation, outcome)
            }
            offset += 1
        }
    }

    /// Writes what was decided and is not written yet: all rows of the tokens and then all of the audit, so that the processor
    /// has the instructions and SQLite the pages of one at hand, and rows of the audit share statements.
    private func writeDecided(into work: inout Transaction, _ statements: WriterStatements) throws {
        let first = work.written
        guard first < work.changes.count else { return }
        if first == 0 { try statements.begin() }
        for change in work.changes[first...] {
            if change.registration == .begins {
                try statements.insert(change.name, change.application, registeredAt: work.batch.now.wall)
            }
            for token in change.tokens { try statements.write(token, of: change.application) }
            if change.registration == .ends { try statements.delete(change.application) }
        }
        work.chain(with: &chain)
        try statements.insert(work.records[first...])
    }

    // MARK: The commit

    /// Commits what is open. Its sync is left to the other thread where enough could be done meanwhile.
    private func commit() {
        guard let work = open.take() else { return }
        guard !work.changes.isEmpty else { return conclude(work, .committed) }
        let waits =
            work.mutations.count + queue.count < configuration.leftSyncMutations
            || isMaintenanceDue(at: clock.bootMilliseconds(), isIdle: false)
        let result: CommitResult
        var left: LeftSync?
        do {
            let statements = try database.writing()
            if !waits { state.gate.show(upTo: work.head.sequence) }
            (result, left) = queue.pulse.inDisk(clock) {
                waits ? (statements.commit(), nil) : database.log.leavingSync { statements.commit() }
            }
        } catch {
            result = .notCommitted(.any(error))
        }
        if case .committed = result, let left {
            syncing = work
            sync.start(left)
        } else {
            if !waits { state.gate.hide() }
            conclude(work, result)
        }
    }

    /// Waits for the sync that is under way, if one is, and ends its transaction.
    private func settle() {
        guard let work = syncing.take() else { return }
        let ended = sync.finish()
        guard ended.result != 0 else { return conclude(work, .committed) }
        let error = StoreError.sqlite(ended.result, systemErrno: ended.errno)
        loseLog()
        conclude(work, .unknown(error))
        if let open = open.take(), let statements = try? database.writing() {
            abandon(open, statements, because: error)
        }
    }

    /// The same, while the next transaction is in the hand of who calls.
    private func settle(under work: inout Transaction) throws {
        settle()
        work.batch.isAlone()
        guard health == .serving else {
            throw StoreError(.inputOutput, state.problem.withLock { $0 } ?? StoreError.reopening.sentence)
        }
    }

    /// Ends a transaction: what was committed goes into memory, before anybody is answered.
    private func conclude(_ work: consuming Transaction, _ result: CommitResult) {
        switch result {
        case .committed: take(work)
        case .notCommitted(let error): refuse(&work, error)
        case .unknown(let error): giveUp(&work, error)
        }
        for (mutation, outcome) in zip(work.mutations, work.outcomes) { mutation.outcome = outcome }
        if let last = work.records.last { announced = last.sequence }
        deliver(Delivery(mutations: work.mutations, records: work.records))
    }

    private func take(_ work: borrowing Transaction) {
        guard !work.changes.isEmpty else { return }
        for change in work.changes {
            if change.registration == .begins { state.withIndex { $0.begin(change) } }
            // A lock for each change, not one for all: an introspect waits for a microsecond, not for the batch.
            for place in change.tokens.indices { state.withIndex { $0.apply(change.tokens[place], of: change.name) } }
            if change.registration == .ends { state.withIndex { $0.end(change) } }
        }
        head = work.head
        state.ended.add(work.records, trimming: trustsClock)
        state.gate.open(upTo: head.sequence)
        diskTakesChanges()
    }

    /// Nothing was done. What was refused before the first change depends on nothing in the batch and stays refused.
    private func refuse(_ work: inout Transaction, _ error: StoreError) {
        let isFault = error.code == .invariant
        let outcome: MutationOutcome = isFault ? .internalError : .storageUnavailable(error.sentence)
        work.outcomes.removeSubrange((work.settledBefore ?? work.outcomes.count)...)
        // The one that failed has no outcome yet; those behind it were not looked at and go with it.
        while work.outcomes.count < work.mutations.count { work.outcomes.append(outcome) }
        work.records = []
        if isFault {
            log(.invariantBroken(error))
            reopenNow(because: error)
        } else {
            diskRefuses(error)
        }
    }

    /// Nobody knows whether the batch was committed: no answer, and nothing more is written until the database was
    /// opened again, which shows.
    private func giveUp(_ work: inout Transaction, _ error: StoreError) {
        let kept = work.settledBefore ?? 0
        work.outcomes.removeSubrange(kept...)
        while work.outcomes.count < work.mutations.count { work.outcomes.append(.unknown) }
        work.records = []
        log(.commitUnknown(error))
        state.problem.withLock { $0 = error.sentence }
        health = .reopening(nextTryMilliseconds: clock.bootMilliseconds())
    }
}

/// A transaction's work, kept until its commit is sure.
struct Transaction {
    var batch: Batch
    /// Where the audit stands with what is written.
    private(set) var head: AuditHead
    /// What was decided, and one record each.
    private(set) var changes: [PlannedChange] = []
    var records: [AuditRecord] = []
    /// How many of them stand in the database.
    private(set) var written = 0
    /// Those that were looked at, and one outcome each, in their order.
    var mutations: [Mutation] = []
    var outcomes: [MutationOutcome] = []
    /// How many outcomes were settled before its first change; nil where there is none.
    private(set) var settledBefore: Int?
    /// Whether nothing more goes into it.
    var isComplete = false

    /// One that follows another, or what was committed last.
    init(after other: Transaction?, head: AuditHead, batch: Batch) {
        self.batch = batch
        self.head = other?.head ?? head
    }

    /// Of the next change's record.
    var nextSequence: Int64 { head.sequence + Int64(changes.count - written) + 1 }

    /// Adds what was decided: later decisions see it.
    mutating func add(_ change: PlannedChange, by caller: Caller) {
        if changes.isEmpty { settledBefore = outcomes.count }
        records.append(
            AuditRecord(
                sequence: nextSequence, time: batch.now.wall, event: change.event,
                registrationID: change.application.registrationID, application: change.name, project: change.project,
                principal: caller.principal, uid: caller.uid, gid: caller.gid, process: caller.process,
                fingerprint: change.fingerprint, ended: change.ended, lapsed: change.lapsed,
                shortened: change.shortened, chain: AuditChain.start))
        batch.add(change)
        changes.append(change)
    }

    /// Chains the records that are not written yet, which they are to be now.
    mutating func chain(with chain: inout AuditChain) {
        for place in written..<records.count {
            let link = chain.link(records[place], after: head.chain)
            records[place].chain = link
            head = AuditHead(sequence: records[place].sequence, chain: link, time: records[place].time)
        }
        written = records.count
    }

    mutating func settle(_ mutation: Mutation, _ outcome: MutationOutcome) {
        mutation.drawn = nil
        mutations.append(mutation)
        outcomes.append(outcome)
    }

    /// Makes room for so many mutations, most of which are one change.
    mutating func expect(_ count: Int) {
        guard mutations.isEmpty else { return }
        changes.reserveCapacity(count)
        records.reserveCapacity(count)
        mutations.reserveCapacity(count)
        outcomes.reserveCapacity(count)
    }
}
