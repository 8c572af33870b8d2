import GRDB
import Glibc
import Synchronization
import Testing
import TokenModel

@testable import TokenStore

/// What is decided and written while the commit before is being made durable.
@Suite struct PipelineTests {
    private static let names = ["alice/0", "alice/1", "alice/2"]

    /// A ledger whose log's syncs can be held, with a token of each application for `p`.
    private func held(
        _ configuration: StoreConfiguration = .overlapping
    ) throws -> (TestLedger, SyncHold, [Credentials]) {
        try #require(FaultyDisk.isInstalled)
        let test = try TestLedger(configuration: configuration)
        let hold = SyncHold()
        FaultyDisk.held.withLock { $0[test.directory.path] = hold }
        let made = try Self.names.map {
            try test.credentials(.register(application: app($0), project: project("p"), ttlSeconds: 600))
        }
        return (test, hold, made)
    }

    private func rotate(_ name: String) throws -> Command {
        .rotate(application: try app(name), project: try project("p"), ttlSeconds: 600, graceSeconds: 0)
    }

    /// Submits some together, so that they share a commit, and holds its sync.
    private func hold(_ test: TestLedger, _ hold: SyncHold, _ commands: [Command]) throws -> [Mutation] {
        hold.hold()
        let mutations = try test.collector.gate.withLock { _ in
            let before = test.collector.entered
            try test.submit(.revoke(application: app("nobody"), project: project("p")))
            try test.collector.wait { test.collector.entered > before }
            return try commands.map { try test.submit($0) }
        }
        try hold.awaitOne()
        return mutations
    }

    private func issued(_ test: TestLedger, _ mutation: Mutation) throws -> TokenSecret {
        guard case .credentials(let credentials) = try test.collector.outcome(of: mutation) else {
            throw TestFault("no credentials")
        }
        return credentials.token
    }

    /// A sync is left where more than 64 wait, in the commit or behind it; before that, waking its thread costs more than is
    /// gained.
    @Test(arguments: [(2, "writer"), (64, "writer"), (65, "sync"), (192, "sync")])
    func theSyncIsLeftWhereManyWait(count: Int, thread: String) throws {
        let (test, hold, _) = try held(StoreConfiguration())
        defer { hold.release() }
        hold.hold()
        let mutations = try test.collector.gate.withLock { _ in
            let before = test.collector.entered
            try test.submit(.revoke(application: app("nobody"), project: project("p")))
            try test.collector.wait { test.collector.entered > before }
            return try (0..<count).map { number in
                try test.submit(
                    .register(application: app("alice/n\(number)"), project: project("p"), ttlSeconds: 600))
            }
        }
        #expect(try hold.awaitOne() == thread)
        hold.release()
        for mutation in mutations { _ = try issued(test, mutation) }
        #expect(try test.ledger.countedChainRows() == Int64(3 + count))
        try test.ledger.expectIndexEqualsTable()
    }

    /// Holds even for a reader of the tables, where the commit stands already.
    @Test func nothingIsToldBeforeItIsDurable() throws {
        let (test, hold, made) = try held()
        let mutations = try self.hold(test, hold, [rotate("alice/0"), rotate("alice/1")])
        #expect(made.allSatisfy { test.isActive($0.token) })
        #expect(test.ledger.lastSequence == 3)
        let ledger = test.ledger
        let isThrough = Atomic<Bool>(false)
        // Once the reader stands at the gate, or has gone through where there is none.
        let opener = try Thread {
            while ledger.readersHeld == 0 && !isThrough.load(ordering: .acquiring) { sched_yield() }
            hold.release()
        }
        let read = Result { try ledger.records(after: 0, limit: 100) }
        let sequence = ledger.lastSequence
        isThrough.store(true, ordering: .releasing)
        try opener.join()
        #expect(try read.get().count == 5 && sequence == 5)
        let tokens = try mutations.map { try issued(test, $0) }
        #expect(try test.rows().map(\.fingerprint).prefix(2) == tokens.map(\.digest.fingerprint)[...])
        try test.ledger.expectIndexEqualsTable()
    }

    /// Who reads on the same thread as others does not hold them up for as long as a disk hangs.
    @Test func aReaderWaitsForAHangingDiskForASecond() throws {
        let (test, hold, _) = try held()
        let mutations = try self.hold(test, hold, [rotate("alice/0"), rotate("alice/1")])
        #expect(throws: LedgerReadError.self) { try test.ledger.records(after: 0, limit: 100) }
        #expect(test.ledger.lastSequence == 3)
        hold.release()
        for mutation in mutations { _ = try issued(test, mutation) }
        #expect(try test.ledger.records(after: 0, limit: 100).count == 5)
    }

