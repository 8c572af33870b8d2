import GRDB
import Testing
import TokenModel

@testable import TokenStore

@Suite struct PruningTests {
    private static func configuration(rowsMax: Int64 = 1_000_000) -> StoreConfiguration {
        var configuration = StoreConfiguration.overlapping
        configuration.auditRowsMax = rowsMax
        configuration.auditKeepSeconds = 100
        configuration.auditPruneRows = 4
        configuration.clockTrustSeconds = 0
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

    /// A wall clock that is a year ahead is not believed at once: records would go that it alone makes old.
    @Test func whatAWrongClockMakesOldStaysForAnHour() throws {
        var configuration = Self.configuration()
        configuration.clockTrustSeconds = 3_600
        configuration.auditKeepSeconds = 86_400
        let test = try TestLedger(configuration: configuration)
        try fill(test, 9)
        note(test, synced: 8)
        test.clock.advance(seconds: 3_600)
        try maintain(test)
        test.clock.setWallBack(seconds: -31_536_000)
        try maintain(test)
        #expect(try test.ledger.recordBounds() == (1, 10))
        #expect(test.collector.events.contains { if case .clockSet(31_536_000_000) = $0 { true } else { false } })
        try test.reopen()
        note(test, synced: 8)
        try maintain(test)
        #expect(try test.ledger.recordBounds() == (1, 10), "nor at a start")
        test.clock.advance(seconds: 3_600)
        try maintain(test)
        #expect(try test.ledger.recordBounds() == (9, 10))
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

    /// Nor does one of a year that is still to come keep those that came before it.
    @Test func whatIsOldGoesBesideWhatAWrongClockMadeYoung() throws {
        let test = try TestLedger(configuration: Self.configuration())
        try fill(test, 1)
        test.clock.setWallBack(seconds: -31_536_000)
        try rotate(test)
        test.clock.setWallBack(seconds: 31_536_000)
        for _ in 0..<4 { try rotate(test) }
        note(test, synced: 10)
        try maintain(test)
        #expect(try test.ledger.recordBounds() == (7, 7))
    }

    /// One change while the clock was wrong does not make those old that came before it.
    @Test func whatIsYoungStaysBesideWhatAWrongClockMadeOld() throws {
        let test = try TestLedger(configuration: Self.configuration())
        test.clock.advance(seconds: 1_000)
        try fill(test, 2)
        test.clock.setWallBack(seconds: 31_536_000)
        try rotate(test)
        test.clock.setWallBack(seconds: -31_536_000)
        try rotate(test)
        note(test, synced: 10)
        test.clock.advance(seconds: 46)
        for _ in 0..<2 { try test.run(.revoke(application: app("nobody"), project: project("p"))) }
        #expect(try test.ledger.recordBounds().oldest == 1)
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
        // Each is a commit, for which the changes wait: a row at a time they would be as many as the changes.
        try test.reopen()
        let cuts = test.collector.events.compactMap { if case .auditCut(let mark) = $0 { mark } else { nil } }
        #expect(!cuts.isEmpty && cuts.allSatisfy { $0.reason == .overCap && $0.last - $0.first + 1 == 4 })
    }

    /// A restore gave numbers to nobody; the cuts before and behind that stay apart from it, and all of it is provable.
    @Test func aCutDoesNotSwallowTheMarkOfARestore() throws {
        let test = try TestLedger(configuration: Self.configuration(rowsMax: 6))
        try fill(test, 5)
        try DatabaseQueue.beside(test.ledger.databasePath).write { db in
            try db.execute(
                sql: """
                    INSERT INTO audit_mark (first, sequence, chain, time, reason)
                    SELECT sequence + 1, sequence + 3, chain, time, 'restored' FROM audit ORDER BY sequence DESC LIMIT 1
                    """)
        }
        try test.reopen()
        for _ in 0..<30 { try rotate(test) }
        // The last cut is made behind the last batch.
        try test.reopen()
        _ = try test.ledger.countedChainRows()
        let marks = try DatabaseFile(path: test.ledger.databasePath).auditMarks()
        #expect(marks.map(\.reason) == [.overCap, .restored, .overCap])
        #expect(marks.dropLast().map(\.first) == [1, 7] && marks.dropLast().map(\.last) == [6, 9])
        #expect(marks.last?.first == 10)
    }

    @Test func aRowThatIsTakenAwayWithoutAMarkIsNoticed() throws {
        let test = try TestLedger(configuration: Self.configuration())
        try fill(test, 9)
        // By a connection of its own, as whoever tampers would: the ledger's is its writer's alone.
        try DatabaseQueue.beside(test.ledger.databasePath).write {
            try $0.execute(sql: "DELETE FROM audit WHERE sequence < 4")
        }
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

    /// Who presents all that it has had does not hide who presents what it has found.
    @Test func oneUserDoesNotHideWhatAnotherPresents() throws {
        let test = try TestLedger(configuration: Self.configuration())
        var ended: [TokenDigest] = []
        ended.append(
            try test.credentials(.register(application: app("a"), project: project("p"), ttlSeconds: 60)).token.digest)
        for _ in 0..<150 {
            ended.append(
                try test.credentials(
                    .rotate(application: app("a"), project: project("p"), ttlSeconds: 60, graceSeconds: 0)
                ).token.digest)
        }
        ended.removeLast()
        let mallory = TestLedger.caller("mallory", uid: 1_001)
        for digest in ended { test.ledger.noteInactive(digest, by: TestLedger.caller()) }
        // One who has many numbers has no more records with all of them.
        for (place, digest) in ended.enumerated() {
            let delegated = TestLedger.caller("uid-\(100_000 + place)", uid: 100_000 + UInt32(place), account: .max)
            test.ledger.noteInactive(digest, by: delegated)
        }
        // Whether to have it verified or to end it.
        #expect(try test.revoked(.revokeToken(ended[149]), by: mallory) == 0)
        try test.reopen()
        var found: [EndedPresentation] = []
        try DatabaseFile(path: test.ledger.databasePath).forEachPresentation { found.append($0) }
        #expect(found.count == 201 && found.filter { $0.uid >= 100_000 }.count == 100)
        #expect(found.filter { $0.uid == mallory.uid }.map(\.fingerprint) == [ended[149].fingerprint])
        let heldBack = test.collector.events.flatMap {
            if case .presentationsHeldBack(let heldBack) = $0 { heldBack } else { [HeldBackRefusals]() }
        }
        #expect(
            heldBack.sorted { ($0.uid ?? 0) < ($1.uid ?? 0) } == [
                HeldBackRefusals(principal: nil, uid: nil, count: Int64(ended.count) - 100),
                HeldBackRefusals(
                    principal: TestLedger.caller().principal, uid: TestLedger.caller().uid, count: 50),
            ])
    }

    /// Presents tokens until those that are remembered are on record: what was ended before a start is read by a thread
    /// that nobody waits for.
    private func presented(_ test: TestLedger, _ digests: [TokenDigest], expecting count: Int) throws
        -> [EndedPresentation]
    {
        var found: [Fingerprint: EndedPresentation] = [:]
        for _ in 0..<1_000 where found.count < count {
            for digest in digests { test.ledger.noteInactive(digest, by: TestLedger.caller()) }
            try test.reopen()
            try DatabaseFile(path: test.ledger.databasePath).forEachPresentation { found[$0.fingerprint] = $0 }
        }
        return Array(found.values)
    }

    @Test(arguments: [true, false])
    func aTokenThatHadExpiredWhenItWasReplacedIsRememberedToo(overARestart: Bool) throws {
        let test = try TestLedger(configuration: Self.configuration())
        let old = try test.credentials(.register(application: app("a"), project: project("p"), ttlSeconds: 60))
        let held = try test.credentials(.register(application: app("b"), project: project("p"), ttlSeconds: 60))
        test.clock.advance(seconds: 61)
        try rotate(test)
        #expect(test.collector.records.last?.ended == [], "it had ended by itself")
        #expect(test.collector.records.last?.lapsed == [old.token.digest.fingerprint])
        if overARestart { try test.reopen() }
        let found = try presented(test, [old.token.digest, held.token.digest], expecting: 1)
        #expect(
            found.map(\.fingerprint) == [old.token.digest.fingerprint], "the other one is held: it has only expired")
        #expect(found.first?.process == TestLedger.caller().process)
    }

    @Test func aTokenThatOutlivesNoGraceIsRememberedToo() throws {
        let test = try TestLedger(configuration: Self.configuration())
        let old = try test.credentials(.register(application: app("a"), project: project("p"), ttlSeconds: 60))
        try test.run(.rotate(application: app("a"), project: project("p"), ttlSeconds: 3_600, graceSeconds: 3_600))
        let record = try #require(test.collector.records.last)
        #expect(record.ended.isEmpty && record.shortened.isEmpty && record.lapsed == [old.token.digest.fingerprint])
        test.clock.advance(seconds: 61)
        #expect(try presented(test, [old.token.digest], expecting: 1).count == 1)
    }

    @Test func whatARecordSaysOfTheProcessIsPartOfTheChain() throws {
        let test = try TestLedger(configuration: Self.configuration())
        try fill(test, 3)
        let kept = try test.ledger.records(after: 0, limit: 10)
        #expect(kept.allSatisfy { $0.process == TestLedger.caller().process })
        for change in ["comm = 'x'", "invocation_id = NULL", "lapsed = x'0102030405060708'"] {
            let changed = try TestLedger(configuration: Self.configuration())
            try fill(changed, 3)
            try DatabaseQueue.beside(changed.ledger.databasePath).write {
                try $0.execute(sql: "UPDATE audit SET \(change) WHERE sequence = 2")
            }
            #expect(try changed.ledger.verifyChain().broken == 2, "\(change)")
        }
    }

    /// A chain value that a database of before these fields holds: its bytes end with `shortened`.
    @Test func aRecordWithoutTheLaterFieldsHasTheChainValueThatItHadBefore() throws {
        let record = AuditRecord(
            sequence: 7, time: Instant(milliseconds: 1_748_000_000_000), event: .rotated,
            registrationID: RegistrationID(high: 1, low: 2), application: try app("a"), project: try project("p"),
            principal: .recorded("alice"), uid: 1_000, gid: 1_000, process: PeerProcess(pid: 42, unit: "a.service"),
            fingerprint: Fingerprint(value: 3), ended: [Fingerprint(value: 4)], lapsed: [],
            shortened: [], chain: AuditChain.start)
        var chain = AuditChain()
        let digest = chain.link(record, after: AuditChain.start)
        let hex = [digest.words.0, digest.words.1, digest.words.2, digest.words.3]
            .map { Fingerprint(value: $0).description }.joined()
        #expect(hex == "1035f15d6a446d5ebdb8ed1131616851ff8a147c2dc667c7ee728d7ebb130ac5")
    }
}
