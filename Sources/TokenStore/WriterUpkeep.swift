internal import Synchronization
internal import TokenModel

/// When the writer does what no mutation asks for. Times are CLOCK_BOOTTIME's milliseconds.
struct Upkeep {
    private let configuration: StoreConfiguration
    private let pageBytes: Int
    /// Of the log, after which a checkpoint is begun though changes come in.
    private var busyCheckpointBytes: Int
    /// When `last_used_at` was last written behind, or found clean.
    private(set) var lastUsedWrittenAt: Int64
    /// Whether a round of writing it behind is under way.
    var isWritingLastUsed = false
    /// Pages that the log had at the last checkpoint, for as long as it has not started over; else 0.
    private var checkpointedPages: Int32 = 0
    /// When a disk that refused is to be asked again; nil while it takes changes.
    private(set) var probeAt: Int64?

    init(configuration: StoreConfiguration, database: TokenDatabase, bootMilliseconds: Int64) {
        self.configuration = configuration
        pageBytes = database.pageBytes
        busyCheckpointBytes = Self.busyCheckpointBytes(configuration, freeBytes: database.freeBytes)
        lastUsedWrittenAt = bootMilliseconds
    }

    /// How long the writer may wait for mutations before it looks after things.
    func timeoutMilliseconds(at now: Int64, pages: Int32) -> Int {
        if isWritingLastUsed { return 0 }
        let untilLastUsed = max(0, lastUsedWrittenAt + configuration.lastUsedSeconds * 1_000 - now)
        let untilCheckpoint = wantsCheckpoint(pages: pages, isIdle: true) ? configuration.idleMilliseconds : .max
        let untilProbe = probeAt.map { max(0, $0 - now) } ?? .max
        return min(Int(untilLastUsed), untilCheckpoint, Int(untilProbe))
    }

    mutating func diskRefused(at now: Int64) { probeAt = now + Int64(configuration.reopenMilliseconds) }

    mutating func diskTookChanges() { probeAt = nil }

    func wantsCheckpoint(pages: Int32, isIdle: Bool) -> Bool {
        // Where the disk refuses, the log is what can be made to need less.
        let isEarly = isIdle || probeAt != nil
        let limit = self.pages(isEarly ? configuration.idleCheckpointBytes : busyCheckpointBytes)
        // The log starts over only at a commit after a whole checkpoint, and only if no reader is in it. Until then, or
        // after a failure, it has to grow before the next try.
        let floor = checkpointedPages == 0 ? 0 : checkpointedPages + self.pages(configuration.idleCheckpointBytes)
        return pages >= max(limit, floor)
    }

    private func pages(_ bytes: Int) -> Int32 { Int32(bytes / pageBytes) }

    /// - Parameter freeBytes: on the disk.
    mutating func checkpointed(pages: Int32, freeBytes: Int) {
        checkpointedPages = pages
        // What the log has it will use again.
        let (room, isMore) = freeBytes.addingReportingOverflow(Int(pages) * pageBytes)
        busyCheckpointBytes = Self.busyCheckpointBytes(configuration, freeBytes: isMore ? .max : room)
    }

    private static func busyCheckpointBytes(_ configuration: StoreConfiguration, freeBytes: Int) -> Int {
        let share = freeBytes / configuration.busyCheckpointPartOfFree
        return min(configuration.busyCheckpointBytes, max(configuration.idleCheckpointBytes, share))
    }

    /// Notices that the log has started over.
    mutating func committed(pages: Int32) {
        if pages < checkpointedPages { checkpointedPages = 0 }
    }

    /// Idle moments are taken every `lastUsedSeconds`; busy ones only when half as much again has passed.
    func wantsLastUsed(at now: Int64, isIdle: Bool) -> Bool {
        if isIdle && isWritingLastUsed { return true }
        let interval = configuration.lastUsedSeconds * 1_000
        return now - lastUsedWrittenAt >= (isIdle ? interval : interval + interval / 2)
    }

    mutating func lastUsedWritten(at now: Int64, isComplete: Bool) {
        isWritingLastUsed = !isComplete
        if isComplete { lastUsedWrittenAt = now }
    }
}

