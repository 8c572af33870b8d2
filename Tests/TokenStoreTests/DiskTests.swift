import GRDB
import Glibc
import Testing
import TokenModel

@testable import TokenStore

@Suite struct DiskTests {
    @Test func aReopenedLedgerKnowsEverything() throws {
        let test = try TestLedger()
        let unit = try #require(ApplicationName(unitPrincipal: "unit:getty@dev\\x2dtty1.service"))
        let first = try test.credentials(
            .register(application: app("alice/web"), project: project("p"), ttlSeconds: 600))
        let second = try test.credentials(
            .rotate(application: app("alice/web"), project: project("p"), ttlSeconds: 600, graceSeconds: 60))
        let third = try test.credentials(.register(application: unit, project: project("p"), ttlSeconds: 600))
        #expect(test.isActive(second.token))
        test.clock.advance(seconds: 5)
        let before = try test.ledger.records(after: 0, limit: 10)
        try test.reopen()
        #expect(test.isActive(first.token) && test.isActive(third.token))
        let rows = try test.rows()
        #expect(rows.map(\.application.text) == ["alice/web", "unit:getty@dev\\x2dtty1.service"])
        #expect(rows.first?.fingerprint == second.token.digest.fingerprint)
        #expect(rows.first?.previous.map(\.fingerprint) == [first.token.digest.fingerprint])
        #expect(rows.first?.lastUsedAt?.seconds == 1_748_000_000, "close writes it behind")
        let after = try test.ledger.records(after: 0, limit: 10)
        #expect(after.map(\.chain) == before.map(\.chain))
        #expect(after.map(\.principal.text) == ["alice", "alice", "alice"])
        #expect(after.first?.process.unit == "app.service")
        #expect(after[1].shortened.first?.expiration == second.previousExpiration)
        #expect(try test.ledger.recordBounds() == (1, 3))
        try test.ledger.expectIndexEqualsTable()
        test.clock.advance(seconds: 55)
        #expect(!test.isActive(first.token))
        try test.run(.unregister(application: unit))
        #expect(try test.ledger.countedChainRows() == 4)
    }

    @Test func lastUsedIsWrittenBehind() throws {
        let test = try TestLedger()
        let made = try test.credentials(
            .register(application: app("alice"), project: project("p"), ttlSeconds: 600))
        func inTable() throws -> Int64? {
            try test.ledger.pool?.read { try Int64.fetchOne($0, sql: "SELECT last_used_at FROM token") }
        }
        #expect(test.isActive(made.token))
        #expect(try test.rows().first?.lastUsedAt?.seconds == 1_748_000_000)
        #expect(try inTable() == nil)
        test.clock.advance(seconds: 46)
        // Between two batches: when the second has come back, what followed the first is done.
        for _ in 0..<2 { try test.run(.revoke(application: app("nobody"), project: project("p"))) }
        #expect(try inTable() == 1_748_000_000_000)
        try test.run(.rotate(application: app("alice"), project: project("p"), ttlSeconds: 60, graceSeconds: 60))
        #expect(try inTable() == nil, "the new token was not used yet")
        #expect(test.isActive(made.token))
        #expect(try test.rows().first?.lastUsedAt == nil, "only the current token counts")
    }

    @Test func aDirectoryIsServedOnce() throws {
        let test = try TestLedger()
        let error = #expect(throws: StoreError.self) { try TestLedger(directory: test.directory) }
        #expect(error?.code == .alreadyServed)
        #expect(error?.sentence.contains("pid \(getpid())") == true)
        test.ledger.close()
        _ = try TestLedger(directory: test.directory)
    }

