internal import Synchronization
internal import TokenModel

/// The one thread that changes anything: takes what waits, decides it, writes it with its audit in one transaction,
/// and only after the commit puts it into the index and hands the answers over.
final class Writer: @unchecked Sendable {
    // @unchecked: made on one thread and then used by the writer's thread alone; `state` and `queue` have locks.
    let state: LedgerState
    let queue: MutationQueue
    let configuration: StoreConfiguration
    let clock: any Clock
    let random: any RandomSource
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

    enum Health: Equatable {
        case serving
        /// The database is to be closed and opened again before anything is written.
        case reopening(nextTryMilliseconds: Int64)
    }

    init(
        state: LedgerState, queue: MutationQueue, configuration: StoreConfiguration, clock: any Clock,
        random: any RandomSource, directory: StateDirectory, database: TokenDatabase, head: AuditHead,
        log: @escaping @Sendable (StoreEvent) -> Void, deliver: @escaping @Sendable (Delivery) -> Void
    ) {
        self.state = state
        self.queue = queue
        self.configuration = configuration
        self.clock = clock
        self.random = random
        self.directory = directory
        self.database = database
        self.head = head
        announced = head.sequence
        self.log = log
        self.deliver = deliver
        upkeep = Upkeep(configuration: configuration, bootMilliseconds: clock.bootMilliseconds())
        pruning.trustClock(from: clock.bootMilliseconds(), configuration)
    }

    /// Works until the queue is closed and empty, then leaves the database as a start wants to find it.
    func run() {
        while true {
            queue.pulse.answer()
            let timeout =
                health == .serving
                ? upkeep.timeoutMilliseconds(at: clock.bootMilliseconds(), pages: database.writeAheadLogPages)
                : configuration.reopenMilliseconds
            let soon = pruning.hasMore ? min(timeout, configuration.idleMilliseconds) : timeout
            let taken = queue.take(configuration, timeoutMilliseconds: soon)
            watchClock()
            switch taken {
            case .mutations(let mutations):
                queue.giveBack(runBatch(mutations[...]))
                maintain(isIdle: false)
            case .idle: maintain(isIdle: true)
            case .asked: maintain(isIdle: false)
            case .closed:
                finish()
                return
            }
        }
    }

    func watchClock() {
        guard let jump = clockWatch.jump(clock) else { return }
        pruning.trustClock(from: clock.bootMilliseconds(), configuration)
        log(.clockSet(milliseconds: jump))
    }

    /// Runs one transaction over the first of what was taken.
    /// - Returns: what it left for the next one.
    private func runBatch(_ mutations: ArraySlice<Mutation>) -> ArraySlice<Mutation> {
        guard health == .serving else {
            let sentence = state.problem.withLock { $0 } ?? StoreError.reopening.sentence
            for mutation in mutations { mutation.outcome = .storageUnavailable(sentence) }
            deliver(Delivery(mutations: Array(mutations), records: []))
            return []
        }
        var work = Transaction(
            batch: Batch(
                index: state.indexOfWriter, now: Moment(clock: clock),
                tokensPerOwner: state.tokensPerOwner.load(ordering: .relaxed), random: random),
            head: head)
        var result = CommitResult.committed
        do {
            result = try database.perform {
                let statements = try database.writing()
                do {
                    try write(mutations, into: &work, statements)
                } catch {
                    return statements.rollback() ? .notCommitted(.any(error)) : .unknown(.any(error))
                }
                return work.changes.isEmpty ? .committed : queue.pulse.inDisk(clock) { statements.commit() }
            }
        } catch {
            result = .notCommitted(.any(error))
        }
        switch result {
        case .committed: take(work)
        case .notCommitted(let error): refuse(mutations, &work, error)
        case .unknown(let error): giveUp(&work, error)
        }
        let done = mutations.prefix(work.outcomes.count)
        for (mutation, outcome) in zip(done, work.outcomes) { mutation.outcome = outcome }
        if let last = work.records.last { announced = last.sequence }
        deliver(Delivery(mutations: Array(done), records: work.records))
        return mutations.dropFirst(done.count)
    }