extension Writer {
    /// Whether `maintain` has something to do, for which the database is needed without a transaction under way.
    func isMaintenanceDue(at now: Int64, isIdle: Bool) -> Bool {
        guard health == .serving else { return true }
        let pages = database.writeAheadLogPages
        upkeep.committed(pages: pages)
        return upkeep.wantsLastUsed(at: now, isIdle: isIdle) || isAuditDue(at: now, isIdle: isIdle)
            || upkeep.probeAt.map { now >= $0 } ?? false || checkpointing.isDone
    }

    /// Called between batches, and when nothing came in for a while.
    func maintain(isIdle: Bool) {
        watchClock()
        let now = clock.bootMilliseconds()
        if case .reopening(let nextTry) = health {
            if now >= nextTry { queue.pulse.inDisk(clock) { reopen() } }
            return
        }
        if upkeep.wantsLastUsed(at: now, isIdle: isIdle) { writeLastUsed(at: now) }
        guard health == .serving else { return }
        maintainAudit(at: now, isIdle: isIdle)
        guard health == .serving else { return }
        if let probeAt = upkeep.probeAt, now >= probeAt { probeDisk() }
        guard health == .serving else { return }
        if checkpointing.isDone { finishCheckpoint() }
        beginCheckpoint(isIdle: isIdle)
    }

    /// Begins to copy the log beside the writer, where it has become long: in an idle moment too, which may be over at once.
    func beginCheckpoint(isIdle: Bool) {
        guard health == .serving, !checkpointing.isUnderWay else { return }
        let pages = database.writeAheadLogPages
        upkeep.committed(pages: pages)
        if upkeep.wantsCheckpoint(pages: pages, isIdle: isIdle) { checkpointing.begin(database.checkpointer) }
    }

    /// Copies what the copy beside the writer has left of the log.
    private func finishCheckpoint() {
        upkeep.checkpointed(pages: database.writeAheadLogPages, freeBytes: database.freeBytes)
        switch checkpointing.finish() {
        case .copied: break
        case .failed(let error): return log(.checkpointFailed(error))
        case .lost(let error): return lose(error)
        }
        do {
            _ = try queue.pulse.inDisk(clock) { try database.checkpoint(truncating: false) }
        } catch {
            let error = StoreError.any(error)
            if error.isFailedSync { lose(error) } else { log(.checkpointFailed(error)) }
        }
    }

    /// The database may lack what the log says that it has.
    private func lose(_ error: StoreError) {
        log(.checkpointFailed(error))
        loseLog()
        reopenNow(because: error)
    }

    /// Writes some rows' `last_used_at`, in a transaction without audit: losing it harms nobody.
    func writeLastUsed(at now: Int64) {
        let (used, isComplete) = state.withIndex { index in
            let (slots, isComplete) = index.used.take(configuration.lastUsedRows)
            return (slots.map { ($0, index.tokens[$0].pointee) }, isComplete)
        }
        guard !used.isEmpty else {
            upkeep.lastUsedWritten(at: now, isComplete: true)
            return
        }
        let result = transaction {
            let statements = try database.writing()
            for (_, token) in used {
                try statements.setLastUsed(
                    Instant(milliseconds: Int64(token.lastUsedSeconds) * 1_000), id: token.id, digest: token.digest)
            }
        }
        switch result {
        case .committed:
            diskTakesChanges()
            upkeep.lastUsedWritten(at: now, isComplete: isComplete)
        case .notCommitted(let error):
            tryAgain(used.map(\.0), at: now)
            if error.code == .invariant {
                log(.invariantBroken(error))
                reopenNow(because: error)
            } else {
                diskRefuses(error)
            }
        case .unknown(let error):
            log(.commitUnknown(error))
            tryAgain(used.map(\.0), at: now)
            state.problem.withLock { $0 = error.sentence }
            health = .reopening(nextTryMilliseconds: now)
        }
    }

    /// This round is over; the next one has these slots too.
    private func tryAgain(_ slots: [UInt32], at now: Int64) {
        state.withIndex { index in
            slots.forEach { index.used.mark($0) }
            index.used.startOver()
        }
        upkeep.lastUsedWritten(at: now, isComplete: true)
    }

    // MARK: The disk's health

    /// Asks a disk that refused again, with a commit that changes nothing: who waits for `ready` sends no mutation.
    private func probeDisk() {
        let result = transaction { try database.writing().rewriteHeader() }
        if finish(result) { diskTakesChanges() }
    }