    @Test func aDirectoryThatOthersMayEnterIsRefused() throws {
        let directory = try TemporaryDirectory()
        chmod(directory.path, 0o750)
        #expect(throws: StoreError.self) { try TestLedger(directory: directory) }
        chmod(directory.path, 0o700)
        let test = try TestLedger(directory: directory)
        try test.run(.register(application: app("alice"), project: project("p"), ttlSeconds: 600))
        for name in ["tokens.db", "tokens.db-wal", "tokens.db-shm", "lock"] {
            var status = stat()
            #expect(stat(directory.path + "/" + name, &status) == 0)
            #expect(status.st_mode & 0o7777 == 0o600, "\(name)")
        }
        let link = directory.path + "-link"
        symlink(directory.path, link)
        defer { unlink(link) }
        let error = #expect(throws: StoreError.self) {
            try SQLiteLedger(stateDirectory: link, log: { _ in }, deliver: { _ in })
        }
        #expect(error?.code == .unsafeDirectory)
    }

    @Test func aNewerSchemaIsRefused() throws {
        let test = try TestLedger()
        test.ledger.close()
        try DatabaseQueue.beside(test.directory.path + "/tokens.db").write {
            try $0.execute(sql: "INSERT INTO grdb_migrations VALUES ('99')")
        }
        let error = #expect(throws: StoreError.self) { try test.reopen() }
        #expect(error?.code == .newerSchema)
    }

    @Test(arguments: ["no database", "another program's", "a short digest", "a lost application"])
    func aDamagedDatabaseIsRefusedWithASentence(_ kind: String) throws {
        let test = try TestLedger()
        try test.run(.register(application: app("alice"), project: project("p"), ttlSeconds: 600))
        test.ledger.close()
        let path = test.directory.path + "/tokens.db"
        switch kind {
        case "no database":
            let file = try #require(fopen(path, "r+"))
            fputs("This is no database at all, and was never meant to be one.", file)
            fclose(file)
        case "another program's":
            try DatabaseQueue.beside(path).write { try $0.execute(sql: "PRAGMA application_id = 7") }
        case "a short digest":
            try DatabaseQueue.beside(path).write {
                try $0.execute(sql: "PRAGMA ignore_check_constraints = ON; UPDATE token SET digest = x'00'")
            }
        default:
            var configuration = Configuration()
            configuration.foreignKeysEnabled = false
            try DatabaseQueue(path: path, configuration: configuration).write {
                try $0.execute(sql: "DELETE FROM application")
            }
        }
        let error = #expect(throws: StoreError.self) { try test.reopen() }
        #expect(error?.code == .damaged)
    }

    /// What a caller presents is one token or none.
    @Test(arguments: ["two current ones", "a current and a previous one", "two previous ones"])
    func aDigestThatIsThereTwiceIsRefused(_ which: String) throws {
        let test = try TestLedger()
        for name in ["alice", "bob"] {
            try test.run(.register(application: app(name), project: project("p"), ttlSeconds: 600))
        }
        test.ledger.close()
        try DatabaseQueue.beside(test.directory.path + "/tokens.db").write { database in
            let first = try #require(try String.fetchOne(database, sql: "SELECT hex(digest) FROM token ORDER BY id"))
            let third = String(repeating: "07", count: 32)
            let times = String(repeating: "00", count: 16)
            switch which {
            case "two current ones": try database.execute(sql: "UPDATE token SET digest = x'\(first)'")
            case "two previous ones": try database.execute(sql: "UPDATE token SET previous = x'\(third)\(times)'")
            default: try database.execute(sql: "UPDATE token SET previous = x'\(first)\(times)' WHERE id = 2")
            }
        }
        let error = #expect(throws: StoreError.self) { try test.reopen() }
        #expect(error?.code == .damaged && error?.sentence.contains("row 2 of token") == true)
    }

    @Test func aChangedAuditRowBreaksTheChain() throws {
        let test = try TestLedger()
        for number in 0..<5 {
            try test.run(.register(application: app("alice/\(number)"), project: project("p"), ttlSeconds: 600))
        }
        test.ledger.close()
        try DatabaseQueue.beside(test.directory.path + "/tokens.db").write {
            try $0.execute(sql: "UPDATE audit SET principal = 'mallory' WHERE sequence = 3")
        }
        try test.reopen()
        #expect(try test.ledger.verifyChain().broken == 3)
    }

    /// The tables' own checks refuse what the rules would never write.
    @Test(arguments: [
        "UPDATE token SET expires_at = issued_at", "UPDATE token SET previous = zeroblob(47)",
        "UPDATE token SET previous = zeroblob(192)", "UPDATE token SET project_code = ''",
        "UPDATE audit SET event = 'lost'", "UPDATE audit SET fingerprint = NULL",
        "UPDATE audit SET event = 'unregistered', fingerprint = NULL", "UPDATE application SET registration_id = x'00'",
        "INSERT INTO token SELECT id + 1, 99, 'x', digest, issued_at, expires_at, NULL, previous FROM token",
        "DELETE FROM application",
    ])
    func theSchemaRefuses(_ sql: String) throws {
        let test = try TestLedger()
        try test.run(.register(application: app("alice"), project: project("p"), ttlSeconds: 600))
        test.ledger.close()
        let error = #expect(throws: DatabaseError.self) {
            try DatabaseQueue.beside(test.directory.path + "/tokens.db").write { try $0.execute(sql: sql) }
        }
        #expect(error?.resultCode == .SQLITE_CONSTRAINT)
    }

    /// The writer's own statements do not weigh the tables' checks: what its types leave open it asserts itself.
    @Test(arguments: ["before 1970", "after 9999"])
    func theWriterRefuses(_ when: String) throws {
        let clock = ManualClock()
        let test = try TestLedger(clock: clock)
        let made = try test.credentials(.register(application: app("alice"), project: project("p"), ttlSeconds: 600))
        let now = clock.wall().seconds
        if when == "before 1970" {
            clock.setWallBack(seconds: now + 1)
        } else {
            clock.advance(seconds: 253_402_300_800 - now)
        }
        for command: Command in [
            .register(application: try app("alice/web"), project: try project("p"), ttlSeconds: 600),
            .rotate(application: try app("alice"), project: try project("p"), ttlSeconds: 600, graceSeconds: 0),
        ] {
            guard case .internalError = try test.run(command) else { throw TestFault("\(command) was taken") }
        }
        #expect(try test.rows().count == 1 && test.ledger.countedChainRows() == 1)
        #expect(test.collector.events.contains { if case .invariantBroken = $0 { true } else { false } })
        clock.setWallBack(seconds: clock.wall().seconds - now)
        #expect(test.isActive(made.token))
        try test.ledger.expectIndexEqualsTable()
    }

    /// A row that was changed behind the ledger's back: nothing is done, and the index is made anew.
    @Test func aRowThatIsNotAsTheIndexSaysIsAFault() throws {
        let test = try TestLedger()
        let made = try test.credentials(
            .register(application: app("alice"), project: project("p"), ttlSeconds: 600))
        try DatabaseQueue.beside(test.directory.path + "/tokens.db").write {
            try $0.execute(sql: "UPDATE token SET digest = zeroblob(32)")
        }
        let rotate = Command.rotate(
            application: try app("alice"), project: try project("p"), ttlSeconds: 60, graceSeconds: 0)
        guard case .internalError = try test.run(rotate) else { throw TestFault("not noticed") }
        #expect(!test.isActive(made.token), "the index is what the table says")
        _ = try test.credentials(rotate)
        try test.ledger.expectIndexEqualsTable()
        #expect(try test.ledger.countedChainRows() == 2)
        #expect(test.collector.events.contains { if case .invariantBroken = $0 { true } else { false } })
    }
}
