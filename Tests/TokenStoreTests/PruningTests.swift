import GRDB
import Testing
import TokenModel

@testable import TokenStore

@Suite struct PruningTests {
    private static func configuration(rowsMax: Int64 = 1_000_000) -> StoreConfiguration {
        var configuration = StoreConfiguration()
        configuration.auditRowsMax = rowsMax
        configuration.auditKeepSeconds = 100
        configuration.auditPruneRows = 4
        return configuration
    }

    private func fill(_ test: TestLedger, _ rotations: Int) throws {
        try test.run(.register(application: app("a"), project: project("p"), ttlSeconds: 3_600))
        for _ in 0..<rotations { try rotate(test) }
    }

    private func rotate(_ test: TestLedger) throws {
        try test.run(.rotate(application: app("a"), project: project("p"), ttlSeconds: 3_600, graceSeconds: 0))
    }

    private func note(_ test: TestLedger, synced: Int64) {
        test.ledger.noteJournal(JournalStatus(state: .ok, sent: 100, confirmed: 100, synced: synced))
    }

    /// Time for the upkeep between two batches: when the second has come back, what followed the first is done.
    private func maintain(_ test: TestLedger) throws {
        for _ in 0..<4 {
            test.clock.advance(seconds: 46)
            for _ in 0..<2 { try test.run(.revoke(application: app("nobody"), project: project("p"))) }
        }
    }

    @Test func whatIsNotInTheJournalStays() throws {
        let test = try TestLedger(configuration: Self.configuration())
        try fill(test, 9)
        try maintain(test)
        #expect(try test.ledger.recordBounds() == (1, 10), "nobody feeds a journal")
        note(test, synced: 0)
        try maintain(test)
        #expect(try test.ledger.recordBounds() == (1, 10), "sent and read back, and not synced")
    }

    @Test func whatIsInTheJournalAndOldGoesAndTheChainHolds() throws {
        let test = try TestLedger(configuration: Self.configuration())
        try fill(test, 9)
        note(test, synced: 8)
        try maintain(test)
        #expect(try test.ledger.recordBounds() == (9, 10))
        let marks = try DatabaseFile(path: test.ledger.databasePath).auditMarks()
        #expect(marks.map(\.first) == [1] && marks.map(\.last) == [8] && marks.map(\.reason) == [.pruned])
        #expect(try test.ledger.countedChainRows() == 2)
        try test.reopen()
        try rotate(test)
        #expect(try test.ledger.recordBounds() == (9, 11))
        #expect(try test.ledger.countedChainRows() == 3)
        #expect(try test.ledger.journalPosition().confirmed == 8, "the position is written behind")
    }

    @Test func whatIsYoungStays() throws {
        let test = try TestLedger(configuration: Self.configuration())
        test.clock.advance(seconds: 1_000)
        try fill(test, 9)
        note(test, synced: 10)
        test.clock.advance(seconds: 46)
        for _ in 0..<2 { try test.run(.revoke(application: app("nobody"), project: project("p"))) }
        #expect(try test.ledger.recordBounds() == (1, 10))
    }

    @Test func overTheCapTheOldestGoAndAMarkNamesThem() throws {
        let test = try TestLedger(configuration: Self.configuration(rowsMax: 6))
        try fill(test, 20)
        try rotate(test)
        // The writer cuts behind the batches: the two are read until they are of one moment.
        var (bounds, marks) = try (test.ledger.recordBounds(), [AuditMark]())
        for _ in 0..<1_000 where marks.last?.last != bounds.oldest - 1 {
            bounds = try test.ledger.recordBounds()
            marks = try DatabaseFile(path: test.ledger.databasePath).auditMarks()
        }
        #expect(bounds.last == 22 && bounds.last - bounds.oldest + 1 <= 8)
        #expect(marks.map(\.first) == [1] && marks.map(\.reason) == [.overCap])
        #expect(marks.last?.last == bounds.oldest - 1)
        _ = try test.ledger.countedChainRows()
        #expect(test.collector.events.contains { if case .auditOverCap = $0 { true } else { false } })
    }

    @Test func aRowThatIsTakenAwayWithoutAMarkIsNoticed() throws {
        let test = try TestLedger(configuration: Self.configuration())
        try fill(test, 9)
        try test.ledger.pool?.write { try $0.execute(sql: "DELETE FROM audit WHERE sequence < 4") }
        #expect(try test.ledger.verifyChain().broken == 1)
        #expect(try DatabaseFile(path: test.ledger.databasePath).check().problems.isEmpty == false)
    }

    @Test func anEndedTokenIsRememberedOverARestart() throws {
        let test = try TestLedger(configuration: Self.configuration())
        let old = try test.credentials(.register(application: app("a"), project: project("p"), ttlSeconds: 3_600))
        try rotate(test)
        try test.reopen()
        // What was ended before the start is read by a thread that nobody waits for.
        var presented: [EndedPresentation] = []
        for _ in 0..<1_000 where presented.isEmpty {
            test.ledger.noteInactive(old.token.digest, by: TestLedger.caller())
            test.ledger.noteInactive(TokenDigest(words: (1, 2, 3, 4)), by: TestLedger.caller())
            try test.reopen()
            try DatabaseFile(path: test.ledger.databasePath).forEachPresentation { presented.append($0) }
        }
        #expect(presented.map(\.fingerprint) == [old.token.digest.fingerprint])
        #expect(presented.map(\.principal.text) == ["alice"] && presented.map(\.count) == [1])
    }
}