    /// Says so once, until it takes changes again.
    func diskRefuses(_ error: StoreError) {
        upkeep.diskRefused(at: clock.bootMilliseconds())
        let isNew = state.problem.withLock { problem in
            defer { problem = error.sentence }
            return problem == nil
        }
        if isNew { log(.storageRefuses(error)) }
    }

    func diskTakesChanges() {
        upkeep.diskTookChanges()
        let wasRefusing = state.problem.withLock { problem in
            defer { problem = nil }
            return problem != nil
        }
        if wasRefusing { log(.storageRecovered) }
    }

    /// After a fault of the program: the index is made anew at once, so that it cannot mislead another batch.
    func reopenNow(because error: StoreError) {
        state.problem.withLock { $0 = error.sentence }
        queue.pulse.inDisk(clock) { reopen() }
    }

    /// A sync has failed: nothing more of this log is synced, and what is in it is read anew from the file.
    func loseLog() {
        database.log.lose()
        isLogLost = true
        // For the next start, too. A disk that takes not even this name has lost more than the log.
        try? directory.makeFile(StateDirectory.lostLogName)
    }

    /// Closes and opens the database, and makes the index anew from it. Until that succeeds no mutation is taken; the
    /// tokens that were known stay good meanwhile.
    func reopen() {
        let started = clock.bootMilliseconds()
        state.pool.withLock { $0 = nil }
        state.gate.lose()
        if case .lost = checkpointing.finish() { loseLog() }
        database.close()
        do {
            guard try directory.isDatabaseThere() else {
                throw StoreError(.damaged, "The database tokens.db is gone; stop the daemon and restore a backup.")
            }
            if isLogLost { try TokenDatabase.recover(in: directory) }
            isLogLost = false
            let opened = try TokenDatabase(in: directory)
            guard try opened.checkpoint(truncating: true) else {
                throw StoreError.sqlite(5)  // SQLITE_BUSY
            }
            let (index, head) = try TokenIndex.load(opened, asOf: Moment(clock: clock))
            database = opened
            self.head = head
            state.replaceIndex(index)
            state.gate.show(upTo: head.sequence)
            state.gate.open(upTo: head.sequence)
            state.pool.withLock { $0 = opened.pool }
            health = .serving
            upkeep = Upkeep(
                configuration: configuration, database: opened, bootMilliseconds: clock.bootMilliseconds())
            diskTakesChanges()
            log(
                .opened(
                    applications: index.applications.count, tokens: index.tokens.count, sequence: head.sequence,
                    milliseconds: clock.bootMilliseconds() - started))
            try deliverFound()
        } catch {
            diskRefuses(.any(error))
            health = .reopening(
                nextTryMilliseconds: clock.bootMilliseconds() + Int64(configuration.reopenMilliseconds))
        }
    }

    /// Hands over the audit rows of a commit that nobody knew of: who follows the records must not see a gap.
    private func deliverFound() throws {
        while announced < head.sequence {
            let found = try LedgerReader.records(
                after: announced, limit: configuration.batchLimit, pool: state.pool.withLock { $0 })
            guard let last = found.last else { return }
            state.ended.add(found, trimming: false)
            deliver(Delivery(mutations: [], records: found))
            announced = last.sequence
        }
    }

    /// After the last batch: writes what is left behind, empties the log and closes.
    func finish() {
        if case .reopening = health { queue.pulse.inDisk(clock) { reopen() } }
        if health == .serving {
            repeat { writeLastUsed(at: clock.bootMilliseconds()) } while upkeep.isWritingLastUsed
            if health == .serving { writeJournalPosition() }
            if health == .serving { writePresented(at: clock.bootMilliseconds(), all: true) }
        }
        state.pool.withLock { $0 = nil }
        // What is left to do, or could not be done, the last checkpoint does.
        if case .lost = queue.pulse.inDisk(clock, { checkpointing.finish() }) { loseLog() }
        checkpointing.end()
        if health == .serving {
            do {
                _ = try queue.pulse.inDisk(clock) { try database.checkpoint(truncating: true) }
            } catch {
                log(.checkpointFailed(.any(error)))
            }
        }
        database.close()
    }
}