    /// Three callers, one after the other, and one commit: it waited for the sync before it.
    @Test func whatComesMeanwhileSharesTheNextCommit() throws {
        let (test, hold, _) = try held()
        let first = try self.hold(test, hold, [rotate("alice/0"), rotate("alice/1")])
        var later: [Mutation] = []
        for command: Command in [
            try rotate("alice/2"), .revoke(application: try app("nobody"), project: try project("p")),
            .register(application: try app("alice/3"), project: try project("p"), ttlSeconds: 600),
        ] { later.append(try test.submit(command)) }
        let deadline = MonotonicClock.milliseconds + 60_000
        while test.ledger.waitingMutations > 0, MonotonicClock.milliseconds < deadline { sched_yield() }
        let isTaken = test.ledger.waitingMutations == 0
        hold.release()
        #expect(isTaken, "what came meanwhile was left waiting for a minute")
        for mutation in first + later { _ = try test.collector.outcome(of: mutation) }
        let last = try #require(test.collector.deliveries.last)
        #expect(last.mutations.map(ObjectIdentifier.init) == later.map(ObjectIdentifier.init))
        #expect(last.records.map(\.sequence) == [6, 7])
        #expect(try test.ledger.countedChainRows() == 7)
        try test.ledger.expectIndexEqualsTable()
    }

    /// Of the one whose sync fails nobody knows; what was written on top of it is taken back.
    @Test func aSyncThatFailsTakesTheNextOneWithIt() throws {
        let (test, hold, made) = try held()
        let first = try self.hold(test, hold, [rotate("alice/0"), rotate("alice/1")])
        let later = [
            try test.submit(rotate("alice/2")), try test.submit(rotate("alice/0")),
            try test.submit(.revokeToken(made[1].token.digest)),
        ]
        FaultyDisk.fail(.logCannotBeSynced, under: test.directory.path)
        hold.release()
        for mutation in first {
            guard case .unknown = try test.collector.outcome(of: mutation) else { throw TestFault("it is known") }
        }
        for mutation in later {
            guard case .storageUnavailable = try test.collector.outcome(of: mutation) else {
                throw TestFault("it was taken")
            }
        }
        #expect(made.allSatisfy { test.isActive($0.token) }, "what was known stays known")
        FaultyDisk.mend(.logCannotBeSynced, under: test.directory.path)
        test.clock.advance(seconds: 2)
        var outcome = try test.run(rotate("alice/2"))
        for _ in 0..<100_000 {
            guard case .storageUnavailable = outcome else { break }
            outcome = try test.run(rotate("alice/2"))
        }
        guard case .credentials(let last) = outcome else { throw TestFault("never taken again") }
        #expect(!test.isActive(made[0].token) && !test.isActive(made[1].token), "it had happened")
        #expect(!test.isActive(made[2].token) && test.isActive(last.token))
        #expect(test.collector.records.map(\.sequence) == Array(1...6))
        #expect(try test.ledger.countedChainRows() == 6)
        try test.ledger.expectIndexEqualsTable()
    }

    /// Pages that were copied into the database and not synced are copied again, from a log that was read anew: even while
    /// another program reads the database and holds an account of the log, which then has to wait.
    @Test(arguments: [false, true]) func aDatabaseThatCannotBeSyncedIsOpenedAnew(besideAReader: Bool) throws {
        try #require(FaultyDisk.isInstalled)
        var configuration = StoreConfiguration.overlapping
        configuration.busyCheckpointBytes = 65_536
        configuration.reopenMilliseconds = 10
        let test = try TestLedger(configuration: configuration)
        var made = try test.credentials(
            .register(application: app("alice/0"), project: project("p"), ttlSeconds: 600))
        var reader: DatabaseQueue? = besideAReader ? try DatabaseQueue.beside(test.directory.path + "/tokens.db") : nil
        _ = try reader?.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM token") }
        FaultyDisk.fail(.databaseCannotBeSynced, under: test.directory.path)
        var outcome = MutationOutcome.internalError
        for _ in 0..<10_000 where test.ledger.status().storageProblem == nil {
            outcome = try test.run(rotate("alice/0"))
            if case .credentials(let credentials) = outcome { made = credentials }
        }
        #expect(FaultyDisk.count(.databaseCannotBeSynced, under: test.directory.path) > 0)
        #expect(test.ledger.status().storageProblem != nil, "nothing is taken until it was copied again")
        #expect(test.isActive(made.token))
        FaultyDisk.mend(.databaseCannotBeSynced, under: test.directory.path)
        if reader != nil {
            for _ in 0..<3 {
                test.clock.advance(seconds: 1)
                guard case .storageUnavailable(let sentence) = try test.run(rotate("alice/0")) else {
                    throw TestFault("it was opened beside a reader")
                }
                #expect(sentence.contains("lock") || sentence.contains("disk"))
            }
            // Nor does a new start believe that account.
            let error = #expect(throws: StoreError.self) { try test.reopen() }
            #expect(error?.code == .locked)
            reader = nil
            try test.reopen()
        }
        for _ in 0..<100_000 {
            test.clock.advance(seconds: 1)
            outcome = try test.run(rotate("alice/0"))
            guard case .storageUnavailable = outcome else { break }
        }
        guard case .credentials(let last) = outcome else { throw TestFault("never taken again") }
        #expect(!test.isActive(made.token) && test.isActive(last.token))
        #expect(test.ledger.status().storageProblem == nil)
        try test.ledger.expectIndexEqualsTable()
        #expect(try test.ledger.countedChainRows() == test.ledger.lastSequence)
        #expect(test.collector.records.map(\.sequence) == Array(1...test.ledger.lastSequence))
    }