    /// Decides and writes one mutation after the other, until one has to wait for the next transaction.
    private func write(
        _ mutations: ArraySlice<Mutation>, into work: inout Transaction, _ statements: WriterStatements
    ) throws {
        work.expect(mutations.count)
        var places: ArraySlice<PairPlace> = []
        for (offset, mutation) in mutations.enumerated() {
            // Some at once, for the memory's latency; not all, for the first may leave the others to the next transaction.
            if places.isEmpty { places = work.batch.places(of: mutations.dropFirst(offset).prefix(32))[...] }
            let decision: Decision
            do {
                decision = try work.batch.decide(
                    mutation, at: places.removeFirst(), sequence: work.head.sequence + 1)
            } catch let error as StoreError {
                throw error
            } catch {
                log(.randomnessFailed)
                work.outcomes.append(.internalError)
                continue
            }
            switch decision {
            case .later: return
            case .settled(let outcome):
                // As when it is introspected: who presents a token that was ended is on record.
                if case .revokeToken(let digest) = mutation.command, case .revoked(0) = outcome {
                    state.ended.notePresented(
                        digest, by: mutation.caller, at: work.batch.now.wall,
                        bootMilliseconds: work.batch.now.bootMilliseconds)
                }
                work.outcomes.append(outcome)
            case .change(let changes, let outcome):
                if work.changes.isEmpty {
                    work.settledBefore = work.outcomes.count
                    try statements.begin()
                }
                for change in changes {
                    try write(change, by: mutation.caller, into: &work, statements)
                }
                work.outcomes.append(outcome)
            }
        }
    }

    private func write(
        _ change: PlannedChange, by caller: Caller, into work: inout Transaction, _ statements: WriterStatements
    ) throws {
        var record = AuditRecord(
            sequence: work.head.sequence + 1, time: work.batch.now.wall, event: change.event,
            registrationID: change.application.registrationID, application: change.name, project: change.project,
            principal: caller.principal, uid: caller.uid, gid: caller.gid, process: caller.process,
            fingerprint: change.fingerprint, ended: change.ended, lapsed: change.lapsed,
            shortened: change.shortened, chain: AuditChain.start)
        if change.registration == .begins {
            try statements.insert(change.name, change.application, registeredAt: work.batch.now.wall)
        }
        for token in change.tokens {
            switch (token.before, token.after) {
            case (nil, let after?):
                try statements.insert(after, application: change.application, project: token.project)
            case (let before?, let after?): try statements.update(before, to: after.held)
            case (let before?, nil): try statements.delete(before)
            case (nil, nil): break
            }
        }
        if change.registration == .ends { try statements.delete(change.application) }
        record.chain = chain.link(record, after: work.head.chain)
        try statements.insert(record)
        work.head = AuditHead(sequence: record.sequence, chain: record.chain, time: record.time)
        work.records.append(record)
        work.batch.add(change)
        work.changes.append(change)
    }

    // MARK: After the transaction

    /// Puts what was committed into memory, before anybody is answered.
    private func take(_ work: Transaction) {
        guard !work.changes.isEmpty else { return }
        for change in work.changes {
            if change.registration == .begins { state.withIndex { $0.begin(change) } }
            // A lock for each change, not one for all: an introspect waits for a microsecond, not for the batch.
            for token in change.tokens { state.withIndex { $0.apply(token, of: change.name) } }
            if change.registration == .ends { state.withIndex { $0.end(change) } }
        }
        head = work.head
        state.ended.add(work.records)
        state.sequence.store(head.sequence, ordering: .releasing)
        diskTakesChanges()
    }

    /// Nothing was done. What was refused before the first change depends on nothing in the batch and stays refused.
    private func refuse(_ mutations: ArraySlice<Mutation>, _ work: inout Transaction, _ error: StoreError) {
        let isFault = error.code == .invariant
        let outcome: MutationOutcome = isFault ? .internalError : .storageUnavailable(error.sentence)
        work.outcomes.removeSubrange((work.settledBefore ?? work.outcomes.count)...)
        // The one that failed has no outcome yet; those behind it were not looked at and go with it.
        while work.outcomes.count < mutations.count { work.outcomes.append(outcome) }
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
        for place in work.outcomes.indices where place >= kept { work.outcomes[place] = .unknown }
        work.records = []
        log(.commitUnknown(error))
        state.problem.withLock { $0 = error.sentence }
        health = .reopening(nextTryMilliseconds: clock.bootMilliseconds())
    }
}

/// A transaction's work, kept until its commit is sure.
struct Transaction {
    var batch: Batch
    var head: AuditHead
    var changes: [PlannedChange] = []
    var records: [AuditRecord] = []
    /// One a mutation that was looked at, in their order.
    var outcomes: [MutationOutcome] = []
    /// How many outcomes were settled before the transaction was begun; nil where it was not.
    var settledBefore: Int?

    init(batch: Batch, head: AuditHead) {
        self.batch = batch
        self.head = head
    }

    /// Makes room for so many mutations, most of which are one change.
    mutating func expect(_ count: Int) {
        changes.reserveCapacity(count)
        records.reserveCapacity(count)
        outcomes.reserveCapacity(count)
    }
}
