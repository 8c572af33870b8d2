import GRDB
import GRDBSQLite
import Glibc
import Synchronization
import Testing
import TokenModel

@testable import TokenStore

/// Where two things come together: a fault and another one, a clock that is set and what it makes old, another program that
/// reads beside.
@Suite(.serialized) struct CoincidenceTests {
    private func rotate(_ name: String, grace: Int64 = 0) throws -> Command {
        .rotate(application: try app(name), project: try project("p"), ttlSeconds: 6_000, graceSeconds: grace)
    }

    private func presentations(_ test: TestLedger) throws -> [EndedPresentation] {
        var found: [EndedPresentation] = []
        try DatabaseFile(path: test.directory.path + "/tokens.db").forEachPresentation { found.append($0) }
        return found
    }

    private func backUp(_ test: TestLedger) throws -> String {
        let backup = test.directory.path + "/backup.db"
        _ = try Backup.write(stateDirectory: test.directory.path, to: backup, replacing: false)
        return backup
    }

    /// Puts it in the place of the database that is there, whose audit is all that is known of what came since.
    private func restore(_ backup: String, over test: TestLedger) throws {
        test.ledger.close()
        _ = try Restore(
            DatabaseFile(path: backup), stateDirectory: test.directory.path, since: nil, acceptingMissing: false
        ).run(now: test.clock.wall())
        try test.reopen()
    }

    private func sleepMilliseconds(_ milliseconds: UInt32) { usleep(milliseconds * 1_000) }

