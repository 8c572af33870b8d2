import Synchronization
import Testing
import TokenModel

@testable import TokenStore

@Suite struct CommandTests {
    @Test func registerMakesARegistrationAndALivingToken() throws {
        let test = try TestLedger()
        let made = try test.credentials(.register(application: app("alice"), project: project("p"), ttlSeconds: 60))
        #expect(made.expiration == test.clock.wall().adding(seconds: 60))
        #expect(made.previousExpiration == nil)
        var seen: (RegistrationID, String, String, Instant)?
        let isActive = test.ledger.introspect(made.token.digest) {
            seen = (
                $0.registrationID, String(decoding: $0.application, as: UTF8.self),
                String(decoding: $0.project, as: UTF8.self), $0.expiration
            )
        }
        #expect(isActive)
        #expect(seen?.0 == made.registrationID)
        #expect(seen?.1 == "alice")
        #expect(seen?.2 == "p")
        #expect(seen?.3 == made.expiration)
        #expect(
            try test.refusal(.register(application: app("alice"), project: project("p"), ttlSeconds: 60))
                == .alreadyRegistered(holdsToken: true))
        #expect(
            try test.refusal(.register(application: app("alice"), project: project("q"), ttlSeconds: 60))
                == .alreadyRegistered(holdsToken: false))
        test.clock.advance(seconds: 60)
        #expect(!test.isActive(made.token))
        try test.ledger.expectIndexEqualsTable()
    }

    @Test func severalAreLookedUpTogether() throws {
        let test = try TestLedger()
        let unknown = (0..<16).map { TokenDigest(words: (UInt64($0) << 58, 1, 2, 3)) }
        // An index that has never held anything has no memory to look at.
        #expect(test.applications(unknown) == [String?](repeating: nil, count: 16))
        let old = try test.credentials(.register(application: app("alice"), project: project("p"), ttlSeconds: 86_400))
        let new = try test.credentials(
            .rotate(application: app("alice"), project: project("p"), ttlSeconds: 86_400, graceSeconds: 60))
        let other = try test.credentials(.register(application: app("bob"), project: project("p"), ttlSeconds: 60))
        let digests = [
            unknown[0], old.token.digest, new.token.digest, unknown[9], other.token.digest, new.token.digest,
        ]
        #expect(test.applications(digests) == [nil, "alice", "alice", nil, "bob", "alice"])
        test.clock.advance(seconds: 60)
        #expect(test.applications(digests) == [nil, nil, "alice", nil, nil, "alice"])
    }

    @Test func generateAsksForARegistrationAndNoToken() throws {
        let test = try TestLedger()
        let generate = Command.generate(application: try app("alice"), project: try project("q"), ttlSeconds: 60)
        #expect(try test.refusal(generate) == .notRegistered)
        let first = try test.credentials(.register(application: app("alice"), project: project("p"), ttlSeconds: 60))
        let second = try test.credentials(generate)
        #expect(second.registrationID == first.registrationID)
        #expect(try test.refusal(generate) == .tokenExists)
        test.clock.advance(seconds: 61)
        #expect(try test.refusal(generate) == .tokenExists)
    }

    @Test func rotateWithoutGraceEndsAllAndWithGraceKeepsThree() throws {
        let test = try TestLedger()
        func rotate(_ grace: Int64) throws -> Credentials {
            try test.credentials(
                .rotate(
                    application: app("alice"), project: project("p"), ttlSeconds: 86_400, graceSeconds: grace))
        }
        let first = try test.credentials(
            .register(application: app("alice"), project: project("p"), ttlSeconds: 86_400))
        var tokens = [first.token]
        for _ in 0..<3 { tokens.append(try rotate(600).token) }
        #expect(tokens.map(test.isActive) == [true, true, true, true])
        tokens.append(try rotate(600).token)
        #expect(tokens.map(test.isActive) == [false, true, true, true, true])
        #expect(test.collector.records.last?.ended == [tokens[0].digest.fingerprint])
        try test.ledger.expectIndexEqualsTable()
        test.clock.advance(seconds: 600)
        #expect(tokens.map(test.isActive) == [false, false, false, false, true])
        let kept = try rotate(30)
        #expect(test.isActive(tokens[4]))
        let last = try rotate(0)
        #expect(!test.isActive(tokens[4]) && !test.isActive(kept.token) && test.isActive(last.token))
        #expect(
            test.collector.records.last?.ended == [kept.token.digest.fingerprint, tokens[4].digest.fingerprint])
        #expect(
            try test.refusal(
                .rotate(application: app("alice"), project: project("x"), ttlSeconds: 60, graceSeconds: 0))
                == .tokenNotFound)
        #expect(
            try test.refusal(
                .rotate(application: app("bob"), project: project("x"), ttlSeconds: 60, graceSeconds: 0))
                == .notRegistered)
        try test.ledger.expectIndexEqualsTable()
    }

    @Test func aGraceDoesNotOutlastWhatWasGrantedWhenTheWallClockIsSetBack() throws {
        let test = try TestLedger()
        let first = try test.credentials(
            .register(application: app("alice"), project: project("p"), ttlSeconds: 86_400))
        try test.run(.rotate(application: app("alice"), project: project("p"), ttlSeconds: 86_400, graceSeconds: 60))
        test.clock.setWallBack(seconds: 3_600)
        test.clock.advance(seconds: 59)
        #expect(test.isActive(first.token))
        #expect(try test.rows().first?.previous.count == 1)
        test.clock.advance(seconds: 1)
        #expect(!test.isActive(first.token))
        #expect(try test.rows().first?.previous.isEmpty == true)
    }

    @Test func revokeByTokenTakesThePreviousOnesAlongOrGoesAlone() throws {
        let test = try TestLedger()
        let name = try app("alice")
        let code = try project("p")
        var tokens = [
            try test.credentials(.register(application: name, project: code, ttlSeconds: 86_400)).token
        ]
        for _ in 0..<2 {
            let rotate = Command.rotate(application: name, project: code, ttlSeconds: 86_400, graceSeconds: 600)
            tokens.append(try test.credentials(rotate).token)
        }
        #expect(try test.revoked(.revokeToken(tokens[0].digest), by: TestLedger.caller("eve", uid: 7)) == 1)
        #expect(tokens.map(test.isActive) == [false, true, true])
        #expect(try test.revoked(.revokeToken(tokens[0].digest)) == 0)
        try test.ledger.expectIndexEqualsTable()
        #expect(try test.revoked(.revokeToken(tokens[2].digest)) == 2)
        #expect(tokens.map(test.isActive) == [false, false, false])
        #expect(try test.revoked(.revokeToken(tokens[2].digest)) == 0)
        #expect(try test.rows().isEmpty)
        try test.ledger.expectIndexEqualsTable()
        try test.credentials(.generate(application: name, project: code, ttlSeconds: 60)).token.withBytes { _ in }
    }

    @Test func revokeByNameAndForAProjectAndUnregister() throws {
        let test = try TestLedger()
        let administrator = TestLedger.caller("root", uid: 0, isAdministrator: true)
        for name in ["alice", "alice/web", "bob"] {
            try test.run(.register(application: app(name), project: project("p"), ttlSeconds: 60))
            try test.run(.generate(application: app(name), project: project("q"), ttlSeconds: 600))
        }
        #expect(try test.revoked(.revoke(application: app("alice"), project: project("p"))) == 1)
        #expect(try test.revoked(.revoke(application: app("alice"), project: project("p"))) == 0)
        #expect(try test.revoked(.revoke(application: app("nobody"), project: project("p"))) == 0)
        test.clock.advance(seconds: 60)
        #expect(try test.revoked(.revokeProject(project("p")), by: administrator) == 0)
        #expect(try test.rows().map(\.project.text) == ["q", "q", "q"])
        #expect(try test.revoked(.unregister(application: app("alice/web"))) == 1)
        #expect(try test.refusal(.unregister(application: app("alice/web"))) == .notRegistered)
        #expect(try test.revoked(.revokeProject(project("q")), by: administrator) == 2)
        let last = test.collector.records.suffix(3)
        #expect(last.map(\.event) == [.unregistered, .revoked, .revoked])
        #expect(last.first?.project == nil)
        try test.ledger.expectIndexEqualsTable()
        #expect(try test.ledger.countedChainRows() == test.ledger.status().lastSequence)
        #expect(test.ledger.status().applications == 2)
        #expect(test.ledger.status().tokens == 0)
    }

    @Test func aQuotaIsAnOwnersAndSparesAdministrators() throws {
        var configuration = StoreConfiguration.overlapping
        configuration.tokensPerOwner = 2
        let test = try TestLedger(configuration: configuration)
        let administrator = TestLedger.caller("root", uid: 0, isAdministrator: true)
        try test.run(.register(application: app("alice"), project: project("p"), ttlSeconds: 60))
        try test.run(.register(application: app("alice/web"), project: project("p"), ttlSeconds: 60))
        let third = Command.generate(application: try app("alice"), project: try project("q"), ttlSeconds: 60)
        #expect(try test.refusal(third) == .quotaExceeded(limit: 2))
        #expect(
            try test.refusal(.register(application: app("alice/x"), project: project("p"), ttlSeconds: 60))
                == .quotaExceeded(limit: 2))
        try test.run(.register(application: app("alice-x"), project: project("p"), ttlSeconds: 60))
        _ = try test.credentials(third, by: administrator)
        #expect(try test.revoked(.unregister(application: app("alice/web"))) == 1)
        #expect(
            try test.refusal(.generate(application: app("alice"), project: project("r"), ttlSeconds: 60))
                == .quotaExceeded(limit: 2))
        #expect(try test.revoked(.revoke(application: app("alice"), project: project("q"))) == 1)
        _ = try test.credentials(third)
        test.ledger.setTokensPerOwner(3)
        _ = try test.credentials(.generate(application: app("alice"), project: project("r"), ttlSeconds: 60))
    }

    /// What was drawn is kept for nobody: where no token is made, it goes with the decision.
    @Test func whatWasDrawnDoesNotOutliveTheDecision() throws {
        let test = try TestLedger()
        for name in ["alice", "bob"] {
            for command: Command in [
                .rotate(application: try app(name), project: try project("p"), ttlSeconds: 60, graceSeconds: 0),
                .register(application: try app(name), project: try project("p"), ttlSeconds: 60),
            ] {
                let mutation = try test.submit(command)
                _ = try test.collector.outcome(of: mutation)
                #expect(mutation.drawn == nil)
            }
        }
    }

    @Test func withoutRandomnessNothingChanges() throws {
        let test = try TestLedger()
        try test.run(.register(application: app("alice"), project: project("p"), ttlSeconds: 60))
        test.random.isBroken.store(true, ordering: .relaxed)
        for command: Command in [
            .register(application: try app("bob"), project: try project("p"), ttlSeconds: 60),
            .generate(application: try app("alice"), project: try project("q"), ttlSeconds: 60),
            .rotate(application: try app("alice"), project: try project("p"), ttlSeconds: 60, graceSeconds: 0),
        ] {
            guard case .internalError = try test.run(command) else { throw TestFault("\(command) did something") }
        }
        #expect(test.ledger.status().lastSequence == 1)
        #expect(try test.rows().count == 1)
        try test.ledger.expectIndexEqualsTable()
        test.random.isBroken.store(false, ordering: .relaxed)
        try test.run(.register(application: app("bob"), project: project("p"), ttlSeconds: 60))
        #expect(test.ledger.status().lastSequence == 2)
    }
}
