import Testing
import TokenModel

private let start = Moment(wall: Instant(milliseconds: 1_000_000), bootMilliseconds: 500)

private func at(_ seconds: Int64) -> Moment {
    Moment(wall: start.wall.adding(seconds: seconds), bootMilliseconds: start.bootMilliseconds + seconds * 1_000)
}

private func digest(_ number: UInt64) -> TokenDigest { TokenDigest(words: (number, 0, 0, 0)) }

private func print(_ number: UInt64) -> Fingerprint { Fingerprint(value: number) }

/// A token made at the start, good for `ttl` seconds, behind which stand previous ones: number and seconds to live.
private func held(ttl: Int64, previous: [(UInt64, Int64)] = []) -> HeldToken {
    HeldToken(
        digest: digest(100), issuedAt: start.wall, expiresAt: start.wall.adding(seconds: ttl),
        previous: previous.map { number, seconds in
            PreviousToken(
                digest: digest(number), issuedAt: start.wall, expiresAt: start.wall.adding(seconds: seconds),
                asOf: start)
        })
}

private let open = Quota(held: 0, limit: 10, isExempt: false)

@Suite struct RulesTests {
    @Test func register() throws {
        let issue = try Rules.register(isRegistered: false, held: nil, ttlSeconds: 60, quota: open, now: start)
        #expect(issue.event == .registered)
        #expect(issue.expiresAt == start.wall.adding(seconds: 60))
        #expect(issue.previous.isEmpty && issue.ended.isEmpty && issue.shortened.isEmpty)
        #expect(throws: Refusal.alreadyRegistered(holdsToken: false)) {
            try Rules.register(isRegistered: true, held: nil, ttlSeconds: 60, quota: open, now: start)
        }
        #expect(throws: Refusal.alreadyRegistered(holdsToken: true)) {
            try Rules.register(isRegistered: true, held: held(ttl: 60), ttlSeconds: 60, quota: open, now: at(99))
        }
    }

    @Test func generate() throws {
        let issue = try Rules.generate(isRegistered: true, held: nil, ttlSeconds: 60, quota: open, now: start)
        #expect(issue.event == .generated)
        #expect(throws: Refusal.notRegistered) {
            try Rules.generate(isRegistered: false, held: nil, ttlSeconds: 60, quota: open, now: start)
        }
        // An expired token counts as held.
        #expect(throws: Refusal.tokenExists) {
            try Rules.generate(isRegistered: true, held: held(ttl: 60), ttlSeconds: 60, quota: open, now: at(60))
        }
    }

    @Test func quotas() throws {
        let full = Quota(held: 10, limit: 10, isExempt: false)
        #expect(throws: Refusal.quotaExceeded(limit: 10)) {
            try Rules.register(isRegistered: false, held: nil, ttlSeconds: 60, quota: full, now: start)
        }
        #expect(throws: Refusal.quotaExceeded(limit: 10)) {
            try Rules.generate(isRegistered: true, held: nil, ttlSeconds: 60, quota: full, now: start)
        }
        // What is wrong with the state is said before what is wrong with the number.
        #expect(throws: Refusal.tokenExists) {
            try Rules.generate(isRegistered: true, held: held(ttl: 60), ttlSeconds: 60, quota: full, now: start)
        }
        let exempt = Quota(held: 10, limit: 10, isExempt: true)
        _ = try Rules.register(isRegistered: false, held: nil, ttlSeconds: 60, quota: exempt, now: start)
        let last = Quota(held: 9, limit: 10, isExempt: false)
        _ = try Rules.generate(isRegistered: true, held: nil, ttlSeconds: 60, quota: last, now: start)
    }

    struct Rotation: Sendable, CustomTestStringConvertible {
        let testDescription: String
        var ttl: Int64 = 600
        var previous: [(UInt64, Int64)] = []
        var grace: Int64 = 0
        var after: Int64 = 10
        /// What then stands behind the new token: number, and seconds from the start to its end.
        var kept: [(UInt64, Int64)] = []
        var ended: [UInt64] = []
        var shortenedTo: Int64?
        var previousEnd: Int64?
    }

    @Test(arguments: [
        Rotation(testDescription: "no grace ends the current token", ended: [100]),
        Rotation(
            testDescription: "no grace ends every living previous token",
            previous: [(1, 5), (2, 10), (3, 11)], ended: [100, 3]),
        Rotation(testDescription: "no grace on an expired token ends nothing", after: 600),
        Rotation(
            testDescription: "a grace keeps the current token", grace: 60, kept: [(100, 70)], shortenedTo: 70,
            previousEnd: 70),
        Rotation(
            testDescription: "its own expiry comes first", ttl: 60, grace: 60, kept: [(100, 60)], previousEnd: 60),
        Rotation(
            testDescription: "a grace that ends with the token shortens nothing", ttl: 70, grace: 60,
            kept: [(100, 70)], previousEnd: 70),
        Rotation(
            testDescription: "earlier previous tokens keep their own ends", previous: [(1, 11), (2, 500)], grace: 60,
            kept: [(1, 11), (2, 500), (100, 70)], shortenedTo: 70, previousEnd: 70),
        Rotation(
            testDescription: "those that have ended by themselves go without a word", previous: [(1, 10), (2, 500)],
            grace: 60, kept: [(2, 500), (100, 70)], shortenedTo: 70, previousEnd: 70),
        Rotation(
            testDescription: "a fourth ends the oldest", previous: [(1, 400), (2, 500), (3, 30)], grace: 60,
            kept: [(2, 500), (3, 30), (100, 70)], ended: [1], shortenedTo: 70, previousEnd: 70),
        Rotation(
            testDescription: "an ended one makes room for the fourth", previous: [(1, 400), (2, 5), (3, 30)],
            grace: 60, kept: [(1, 400), (3, 30), (100, 70)], shortenedTo: 70, previousEnd: 70),
        Rotation(
            testDescription: "an expired token does not become a previous one", ttl: 10,
            previous: [(1, 400), (2, 500), (3, 30)], grace: 60, kept: [(1, 400), (2, 500), (3, 30)]),
    ])
    func rotate(_ rotation: Rotation) throws {
        let issue = try Rules.rotate(
            isRegistered: true, held: held(ttl: rotation.ttl, previous: rotation.previous), ttlSeconds: 300,
            graceSeconds: rotation.grace, now: at(rotation.after))
        #expect(issue.event == .rotated)
        #expect(issue.issuedAt == at(rotation.after).wall)
        #expect(issue.expiresAt == at(rotation.after + 300).wall)
        #expect(issue.previous.map(\.digest) == rotation.kept.map { digest($0.0) })
        #expect(issue.previous.map(\.expiresAt) == rotation.kept.map { at($0.1).wall })
        #expect(issue.previous.map(\.bootDeadlineMilliseconds) == rotation.kept.map { at($0.1).bootMilliseconds })
        #expect(issue.ended == rotation.ended.map(print))
        #expect(
            issue.shortened
                == rotation.shortenedTo.map { [ShortenedToken(fingerprint: print(100), expiration: at($0).wall)] }
                ?? [])
        #expect(issue.previousExpiration == rotation.previousEnd.map { at($0).wall })
    }

    @Test func rotateIsRefused() {
        #expect(throws: Refusal.notRegistered) {
            try Rules.rotate(isRegistered: false, held: nil, ttlSeconds: 60, graceSeconds: 0, now: start)
        }
        #expect(throws: Refusal.tokenNotFound) {
            try Rules.rotate(isRegistered: true, held: nil, ttlSeconds: 60, graceSeconds: 0, now: start)
        }
    }

    @Test func repeatingARotateTwiceCutsNobodyOff() throws {
        var current = held(ttl: 86_400)
        for number in UInt64(1)...3 {
            let issue = try Rules.rotate(
                isRegistered: true, held: current, ttlSeconds: 86_400, graceSeconds: 600, now: at(Int64(number)))
            #expect(issue.ended.isEmpty)
            current = issue.held(digest: digest(number))
        }
        #expect(current.previous.map(\.digest) == [100, 1, 2].map(digest))
        #expect(current.previous[0].isAlive(at: at(600)) && !current.previous[0].isAlive(at: at(601)))
    }

    @Test func aGraceEndsByEitherClock() {
        let token = held(ttl: 600, previous: [(1, 60)]).previous[0]
        let early = Moment(wall: at(-3_600).wall, bootMilliseconds: at(60).bootMilliseconds)
        #expect(!token.isAlive(at: early), "the wall clock was set back")
        let late = Moment(wall: at(60).wall, bootMilliseconds: at(1).bootMilliseconds)
        #expect(!token.isAlive(at: late), "the wall clock was set forward")
        #expect(token.isAlive(at: at(59)))
    }

    @Test func revokeByToken() {
        let token = held(ttl: 60, previous: [(1, 30), (2, 90)])
        #expect(Rules.revoke(digest(100), held: token, now: at(0)) == .all(ended: [100, 1, 2].map(print)))
        #expect(Rules.revoke(digest(100), held: token, now: at(30)) == .all(ended: [100, 2].map(print)))
        #expect(Rules.revoke(digest(100), held: token, now: at(60)) == .all(ended: [print(2)]))
        let remaining = HeldToken(
            digest: token.digest, issuedAt: token.issuedAt, expiresAt: token.expiresAt, previous: [token.previous[1]])
        #expect(Rules.revoke(digest(1), held: token, now: at(29)) == .one(remaining: remaining, ended: [print(1)]))
        #expect(Rules.revoke(digest(1), held: token, now: at(30)) == .one(remaining: remaining, ended: []))
        #expect(Rules.revoke(digest(3), held: token, now: at(0)) == .nothing)
    }
}