    /// The checkpoint beside the writer could not sync the database, and before the writer has heard of that, its own commit
    /// cannot be synced: the pages that the kernel let go of have to be written again.
    @Test(arguments: [false, true]) func aLostCheckpointIsNotForgottenWhenACommitIsUnknown(commitFails: Bool) throws {
        try #require(FaultyDisk.isInstalled)
        var configuration = StoreConfiguration.overlapping
        configuration.busyCheckpointBytes = 131_072
        configuration.reopenMilliseconds = 10
        let test = try TestLedger(configuration: configuration)
        let path = test.directory.path
        for place in 0..<40 {
            try test.run(.register(application: app("a\(place)"), project: project("p"), ttlSeconds: 6_000))
        }
        // Another program has the database open, and reads while the copy is made, which therefore is not the whole log.
        var reader: OpaquePointer?
        defer { sqlite3_close_v2(reader) }
        #expect(sqlite3_open_v2(path + "/tokens.db", &reader, SQLITE_OPEN_READONLY, nil) == SQLITE_OK)
        #expect(sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM token", nil, nil, nil) == SQLITE_OK)
        let (copy, commit) = (SyncHold(), SyncHold())
        FaultyDisk.heldDatabases.withLock { $0[path] = copy }
        FaultyDisk.held.withLock { $0[path] = commit }
        defer {
            copy.release()
            commit.release()
        }
        copy.hold()
        for place in 0..<10_000 where !copy.isAwaited {
            try test.run(rotate("a\(place % 40)"))
        }
        try #require(copy.isAwaited, "no copy was begun")
        #expect(sqlite3_exec(reader, "COMMIT", nil, nil, nil) == SQLITE_OK)
        // The copy fails while the writer waits for its commit, which is when it cannot hear of it.
        commit.hold()
        let last = try test.submit(rotate("a0"))
        try commit.awaitOne()
        FaultyDisk.fail(.databaseCannotBeSynced, under: path)
        copy.release()
        for _ in 0..<60_000 where FaultyDisk.count(.databaseCannotBeSynced, under: path) == 0 { sleepMilliseconds(1) }
        try #require(FaultyDisk.count(.databaseCannotBeSynced, under: path) > 0)
        FaultyDisk.mend(.databaseCannotBeSynced, under: path)
        if commitFails { FaultyDisk.fail(.logCannotBeSynced, under: path) }
        commit.release()
        let outcome = try test.collector.outcome(of: last)
        if commitFails { guard case .unknown = outcome else { throw TestFault("it is known: \(outcome)") } }
        FaultyDisk.mend(.logCannotBeSynced, under: path)
        // Some tries beside the other program, then without it.
        var wasTakenBesideIt = false
        for _ in 0..<20 {
            test.clock.advance(seconds: 1)
            if case .credentials = try test.run(rotate("a1")) { wasTakenBesideIt = true }
        }
        sqlite3_close_v2(reader)
        reader = nil
        for _ in 0..<1_000 {
            test.clock.advance(seconds: 1)
            if case .credentials = try test.run(rotate("a1")) { break }
        }
        test.ledger.close()
        let log = test.directory.path + "/tokens.db-wal"
        var status = stat()
        let logBytes = stat(log, &status) == 0 ? Int(status.st_size) : 0
        let left = FaultyDisk.dropped.withLock { $0.first { $0.key.hasPrefix(path) }?.value ?? [] }
        #expect(!wasTakenBesideIt, "the account of the log that the other program holds was believed")
        #expect(
            left.isEmpty || logBytes > 0, "the log is gone, and these pages were never written again: \(left.sorted())")
    }

    /// What may not share a transaction with what stands before it is to open the next one.
    @Test func whatHasToWaitForTheNextTransactionOpensIt() throws {
        let test = try TestLedger()
        let (alice, bob) = (TestLedger.caller(), TestLedger.caller("bob", uid: 1_001))
        try test.run(.register(application: app("alice"), project: project("p"), ttlSeconds: 6_000), by: alice)
        try test.run(.register(application: app("bob"), project: project("p0"), ttlSeconds: 6_000), by: bob)
        for place in 1..<70 {
            try test.run(.generate(application: app("bob"), project: project("p\(place)"), ttlSeconds: 6_000), by: bob)
        }
        let (many, one) = try test.collector.gate.withLock { _ in
            let before = test.collector.entered
            try test.submit(.revoke(application: app("nobody"), project: project("p")))
            try test.collector.wait { test.collector.entered > before }
            let many = try (0..<400).map { _ in try test.submit(rotate("alice"), by: alice) }
            return (many, try test.submit(.unregister(application: app("bob")), by: bob))
        }
        for mutation in many + [one] { _ = try test.collector.outcome(of: mutation) }
        let deliveries = test.collector.deliveries.suffix(from: { $0.mutations.contains { $0 === many[0] } })
        let place = try #require(deliveries.firstIndex { $0.mutations.contains { $0 === one } })
        let ahead = deliveries[..<place].reduce(0) { $0 + $1.mutations.count }
        let commits = deliveries.count
        #expect(ahead < 100, "alice's changes that came before bob's had their turn, and no more")
        #expect(commits < 60, "commits are shared")
    }

    @Test func aTokenThatWasRevokedInAWrongYearIsNotRevivedByARestore() throws {
        let test = try TestLedger()
        let revoked = try test.credentials(
            .register(application: app("a"), project: project("p"), ttlSeconds: 6_000))
        let backup = try backUp(test)
        test.clock.setWallBack(seconds: -31_536_000)
        try test.run(.revoke(application: app("a"), project: project("p")))
        test.clock.setWallBack(seconds: 31_536_000)
        #expect(!test.isActive(revoked.token))
        try restore(backup, over: test)
        #expect(!test.isActive(revoked.token), "it was revoked, and the audit that was at hand says so")
    }

    /// The journal may have let go of it since, and what is sent again would stand behind what came after it.
    @Test func whatTheJournalHadIsNotSentAgainAfterARestore() throws {
        let test = try TestLedger()
        try test.run(.register(application: app("a"), project: project("p"), ttlSeconds: 6_000))
        let backup = try backUp(test)
        for _ in 0..<4 { try test.run(rotate("a")) }
        test.ledger.noteJournal(JournalStatus(state: .ok, sent: 4, confirmed: 4, synced: 4))
        try test.reopen()
        #expect(try test.ledger.journalPosition().confirmed == 4)
        try restore(backup, over: test)
        let position = try test.ledger.journalPosition()
        #expect(position.sent == 4 && position.confirmed == 4)
    }

    @Test(arguments: ["revoke it", "rotate without a grace", "rotate with a grace", "unregister"])
    func aPreviousTokenThatEndedInAWrongYearIsNotRevivedByARestore(_ how: String) throws {
        let test = try TestLedger()
        let old = try test.credentials(
            .register(application: app("a"), project: project("p"), ttlSeconds: 6_000))
        let backup = try backUp(test)
        try test.run(rotate("a", grace: 3_600))
        #expect(test.isActive(old.token))
        test.clock.setWallBack(seconds: -31_536_000)
        switch how {
        case "revoke it": try test.run(.revokeToken(old.token.digest))
        case "unregister": try test.run(.unregister(application: app("a")))
        default: try test.run(rotate("a", grace: how == "rotate with a grace" ? 60 : 0))
        }
        test.clock.setWallBack(seconds: 31_536_000)
        #expect(!test.isActive(old.token))
        try restore(backup, over: test)
        #expect(!test.isActive(old.token), "it had lost its place, and the audit that was at hand says so")
    }

    @Test func aPreviousTokenThatWasRevokedAfterItsGraceStaysRevokedOverARestart() throws {
        let test = try TestLedger()
        let old = try test.credentials(
            .register(application: app("a"), project: project("p"), ttlSeconds: 6_000))
        try test.run(rotate("a", grace: 60))
        test.clock.advance(seconds: 61)
        test.clock.setWallBack(seconds: 3_600)
        #expect(!test.isActive(old.token), "its grace is over")
        try test.run(.revokeToken(old.token.digest))
        try test.reopen()
        #expect(!test.isActive(old.token), "somebody has revoked it, and was told that this was done")
    }

    @Test func aDamagedAuditInTheOldDatabaseDoesNotKeepABackupOut() throws {
        let test = try TestLedger()
        try test.run(.register(application: app("a"), project: project("p"), ttlSeconds: 6_000))
        let backup = try backUp(test)
        for _ in 0..<3 { try test.run(rotate("a")) }
        test.ledger.close()
        try DatabaseQueue.beside(test.directory.path + "/tokens.db").write {
            try $0.execute(sql: "UPDATE audit SET principal = 'x' WHERE sequence = 3")
        }
        let restore = try Restore(
            DatabaseFile(path: backup), stateDirectory: test.directory.path, since: nil, acceptingMissing: true)
        #expect(throws: Never.self) { _ = try restore.run(now: test.clock.wall()) }
    }

    @Test func whoPresentedAnEndedTokenIsNotForgottenWhileTheDiskIsFull() throws {
        try #require(FaultyDisk.isInstalled)
        let test = try TestLedger()
        let old = try test.credentials(
            .register(application: app("a"), project: project("p"), ttlSeconds: 6_000))
        try test.run(rotate("a"))
        test.ledger.noteInactive(old.token.digest, by: TestLedger.caller("mallory", uid: 1_001))
        FaultyDisk.fail(.noRoom, under: test.directory.path)
        test.clock.advance(seconds: 120)
        for _ in 0..<1_000 where FaultyDisk.count(.noRoom, under: test.directory.path) == 0 {
            try test.run(.revoke(application: app("nobody"), project: project("p")))
        }
        #expect(FaultyDisk.count(.noRoom, under: test.directory.path) > 0)
        FaultyDisk.mend(.noRoom, under: test.directory.path)
        try test.reopen()
        #expect(try presentations(test).map(\.uid) == [1_001])
        #expect(test.collector.events.contains { if case .endedTokensPresented = $0 { true } else { false } })
    }

    @Test func aWrongYearDoesNotForgetWhatWasEnded() throws {
        let test = try TestLedger()
        let old = try test.credentials(
            .register(application: app("a"), project: project("p"), ttlSeconds: 6_000))
        try test.run(rotate("a"))
        test.clock.setWallBack(seconds: -31_536_000)
        try test.run(rotate("a"))
        test.clock.setWallBack(seconds: 31_536_000)
        test.ledger.noteInactive(old.token.digest, by: TestLedger.caller("mallory", uid: 1_001))
        try test.reopen()
        #expect(try presentations(test).map(\.uid) == [1_001], "nothing goes for its age within an hour of a jump")
    }

    @Test func whatACommitEndedOfWhichNobodyKnewIsRemembered() throws {
        try #require(FaultyDisk.isInstalled)
        var configuration = StoreConfiguration.overlapping
        configuration.reopenMilliseconds = 10
        let test = try TestLedger(configuration: configuration)
        let old = try test.credentials(
            .register(application: app("a"), project: project("p"), ttlSeconds: 6_000))
        let kept = try test.credentials(
            .register(application: app("b"), project: project("p"), ttlSeconds: 6_000))
        FaultyDisk.fail(.logCannotBeSynced, under: test.directory.path)
        guard case .unknown = try test.run(rotate("a")) else { throw TestFault("it is known") }
        FaultyDisk.mend(.logCannotBeSynced, under: test.directory.path)
        for _ in 0..<100_000 {
            test.clock.advance(seconds: 1)
            if case .credentials = try test.run(rotate("b")) { break }
        }
        #expect(!test.isActive(old.token) && !test.isActive(kept.token))
        let mallory = TestLedger.caller("mallory", uid: 1_001)
        test.ledger.noteInactive(kept.token.digest, by: mallory)
        test.ledger.noteInactive(old.token.digest, by: mallory)
        try test.reopen()
        let found = Set(try presentations(test).map(\.fingerprint))
        #expect(found.contains(kept.token.digest.fingerprint))
        #expect(found.contains(old.token.digest.fingerprint), "the commit had happened, and it ended this token")
    }

    /// A row's id is a number of the audit, and the index has 48 bits for it.
    @Test func noSourceOfARestoreNamesNumbersThatTheIndexCannotHold() throws {
        let test = try TestLedger()
        try test.run(.register(application: app("a"), project: project("p"), ttlSeconds: 6_000))
        let backup = try backUp(test)
        test.ledger.close()
        let file = try DatabaseFile(path: backup)
        var since = EndedSince(after: try file.auditHead())
        since.take(
            .record(
                AuditRecord(
                    sequence: 1 << 50, time: test.clock.wall(), event: .rotated,
                    registrationID: RegistrationID(high: 1, low: 2), application: try app("a"),
                    project: try project("p"), principal: .recorded("x"), uid: 0, gid: 0, process: PeerProcess(pid: 1),
                    fingerprint: Fingerprint(value: 3), ended: [], lapsed: [], shortened: [], chain: AuditChain.start)))
        let outcome = try Restore(
            file, stateDirectory: test.directory.path, since: since, acceptingMissing: true
        ).run(now: test.clock.wall())
        #expect(outcome.sequence < 1 << 47)
    }

    @Test func noDaemonStartsBehindSuchANumber() throws {
        let test = try TestLedger()
        try DatabaseQueue.beside(test.directory.path + "/tokens.db").write { db in
            try db.execute(
                sql: """
                    INSERT INTO audit_mark (first, sequence, chain, time, reason)
                    VALUES (1, \(Int64(1) << 50), zeroblob(32), 0, 'restored')
                    """)
        }
        #expect(throws: StoreError.self) { try test.reopen() }
    }

    @Test(arguments: [
        "DELETE FROM application",
        "UPDATE application SET name = 'a b'",
        "INSERT INTO application VALUES (99, 'mallory', zeroblob(16), 0)",
        "UPDATE token SET expires_at = issued_at + 1000 * 8589934592",
        "UPDATE token SET previous = randomblob(48)",
    ]) func checkFinds(_ damage: String) throws {
        let test = try TestLedger()
        try test.run(.register(application: app("a"), project: project("p"), ttlSeconds: 6_000))
        let isOfApplication = damage.contains("application")
        if isOfApplication { try test.run(.revoke(application: app("a"), project: project("p"))) }
        test.ledger.close()
        try DatabaseQueue.beside(test.directory.path + "/tokens.db").write { try $0.execute(sql: damage) }
        let problems = try DatabaseFile(path: test.directory.path + "/tokens.db").check().problems
        #expect(!problems.isEmpty)
    }

    /// A disk that hangs takes no processor.
    @Test func theWriterSleepsWhileASyncHangs() throws {
        try #require(FaultyDisk.isInstalled)
        let test = try TestLedger()
        for name in ["a", "b", "c"] {
            try test.run(.register(application: app(name), project: project("p"), ttlSeconds: 6_000))
        }
        let hold = SyncHold()
        FaultyDisk.held.withLock { $0[test.directory.path] = hold }
        defer { hold.release() }
        hold.hold()
        try test.collector.gate.withLock { _ in
            let before = test.collector.entered
            try test.submit(.revoke(application: app("nobody"), project: project("p")))
            try test.collector.wait { test.collector.entered > before }
            try test.submit(rotate("a"))
            try test.submit(rotate("b"))
        }
        try hold.awaitOne()
        // last_used_at is due, and not overdue.
        test.clock.advance(seconds: 31)
        try test.submit(rotate("c"))
        sleepMilliseconds(50)
        let before = test.ledger.writerSeconds
        #expect(before > 0)
        sleepMilliseconds(1_000)
        let used = test.ledger.writerSeconds - before
        #expect(used < 0.1)
    }

    /// The clock is set while the disk is waited for, between the look at the clock and the look at what is old.
    @Test func aClockThatIsSetDuringTheUpkeepMakesNothingOld() throws {
        try #require(FaultyDisk.isInstalled)
        var configuration = StoreConfiguration.overlapping
        configuration.auditKeepSeconds = 86_400
        configuration.auditPruneRows = 4
        let test = try TestLedger(configuration: configuration)
        try test.run(.register(application: app("a"), project: project("p"), ttlSeconds: 6_000))
        for _ in 0..<9 { try test.run(rotate("a")) }
        let hold = SyncHold()
        FaultyDisk.held.withLock { $0[test.directory.path] = hold }
        defer { hold.release() }
        test.clock.advance(seconds: 3_700)
        for _ in 0..<2 { try test.run(.revoke(application: app("nobody"), project: project("p"))) }
        hold.hold()
        test.ledger.noteJournal(JournalStatus(state: .ok, sent: 10, confirmed: 10, synced: 8))
        test.clock.advance(seconds: 46)
        try test.submit(.revoke(application: app("nobody"), project: project("p")))
        try hold.awaitOne()
        test.clock.setWallBack(seconds: -31_536_000)
        hold.release()
        for _ in 0..<3 { try test.run(.revoke(application: app("nobody"), project: project("p"))) }
        let bounds = try test.ledger.recordBounds()
        #expect(bounds == (1, 10), "nothing goes for its age within an hour of a jump: \(bounds)")
    }

    @Test(arguments: [Int64(0), 31_536_000]) func aStartInAWrongYearDoesNotForgetWhatWasEnded(ahead: Int64) throws {
        let test = try TestLedger()
        let old = try test.credentials(
            .register(application: app("a"), project: project("p"), ttlSeconds: 6_000))
        try test.run(rotate("a"))
        test.clock.setWallBack(seconds: -ahead)
        try test.reopen()
        sleepMilliseconds(300)
        test.clock.setWallBack(seconds: ahead)
        try test.run(.revoke(application: app("nobody"), project: project("p")))
        test.ledger.noteInactive(old.token.digest, by: TestLedger.caller("mallory", uid: 1_001))
        test.ledger.close()
        #expect(try presentations(test).map(\.uid) == [1_001])
    }

    /// docs/limits.md: delegated uids are one user together, who has a quarter of what may wait.
    @Test func delegatedUidsAreOneUserInTheQueue() throws {
        let queue = MutationQueue(capacity: 4_096, shareOfUser: 4)
        func add(_ name: String, _ uid: UInt32) -> Bool {
            let mutation = Mutation(
                command: .revokeToken(TokenDigest(words: (1, 2, 3, 4))),
                caller: TestLedger.caller(name, uid: uid, account: name == "alice" ? uid : .max),
                ticket: .init(loop: 0, connection: 1, position: 0))
            if case .accepted = queue.add(mutation) { return true }
            return false
        }
        var taken = 0
        for uid in UInt32(100_000)..<100_008 { for _ in 0..<1_024 where add("uid-\(uid)", uid) { taken += 1 } }
        let hasRoom = add("alice", 1_000)
        #expect(taken <= 1_024 && hasRoom)
    }

    /// Until the one step, the database is as it was; even where another program reads it, so that its log could not be
    /// folded into it.
    @Test func aRestoreThatFailsAtItsStepHasTakenNothing() throws {
        let test = try TestLedger()
        let token = try test.credentials(
            .register(application: app("a"), project: project("p"), ttlSeconds: 6_000))
        let backup = try backUp(test)
        try test.reopen()
        let path = test.directory.path + "/tokens.db"
        // Another program is reading, and the daemon is ended without emptying its log.
        var connection: OpaquePointer?
        #expect(sqlite3_open_v2(path, &connection, SQLITE_OPEN_READONLY, nil) == SQLITE_OK)
        #expect(sqlite3_exec(connection, "BEGIN; SELECT count(*) FROM token", nil, nil, nil) == SQLITE_OK)
        try test.run(.revoke(application: app("a"), project: project("p")))
        #expect(!test.isActive(token.token))
        test.ledger.close()
        let restore = try Restore(
            DatabaseFile(path: backup), stateDirectory: test.directory.path, since: nil, acceptingMissing: false)
        refusedRename.withLock { $0 = path }
        #expect(throws: StoreError.self) { _ = try restore.run(now: test.clock.wall()) }
        refusedRename.withLock { $0 = nil }
        sqlite3_close_v2(connection)
        withExtendedLifetime(restore) {}
        let file = try DatabaseFile(path: path)
        let (head, tokens) = try (file.auditHead().sequence, file.check().tokens)
        #expect(head == 2, "an acknowledged change is gone")
        #expect(tokens == 0, "the revoked token is back in the database that was to stay as it was")
    }

    /// What cannot be moved is not removed.
    @Test func theLogOfTheReplacedDatabaseIsKeptOrNothingIsReplaced() throws {
        let test = try TestLedger()
        try test.run(.register(application: app("a"), project: project("p"), ttlSeconds: 6_000))
        let backup = try backUp(test)
        try test.reopen()
        let path = test.directory.path + "/tokens.db"
        var connection: OpaquePointer?
        #expect(sqlite3_open_v2(path, &connection, SQLITE_OPEN_READONLY, nil) == SQLITE_OK)
        #expect(sqlite3_exec(connection, "BEGIN; SELECT count(*) FROM token", nil, nil, nil) == SQLITE_OK)
        try test.run(.revoke(application: app("a"), project: project("p")))
        test.ledger.close()
        let restore = try Restore(
            DatabaseFile(path: backup), stateDirectory: test.directory.path, since: nil, acceptingMissing: false)
        refusedRename.withLock { $0 = path + ".replaced-wal" }
        let outcome = try? restore.run(now: test.clock.wall())
        refusedRename.withLock { $0 = nil }
        sqlite3_close_v2(connection)
        let old = try DatabaseFile(path: outcome == nil ? path : path + ".replaced")
        #expect(try old.auditHead().sequence == 2, "an acknowledged change is nowhere in what is kept")
    }
}

/// The path to which nothing can be renamed.
private let refusedRename = Mutex<String?>(nil)

/// Stands before libc's in the test program.
@_cdecl("rename") func refusingRename(_ old: UnsafePointer<CChar>, _ new: UnsafePointer<CChar>) -> Int32 {
    if refusedRename.withLock({ $0 == String(cString: new) }) {
        errno = EIO
        return -1
    }
    return renameat(AT_FDCWD, old, AT_FDCWD, new)
}

extension Array {
    fileprivate func suffix(from isFirst: (Element) -> Bool) -> [Element] {
        firstIndex(where: isFirst).map { Array(self[$0...]) } ?? []
    }
}
