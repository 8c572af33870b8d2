import Synchronization
import Testing
import TokenModel

@testable import TokenStore

@Suite struct BatchTests {
    /// Holds the writer in a delivery, so that all that `body` submits waits and is taken at once.
    private func together(_ test: TestLedger, _ body: () throws -> Void) throws {
        try test.collector.gate.withLock { _ in
            let before = test.collector.entered
            try test.submit(.revoke(application: app("nobody"), project: project("p")))
            try test.collector.wait { test.collector.entered > before }
            try body()
        }
    }

    @Test func whatWaitsSharesACommit() throws {
        let test = try TestLedger()
        var mutations: [Mutation] = []
        try together(test) {
            for number in 0..<100 {
                let name = try app("alice/\(number)")
                mutations.append(
                    try test.submit(.register(application: name, project: project("p"), ttlSeconds: 60)))
            }
        }
        for mutation in mutations {
            guard case .credentials = try test.collector.outcome(of: mutation) else { throw TestFault("refused") }
        }
        let batch = try #require(test.collector.deliveries.last)
        #expect(batch.mutations.count == 100)
        #expect(batch.records.map(\.sequence) == Array(1...100))
        #expect(try test.ledger.countedChainRows() == 100)
        try test.ledger.expectIndexEqualsTable()
    }

    /// However many of whatever kind share the statements that insert them, each row is its own record's.
    @Test func recordsOfACommitAreEachWrittenAsTheyAre() throws {
        let test = try TestLedger()
        for count in 1...40 {
            for number in 0..<count where number % 4 != 0 {
                _ = try test.credentials(
                    .register(application: app("a\(count)/\(number)"), project: project("p\(number)"), ttlSeconds: 60))
            }
            var last: Mutation?
            try together(test) {
                for number in 0..<count {
                    let (name, code) = (try app("a\(count)/\(number)"), try project("p\(number)"))
                    let commands: [Command] = [
                        .register(application: name, project: code, ttlSeconds: 60),
                        .rotate(application: name, project: code, ttlSeconds: 60, graceSeconds: 9),
                        .revoke(application: name, project: code), .unregister(application: name),
                    ]
                    let caller = TestLedger.caller("u\(number)", uid: UInt32(number))
                    last = try test.submit(commands[number % 4], by: caller)
                }
            }
            _ = try test.collector.outcome(of: #require(last))
            #expect(test.collector.deliveries.last?.records.count == count)
        }
        #expect(try test.ledger.countedChainRows() == test.ledger.lastSequence)
        var rows: [String] = []
        try DatabaseFile(path: test.directory.path + "/tokens.db").forEachAuditEntry {
            if case .record(let record) = $0 { rows.append("\(record)") }
        }
        #expect(rows == test.collector.records.map { "\($0)" })
    }

    @Test func aBatchSeesItsOwnChanges() throws {
        let test = try TestLedger()
        let name = try app("alice")
        let code = try project("p")
        var mutations: [Mutation] = []
        try together(test) {
            for command: Command in [
                .rotate(application: name, project: code, ttlSeconds: 600, graceSeconds: 60),
                .register(application: name, project: code, ttlSeconds: 600),
                .register(application: name, project: code, ttlSeconds: 600),
                .rotate(application: name, project: code, ttlSeconds: 600, graceSeconds: 60),
                .rotate(application: name, project: code, ttlSeconds: 600, graceSeconds: 60),
                .revoke(application: name, project: code),
                .generate(application: name, project: code, ttlSeconds: 600),
                .generate(application: name, project: try project("q"), ttlSeconds: 600),
                .unregister(application: name),
                .rotate(application: name, project: code, ttlSeconds: 600, graceSeconds: 60),
                .unregister(application: name),
                .register(application: name, project: code, ttlSeconds: 600),
                .rotate(application: name, project: code, ttlSeconds: 600, graceSeconds: 60),
                .unregister(application: name),
                .register(application: name, project: try project("r"), ttlSeconds: 600),
            ] { mutations.append(try test.submit(command)) }
        }
        let outcomes = try mutations.map { mutation in
            switch try test.collector.outcome(of: mutation) {
            case .credentials: "credentials"
            case .revoked(let count): "revoked \(count)"
            case .refused(let refusal): "\(refusal)"
            default: "failed"
            }
        }
        #expect(
            outcomes == [
                "notRegistered", "credentials", "alreadyRegistered(holdsToken: true)", "credentials", "credentials",
                "revoked 3", "credentials", "credentials", "revoked 2", "notRegistered", "notRegistered",
                "credentials", "credentials", "revoked 2", "credentials",
            ])
        #expect(test.collector.deliveries.map(\.mutations.count) == [1, mutations.count])
        try test.ledger.expectIndexEqualsTable()
        _ = try test.ledger.countedChainRows()
    }