    /// One history, asked one thing at a time on one ledger, and as fast as it goes on another with slow syncs: the same
    /// answers, tokens, rows and records.
    @Test(arguments: 0..<8) func itDecidesAsIfEachHadWaited(_ run: Int) throws {
        try #require(FaultyDisk.isInstalled)
        let seed = UInt64.random(in: 0...UInt64.max)
        print("PipelineTests seed \(seed)")
        var choice = SeededGenerator(seed: seed)
        var configuration = StoreConfiguration.overlapping
        configuration.tokensPerOwner = 3
        configuration.busyCheckpointBytes = 65_536
        let (calm, hasty) = (try TestLedger(configuration: configuration), try TestLedger(configuration: configuration))
        let delays = Mutex(SeededGenerator(seed: seed))
        let slow = SyncHold()
        slow.slow { delays.withLock { UInt32.random(in: 0...400, using: &$0) } }
        FaultyDisk.held.withLock { $0[hasty.directory.path] = slow }

        var expected: [MutationOutcome] = []
        var mutations: [Mutation] = []
        var issued: [Int] = []
        for place in 0..<400 {
            var (command, other) = (try self.command(&choice), nil as Command?)
            if !issued.isEmpty, Int.random(in: 0..<10, using: &choice) == 0 {
                let made = issued[Int.random(in: 0..<issued.count, using: &choice)]
                command = .revokeToken(try #require(Self.token(expected[made])))
                // Who presents a token has been handed it.
                other = .revokeToken(try #require(Self.token(try hasty.collector.outcome(of: mutations[made]))))
            }
            expected.append(try calm.run(command))
            mutations.append(try hasty.submit(other ?? command))
            if case .credentials = expected[place] { issued.append(place) }
        }
        for (mutation, expected) in zip(mutations, expected) {
            #expect(Self.text(try hasty.collector.outcome(of: mutation)) == Self.text(expected))
        }
        #expect(hasty.collector.deliveries.contains { $0.mutations.count > 1 }, "some shared a commit")
        #expect(hasty.collector.records.map(\.sequence) == calm.collector.records.map(\.sequence))
        let (told, right) = (hasty.collector.records.map(Self.text), calm.collector.records.map(Self.text))
        #expect(told.sorted() == right.sorted())
        for test in [calm, hasty] {
            try test.ledger.expectIndexEqualsTable()
            _ = try test.ledger.countedChainRows()
        }
        #expect(try hasty.rows().map(Self.text) == calm.rows().map(Self.text))
    }

    private func command(_ choice: inout SeededGenerator) throws -> Command {
        let application = try app(["alice", "alice/a", "bob"][Int.random(in: 0..<3, using: &choice)])
        let project = try project(["p", "q", "r"][Int.random(in: 0..<3, using: &choice)])
        switch Int.random(in: 0..<24, using: &choice) {
        case 0..<4: return .register(application: application, project: project, ttlSeconds: 600)
        case 4..<8: return .generate(application: application, project: project, ttlSeconds: 600)
        case 8..<16:
            let grace = Int64.random(in: 0...1, using: &choice) * 60
            return .rotate(application: application, project: project, ttlSeconds: 600, graceSeconds: grace)
        case 16, 17: return .revoke(application: application, project: project)
        case 18..<23: return .unregister(application: application)
        default: return .revokeProject(project)
        }
    }

    private static func token(_ outcome: MutationOutcome) -> TokenDigest? {
        if case .credentials(let credentials) = outcome { credentials.token.digest } else { nil }
    }

    private static func text(_ record: AuditRecord) -> String {
        let project = record.project?.text ?? "all"
        return "\(record.event) \(record.application) \(project) \(record.ended.count) \(record.shortened.count)"
    }

    private static func text(_ row: ListRow) -> String {
        "\(row.application) \(row.project) \(row.isActive) \(row.previous.count)"
    }

    private static func text(_ outcome: MutationOutcome) -> String {
        guard case .credentials(let credentials) = outcome else { return "\(outcome)" }
        return "\(credentials.expiration) \(String(describing: credentials.previousExpiration))"
    }
}

/// A thread whose body may throw.
private final class Thread: @unchecked Sendable {
    // @unchecked: `fault` is written by the thread and read after it was joined.
    private let body: @Sendable () throws -> Void
    private var fault: (any Error)?
    private var thread = pthread_t()

    init(_ body: @escaping @Sendable () throws -> Void) throws {
        self.body = body
        let started = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                let thread = Unmanaged<Thread>.fromOpaque(argument).takeRetainedValue()
                do { try thread.body() } catch { thread.fault = error }
                return nil
            }, Unmanaged.passRetained(self).toOpaque())
        guard started == 0 else { throw TestFault("no thread: errno \(started)") }
    }

    func join() throws {
        pthread_join(thread, nil)
        if let fault { throw fault }
    }
}
