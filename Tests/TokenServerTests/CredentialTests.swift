import CLinux
import Glibc
import Testing
import TokenModel

@testable import TokenServer

@Suite("The address that systemd binds for a unit's credential")
struct CredentialAddressTests {
    private func address(_ text: String) -> CredentialAddress? { CredentialAddress(Array(text.utf8)) }

    @Test(
        "what systemd writes",
        arguments: [
            ("\0a1/unit/web.service/token", "web.service", "token"),
            ("\0ffffffffffffffff/unit/a-\\x2db@c:d.service/t.x-1@", "a-\\x2db@c:d.service", "t.x-1@"),
            ("\u{0}0/unit/x/y", "x", "y"),
        ])
    func good(text: String, unit: String, credential: String) {
        #expect(address(text)?.unit == unit && address(text)?.credential == credential)
    }

    @Test(
        "anything else",
        arguments: [
            "", "\0", "a1/unit/web.service/token", "/run/a1/unit/web.service/token", "\0\0a1/unit/web.service/token",
            "\0/unit/web.service/token", "\0A1/unit/web.service/token", "\u{0}a1g/unit/web.service/token",
            "\u{0}00000000000000000/unit/web.service/token", "\0a1/Unit/web.service/token", "\0a1/unit//token",
            "\0a1/unit/web.service/", "\0a1/unit/web.service", "\0a1/unit/web.service/token/",
            "\0a1//web.service/token",
            "\0a1/unit/web.service/token\0", "\0a1/unit/web.service\0/token", "\0a1/unit/web.service/to\nken",
            "\0a1/unit/wéb.service/token", "\0a1/unit/web service/token", "\0a1/unit/web.service/to:ken",
            "\0a1/unit/web.service/to ken", "\0a1/user/web.service/token", "\0a1/unit/web.service/tok\u{7f}n",
        ])
    func bad(text: String) { #expect(address(text) == nil) }

    @Test("to the last byte of sun_path, and not one further")
    func length() {
        let fixed = "\u{0}ffffffffffffffff/unit/.service/token".utf8.count
        for extra in 0...1 {
            let unit = String(repeating: "u", count: 108 - fixed + extra) + ".service"
            #expect((address("\u{0}ffffffffffffffff/unit/\(unit)/token")?.unit == unit) == (extra == 0))
        }
    }

    @Test("whatever bytes there are, what is accepted reads the same again")
    func random() {
        let seed = UInt64.random(in: .min ... .max)
        print("seed \(seed)")
        var generator = SplitMix(state: seed)
        let alphabet = Array("\0/unita1f.service\\@:-_ \u{7f}é".utf8)
        let start = Array("\0a1/unit/web.service/token".utf8)
        var accepted = 0
        for _ in 0..<20_000 {
            var bytes = start
            for _ in 0..<Int.random(in: 0...3, using: &generator) where !bytes.isEmpty {
                let place = Int.random(in: 0..<bytes.count, using: &generator)
                switch Int.random(in: 0...2, using: &generator) {
                case 0: bytes[place] = alphabet.randomElement(using: &generator) ?? 0
                case 1: bytes.remove(at: place)
                default: bytes.insert(alphabet.randomElement(using: &generator) ?? 0, at: place)
                }
            }
            guard let read = CredentialAddress(bytes) else { continue }
            accepted += 1
            let parts = bytes.dropFirst().split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
            #expect(Array("\(read.unit)/\(read.credential)".utf8) == Array(parts[2]) + [UInt8(ascii: "/")] + parts[3])
        }
        #expect(accepted > 1_000)
    }
}

@Suite("What is left to do for a connection that another instance accepted")
struct CredentialStreamTests {
    @Test(
        arguments: [
            (CredentialStream.Mark.nothing, false, CredentialStream.Resume.answer),
            (.nothing, true, .refuse),
            (.token, true, .end),
            (.token, false, .refuse),
            (.refusal, true, .refuse),
            (.refusal, false, .refuse),
        ])
    func table(mark: CredentialStream.Mark, hasUnread: Bool, expected: CredentialStream.Resume) {
        #expect(CredentialStream(mark: mark, hasUnread: hasUnread, hasEnded: false).resume == expected)
        #expect(CredentialStream(mark: mark, hasUnread: hasUnread, hasEnded: true).resume == .forget)
    }

    /// A connected pair; each is closed by the test.
    private func pair() -> (CInt, CInt) {
        var both: [CInt] = [-1, -1]
        #expect(socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0, &both) == 0)
        return (both[0], both[1])
    }