    /// The same once more, where the index has held the application for long.
    @Test func anApplicationEndsInTheBatchThatChangedIt() throws {
        let test = try TestLedger()
        let name = try app("alice")
        for code in ["p", "q", "r"] {
            let command: Command =
                code == "p"
                ? .register(application: name, project: try project(code), ttlSeconds: 600)
                : .generate(application: name, project: try project(code), ttlSeconds: 600)
            _ = try test.credentials(command)
        }
        var mutations: [Mutation] = []
        try together(test) {
            for command: Command in [
                .rotate(application: name, project: try project("p"), ttlSeconds: 600, graceSeconds: 60),
                .revoke(application: name, project: try project("q")),
                .revoke(application: name, project: try project("r")),
                .generate(application: name, project: try project("r"), ttlSeconds: 600),
                .generate(application: name, project: try project("s"), ttlSeconds: 600),
                .unregister(application: name),
                .register(application: name, project: try project("q"), ttlSeconds: 600),
            ] { mutations.append(try test.submit(command)) }
        }
        guard case .revoked(let count) = try test.collector.outcome(of: mutations[5]) else {
            throw TestFault("not revoked")
        }
        #expect(count == 4, "two for p, one each for r and s")
        guard case .credentials(let last) = try test.collector.outcome(of: mutations[6]) else {
            throw TestFault("refused")
        }
        #expect(test.collector.deliveries.last?.mutations.count == mutations.count)
        #expect(try test.rows().map(\.project.text) == ["q"] && test.isActive(last.token))
        try test.ledger.expectIndexEqualsTable()
        try test.reopen()
        try test.ledger.expectIndexEqualsTable()
        _ = try test.ledger.countedChainRows()
    }

    @Test func applicationsThatEndTogetherShareACommit() throws {
        let test = try TestLedger()
        let names = try (0..<100).map { try app("alice/\($0)") }
        for name in names {
            _ = try test.credentials(.register(application: name, project: project("p"), ttlSeconds: 60))
        }
        var mutations: [Mutation] = []
        try together(test) {
            for name in names { mutations.append(try test.submit(.unregister(application: name))) }
        }
        for mutation in mutations {
            guard case .revoked(1) = try test.collector.outcome(of: mutation) else { throw TestFault("not revoked") }
        }
        #expect(test.collector.deliveries.last?.mutations.count == names.count)
        #expect(try test.rows().isEmpty && test.ledger.status().applications == 0)
        try test.ledger.expectIndexEqualsTable()
    }

