internal import Synchronization
internal import TokenModel

/// What the writer remembers of the audit's beginning.
struct Pruning {
    /// The oldest row that is kept; nil until it was looked up.
    var oldest: AuditRows.Oldest?
    /// By CLOCK_BOOTTIME; 0 for at once.
    var nextLookMilliseconds: Int64 = 0
    /// Whether the next idle moment is to be taken at once.
    var hasMore = false
    /// Who presented ended tokens while the disk refused.
    var unwritten: [EndedPresentation] = []
    /// The position that was last written behind.
    var written: JournalStatus?
    /// By CLOCK_BOOTTIME: until then nothing goes for its age. A wall clock that is a year ahead, as after a start
    /// without a good clock, is mostly set right soon.
    private(set) var clockTrustedAt: Int64 = 0

    /// The wall clock is new: at a start, or because somebody has set it.
    mutating func trustClock(from now: Int64, _ configuration: StoreConfiguration) {
        clockTrustedAt = now + configuration.clockTrustSeconds * 1_000
    }
}

/// Audit rows go when they are in the journal, synced and old enough; over the cap they go before that, and a mark says so.
extension Writer {
    /// Commits of an idle moment before mutations are looked for again.
    private static let idleCommits = 8

    /// Looks after the audit: seldom, but over the cap at once.
    func maintainAudit(at now: Int64, isIdle: Bool) {
        let isDue = isAuditLookDue(at: now, isIdle: isIdle)
        guard isDue || isOverCap else { return }
        pruning.hasMore = false
        if isDue {
            pruning.nextLookMilliseconds = now + configuration.auditUpkeepSeconds * 1_000
            writeJournalPosition()
            if health == .serving { writePresented(at: now, all: false) }
        }
        var commits = 0
        repeat {
            commits += 1
            guard health == .serving, prune() else { return }
        } while isIdle && commits < Self.idleCommits && queue.count == 0
        // There is more that may go: at the next idle moment.
        if isDue { pruning.nextLookMilliseconds = now }
        pruning.hasMore = isIdle
    }

    /// Idle moments are taken; where there are none for half as much again, a busy one.
    private func isAuditLookDue(at now: Int64, isIdle: Bool) -> Bool {
        now >= pruning.nextLookMilliseconds + (isIdle ? 0 : configuration.auditUpkeepSeconds * 1_000 / 2)
    }

    /// Whether something is to be done about the audit, as `maintainAudit` does it.
    func isAuditDue(at now: Int64, isIdle: Bool) -> Bool { isAuditLookDue(at: now, isIdle: isIdle) || isOverCap }

    private var isOverCap: Bool {
        guard let oldest = pruning.oldest else { return true }
        return isOverCap(from: oldest)
    }

    private func isOverCap(from oldest: AuditRows.Oldest) -> Bool {
        head.sequence - oldest.sequence - oldest.skipped >= configuration.auditRowsMax
    }

    /// Takes the oldest rows away, with the mark that the next one follows, in one transaction. Over the cap as many go as for
    /// their age, not as few as have to: each cut is a commit for which the changes wait.
    /// - Returns: whether there may be more to take.
    private func prune() -> Bool {
        let journal = state.journal.withLock { $0 }
        let oldEnough = oldEnough(after: configuration.auditKeepSeconds)
        var oldest: AuditRows.Oldest?
        var gone: AuditMark?
        let result = transaction {
            let rows = try AuditRows(database.writing())
            let found = try rows.oldest()
            oldest = found
            guard found.sequence > 0 else { return }
            // The last row stays: the chain's head is read from it. And no cut goes over the mark of a restore, whose numbers
            // nobody ever had.
            let next = min(found.sequence + configuration.auditPruneRows, head.sequence, found.gap)
            guard let end = try rows.last(before: next) else { return }
            let isInTime =
                try end.sequence <= journal?.synced ?? 0 && end.time < oldEnough
                && !rows.holdsAny(
                    through: end.sequence, of: oldEnough...max(oldEnough, clock.wall().milliseconds))
            guard isInTime || isOverCap(from: found) else { return }
            gone = try rows.remove(
                found.sequence...end.sequence, chain: end.chain, at: clock.wall(),
                because: isInTime ? .pruned : .overCap)
            oldest = try rows.oldest()
        }
        let isDone = finish(result)
        pruning.oldest = isDone ? oldest : nil
        guard isDone, let gone else { return false }
        log(.auditCut(gone))
        return true
    }

    /// Writes the journal's position behind, so that a start knows where to look. An old copy keeps the one that it has, so
    /// that each start finds again what it lacks.
    func writeJournalPosition() {
        guard let journal = state.journal.withLock({ $0 }), journal != pruning.written, journal.lacking == nil else {
            return
        }
        let result = transaction {
            try AuditRows(database.writing()).setJournal(sent: journal.sent, confirmed: journal.synced)
        }
        if finish(result) { pruning.written = journal }
    }

    /// Writes behind which ended tokens were presented by whom.
    func writePresented(at now: Int64, all: Bool) {
        let heldBack = state.ended.takeHeldBack()
        if !heldBack.isEmpty { log(.presentationsHeldBack(heldBack)) }
        var presented = (pruning.unwritten + state.ended.takePresented(at: now, all: all))[...]
        pruning.unwritten = []
        while !presented.isEmpty {
            let some = presented.prefix(configuration.presentedRows)
            let result = transaction {
                let rows = try AuditRows(database.writing())
                for one in some { try rows.insert(one) }
                try rows.trimPresented(olderThan: oldEnough(after: EndedTokens.keepSeconds))
            }
            guard finish(result) else {
                keepUnwritten(presented)
                return
            }
            presented = presented.dropFirst(some.count)
            log(.endedTokensPresented(Array(some)))
        }
    }

    /// For when the disk takes them: as many as may wait at once, and the others counted.
    private func keepUnwritten(_ presented: ArraySlice<EndedPresentation>) {
        pruning.unwritten = Array(presented.prefix(EndedTokens.presentationsMax))
        let more = presented.dropFirst(pruning.unwritten.count).reduce(0) { $0 + $1.count }
        if more > 0 { log(.presentationsHeldBack([HeldBackRefusals(principal: nil, uid: nil, count: more)])) }
    }

    /// What was made before is older than so much; nothing is, while the clock is new.
    private func oldEnough(after seconds: Int64) -> Int64 {
        let wall = clock.wall().milliseconds
        // Behind that time, which somebody may have set a moment ago, while the disk was waited for.
        watchClock()
        return trustsClock ? wall - seconds * 1_000 : 0
    }

    var trustsClock: Bool { clock.bootMilliseconds() >= pruning.clockTrustedAt }

    // MARK: Transactions

    func transaction(_ body: () throws -> Void) -> CommitResult {
        let statements: WriterStatements
        do {
            statements = try database.writing()
        } catch {
            return .notCommitted(.any(error))
        }
        return queue.pulse.inDisk(clock) {
            do {
                try statements.begin()
                try body()
            } catch {
                return statements.rollback() ? .notCommitted(.any(error)) : .unknown(.any(error))
            }
            return statements.commit()
        }
    }

    func finish(_ result: CommitResult) -> Bool {
        switch result {
        case .committed: return true
        case .notCommitted(let error):
            if error.code == .invariant {
                log(.invariantBroken(error))
                reopenNow(because: error)
            } else {
                diskRefuses(error)
            }
        case .unknown(let error):
            log(.commitUnknown(error))
            state.problem.withLock { $0 = error.sentence }
            health = .reopening(nextTryMilliseconds: clock.bootMilliseconds())
        }
        return false
    }
}