    @Test("the kernel keeps it with the socket")
    func kernel() {
        let (ours, theirs) = pair()
        let copy = dup(ours)
        #expect(CredentialStream(of: copy).resume == .answer)
        // The consumer says at once that it has nothing to say.
        shutdown(theirs, CInt(SHUT_WR))
        #expect(CredentialStream(of: copy).resume == .answer)
        #expect(CredentialStream.set(.token, on: ours))
        #expect(CredentialStream(of: copy).resume == .refuse)
        #expect(write(ours, [UInt8](repeating: 1, count: 72), 72) == 72)
        #expect(CredentialStream(of: copy).resume == .end)
        var room = [UInt8](repeating: 0, count: 100)
        #expect(read(theirs, &room, 100) == 72)
        #expect(CredentialStream(of: copy).resume == .refuse)
        shutdown(ours, CInt(SHUT_WR))
        close(ours)
        #expect(CredentialStream(of: copy).resume == .forget)
        close(copy)
        close(theirs)
    }

    @Test("a peer that has gone is forgotten")
    func gone() {
        let (ours, theirs) = pair()
        close(theirs)
        #expect(CredentialStream(of: ours).resume == .forget)
        close(ours)
    }
}

@Suite("How a credential is obtained from any state")
struct CredentialStepsTests {
    private func steps() throws -> CredentialSteps {
        CredentialSteps(
            CredentialGrant(
                unit: "web.service", credential: "token", application: try #require(ApplicationName("web")),
                project: try #require(ProjectCode("P")), graceSeconds: 7), ttlSeconds: 60)
    }

    private func name(_ action: CredentialSteps.Action) -> String {
        switch action {
        case .submit(.register(_, _, 60)): "register"
        case .submit(.generate(_, _, 60)): "generate"
        case .submit(.rotate(_, _, 60, 7)): "rotate"
        case .submit: "another command"
        case .give: "give"
        case .refuse(let refusal): "\(refusal)"
        }
    }

    @Test(
        arguments: [
            ([], ["rotate"]),
            ([Refusal.notRegistered], ["rotate", "register"]),
            ([.tokenNotFound], ["rotate", "generate"]),
            ([.tokenNotFound, .tokenExists], ["rotate", "generate", "rotate"]),
            ([.notRegistered, .alreadyRegistered(holdsToken: true)], ["rotate", "register", "rotate"]),
            ([.notRegistered, .alreadyRegistered(holdsToken: false)], ["rotate", "register", "generate"]),
            ([.quotaExceeded(limit: 3)], ["rotate", "quotaExceeded(limit: 3)"]),
            (
                [.tokenNotFound, .tokenExists, .tokenNotFound, .tokenExists],
                ["rotate", "generate", "rotate", "generate", "unsettled"]
            ),
        ] as [([Refusal], [String])])
    func refusals(refusals: [Refusal], expected: [String]) throws {
        var steps = try steps()
        var actions = [name(steps.begin())]
        for refusal in refusals { actions.append(name(steps.ended(.refused(refusal)))) }
        #expect(actions == expected)
    }

    @Test func whatCannotBeGivenIsRefused() throws {
        var steps = try steps()
        _ = steps.begin()
        let outcomes: [MutationOutcome] = [
            .storageUnavailable("full"), .unknown, .shuttingDown, .internalError, .revoked(1),
        ]
        var actions: [String] = []
        for outcome in outcomes { actions.append(name(steps.ended(outcome))) }
        #expect(
            actions == [
                #"storageUnavailable("full")"#, "unknownOutcome", "shuttingDown", "internalError", "internalError",
            ])
    }

    @Test func aBucketForEachUnitAndCredential() throws {
        let grant = try steps().grant
        let other = CredentialGrant(
            unit: "web.service", credential: "other", application: grant.application, project: grant.project,
            graceSeconds: 0)
        var starts = CredentialStarts()
        func take(_ grant: CredentialGrant, _ count: Int, at now: Int64) -> Int {
            var taken = 0
            for _ in 0..<count where starts.take(grant, now: now) { taken += 1 }
            return taken
        }
        let refill = Bounds.credentialRefillSeconds * 1_000
        #expect(take(grant, 100, at: 5) == Bounds.credentialBurst)
        #expect(take(other, 1, at: 5) == 1)
        #expect(take(grant, 1, at: 4 + refill) == 0)
        #expect(take(grant, 2, at: 5 + refill) == 1)
        // After a long rest, a whole burst and not more.
        let later = 5 + refill * 1_000
        starts.forgetFull(now: later)
        #expect(take(grant, 100, at: later) == Bounds.credentialBurst)
    }
}