    /// What ranges over many rows opens a batch of its own, and what it left goes on in its order.
    @Test func whatIsLeftOfABatchKeepsItsOrder() throws {
        let test = try TestLedger()
        let administrator = TestLedger.caller("root", uid: 0, isAdministrator: true)
        let (name, code) = (try app("alice"), try project("p"))
        var mutations: [Mutation] = []
        try together(test) {
            for _ in 0..<5 {
                for command: Command in [
                    .register(application: name, project: code, ttlSeconds: 60), .revokeProject(code),
                    .generate(application: name, project: code, ttlSeconds: 60), .revokeProject(code),
                    .unregister(application: name),
                ] { mutations.append(try test.submit(command, by: administrator)) }
            }
        }
        let outcomes = try mutations.map { mutation in
            switch try test.collector.outcome(of: mutation) {
            case .credentials: "credentials"
            case .revoked(let count): "revoked \(count)"
            default: "failed"
            }
        }
        let expected = ["credentials", "revoked 1", "credentials", "revoked 1", "revoked 0"]
        #expect(outcomes == Array(repeating: expected, count: 5).flatMap { $0 })
        #expect(
            test.collector.deliveries.dropFirst().flatMap(\.mutations).map(ObjectIdentifier.init)
                == mutations.map(ObjectIdentifier.init))
        try test.ledger.expectIndexEqualsTable()
    }

    /// More pages than are gathered for one write to the log.
    @Test func aBatchOfManyPagesIsWhole() throws {
        var configuration = StoreConfiguration.overlapping
        configuration.batchShareOfUser = configuration.batchLimit
        let test = try TestLedger(configuration: configuration)
        var mutations: [Mutation] = []
        try together(test) {
            for number in 0..<400 {
                let name = try app("alice/" + String(repeating: "n", count: 100) + "\(number)")
                mutations.append(try test.submit(.register(application: name, project: project("p"), ttlSeconds: 60)))
            }
        }
        for mutation in mutations {
            guard case .credentials = try test.collector.outcome(of: mutation) else { throw TestFault("refused") }
        }
        #expect(try #require(test.collector.deliveries.map(\.mutations.count).max()) >= 400)
        try test.ledger.expectIndexEqualsTable()
        try test.reopen()
        try test.ledger.expectIndexEqualsTable()
    }

    @Test func theQuotaCountsTheOpenBatch() throws {
        var configuration = StoreConfiguration.overlapping
        configuration.tokensPerOwner = 3
        let test = try TestLedger(configuration: configuration)
        var mutations: [Mutation] = []
        try together(test) {
            for number in 0..<5 {
                mutations.append(
                    try test.submit(
                        .register(application: app("alice/\(number)"), project: project("p"), ttlSeconds: 60)))
            }
        }
        var refused = 0
        for mutation in mutations {
            if case .refused(.quotaExceeded(limit: 3)) = try test.collector.outcome(of: mutation) { refused += 1 }
        }
        #expect(refused == 2)
        try test.ledger.expectIndexEqualsTable()
    }

    @Test func aUserHoldsAQuarterOfTheQueueAndAdministratorsAllOfIt() throws {
        var configuration = StoreConfiguration.overlapping
        configuration.queueCapacity = 16
        let test = try TestLedger(configuration: configuration)
        let command = Command.revoke(application: try app("alice"), project: try project("p"))
        func admissions(_ count: Int, uid: UInt32, isAdministrator: Bool = false) -> [Bool] {
            let caller = TestLedger.caller("someone", uid: uid, isAdministrator: isAdministrator)
            return (0..<count).map { _ in
                let mutation = Mutation(
                    command: command, caller: caller, ticket: .init(loop: 0, connection: 1, position: 0))
                if case .accepted = test.ledger.submit(mutation) { return true }
                return false
            }
        }
        try together(test) {
            #expect(admissions(5, uid: 1_001) == [true, true, true, true, false])
            #expect(admissions(5, uid: 1_002) == [true, true, true, true, false])
            #expect(admissions(9, uid: 0, isAdministrator: true).filter { $0 }.count == 8)
            #expect(admissions(1, uid: 1_003) == [false])
            #expect(test.ledger.status().queuedMutations == 16)
        }
        try test.collector.wait { test.collector.deliveries.flatMap(\.mutations).count == 17 }
        #expect(admissions(4, uid: 1_001) == [true, true, true, true])
    }

    @Test func closeDrainsAndThenRefuses() throws {
        let test = try TestLedger()
        var mutations: [Mutation] = []
        for number in 0..<50 {
            mutations.append(
                try test.submit(
                    .register(application: app("alice/\(number)"), project: project("p"), ttlSeconds: 60)))
        }
        test.ledger.close()
        #expect(mutations.allSatisfy { if case .credentials = $0.outcome { true } else { false } })
        let late = Mutation(
            command: .unregister(application: try app("alice/1")), caller: TestLedger.caller(),
            ticket: .init(loop: 0, connection: 1, position: 0))
        guard case .closed = test.ledger.submit(late) else { throw TestFault("accepted") }
        try test.reopen()
        #expect(try test.rows().count == 50)
    }

    /// What a cache of verified tokens is told must be what the daemon itself says, whatever happens.
    @Test func aSeededHistoryLeavesIndexTablesAndEventsEqual() throws {
        let seed = UInt64.random(in: 0 ... .max)
        print("aSeededHistory: seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        let test = try TestLedger()
        let administrator = TestLedger.caller("root", uid: 0, isAdministrator: true)
        let names = try (0..<6).map { try app($0 < 3 ? "alice/\($0)" : "user\($0)") }
        let codes = try (0..<3).map { try project("project-\($0)") }
        var made: [(token: TokenSecret, expiration: Instant)] = []
        for round in 0..<60 {
            var mutations: [Mutation] = []
            for _ in 0..<Int.random(in: 1...25, using: &generator) {
                let name = names.randomElement(using: &generator) ?? names[0]
                let code = codes.randomElement(using: &generator) ?? codes[0]
                let ttl = Int64.random(in: 60...300, using: &generator)
                let command: Command =
                    switch Int.random(in: 0..<100, using: &generator) {
                    case 0..<15: .register(application: name, project: code, ttlSeconds: ttl)
                    case 15..<30: .generate(application: name, project: code, ttlSeconds: ttl)
                    case 30..<75:
                        .rotate(
                            application: name, project: code, ttlSeconds: ttl,
                            graceSeconds: Int64.random(in: 0...3, using: &generator) * 40)
                    case 75..<80: .revoke(application: name, project: code)
                    case 80..<88:
                        .revokeToken(
                            made.randomElement(using: &generator)?.token.digest
                                ?? TokenDigest(words: (1, 2, 3, 4)))
                    case 88..<90: .revokeProject(code)
                    default: .unregister(application: name)
                    }
                mutations.append(try test.submit(command, by: administrator))
            }
            for mutation in mutations {
                if case .credentials(let credentials) = try test.collector.outcome(of: mutation) {
                    made.append((credentials.token, credentials.expiration))
                }
            }
            test.clock.advance(seconds: Int64.random(in: 0...30, using: &generator))
            try test.ledger.expectIndexEqualsTable()
            if round % 20 == 19 { try test.reopen() }
            let ended = Set(test.collector.records.flatMap(\.ended))
            var ends: [Fingerprint: Instant] = [:]
            for token in test.collector.records.flatMap(\.shortened) { ends[token.fingerprint] = token.expiration }
            let now = test.clock.wall()
            for (token, expiration) in made {
                let fingerprint = token.digest.fingerprint
                let isAlive = !ended.contains(fingerprint) && now < min(expiration, ends[fingerprint] ?? expiration)
                #expect(test.isActive(token) == isAlive, "seed \(seed), round \(round), \(fingerprint)")
            }
        }
        #expect(try test.ledger.countedChainRows() == test.ledger.status().lastSequence)
        #expect(made.count > 100)
    }
}
