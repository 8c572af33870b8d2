extension Refusal: Error {}

/// A token that the rules allow to be made, but for its secret, which is drawn only then.
public struct Issue: Equatable, Sendable {
    public let event: AuditEvent
    public let issuedAt: Instant
    public let expiresAt: Instant
    /// What stays good beside the new token, the oldest first.
    public let previous: [PreviousToken]
    /// The tokens that were alive and are not any more.
    public let ended: [Fingerprint]
    /// The tokens whose end was moved forward.
    public let shortened: [ShortenedToken]
    /// Until when the token that is replaced stays good; nil where it does not.
    public let previousExpiration: Instant?

    /// What is then held, with the digest of the secret that was drawn.
    public func held(digest: TokenDigest) -> HeldToken {
        HeldToken(digest: digest, issuedAt: issuedAt, expiresAt: expiresAt, previous: previous)
    }
}

/// What the quota is judged by.
public struct Quota: Sendable {
    /// Tokens that the owner holds, expired ones included, previous ones not.
    public let held: Int
    public let limit: Int
    /// Administrators are.
    public let isExempt: Bool

    /// Takes what the owner holds and may hold.
    public init(held: Int, limit: Int, isExempt: Bool) {
        self.held = held
        self.limit = limit
        self.isExempt = isExempt
    }

    func check() throws(Refusal) {
        if !isExempt && held >= limit { throw .quotaExceeded(limit: limit) }
    }
}

/// The rules of the contract's "Methods": what is held and what is asked give a change or a refusal. Pure: no clock, no
/// randomness, no I/O. An expired token counts as held everywhere; only the living count as ended.
public enum Rules {
    /// Makes a registration and its first token.
    /// - Throws: `alreadyRegistered`, then `quotaExceeded`.
    public static func register(
        isRegistered: Bool, held: HeldToken?, ttlSeconds: Int64, quota: Quota, now: Moment
    ) throws(Refusal) -> Issue {
        if isRegistered { throw .alreadyRegistered(holdsToken: held != nil) }
        try quota.check()
        return first(.registered, ttlSeconds: ttlSeconds, now: now)
    }

    /// Makes a registered application's first token for a project.
    /// - Throws: `notRegistered`, `tokenExists`, then `quotaExceeded`.
    public static func generate(
        isRegistered: Bool, held: HeldToken?, ttlSeconds: Int64, quota: Quota, now: Moment
    ) throws(Refusal) -> Issue {
        if !isRegistered { throw .notRegistered }
        if held != nil { throw .tokenExists }
        try quota.check()
        return first(.generated, ttlSeconds: ttlSeconds, now: now)
    }

    /// Replaces a token. Without a grace all that was alive ends. With one, a living current token becomes a previous
    /// one until the end of the grace or its own expiry, earlier previous ones keep their ends, and where there would
    /// be more than `TokenLimits.maxPrevious` the oldest ends.
    /// - Throws: `notRegistered`, then `tokenNotFound`.
    public static func rotate(
        isRegistered: Bool, held: HeldToken?, ttlSeconds: Int64, graceSeconds: Int64, now: Moment
    ) throws(Refusal) -> Issue {
        if !isRegistered { throw .notRegistered }
        guard let held else { throw .tokenNotFound }
        let expiresAt = now.wall.adding(seconds: ttlSeconds)
        guard graceSeconds > 0 else {
            return Issue(
                event: .rotated, issuedAt: now.wall, expiresAt: expiresAt, previous: [],
                ended: held.alive(at: now), shortened: [], previousExpiration: nil)
        }
        var previous = held.previous.filter { $0.isAlive(at: now) }
        var shortened: [ShortenedToken] = []
        var previousExpiration: Instant?
        if held.isAlive(at: now) {
            let end = min(now.wall.adding(seconds: graceSeconds), held.expiresAt)
            previous.append(
                PreviousToken(digest: held.digest, issuedAt: held.issuedAt, expiresAt: end, asOf: now))
            if end < held.expiresAt {
                shortened.append(ShortenedToken(fingerprint: held.digest.fingerprint, expiration: end))
            }
            previousExpiration = end
        }
        let surplus = max(0, previous.count - TokenLimits.maxPrevious)
        return Issue(
            event: .rotated, issuedAt: now.wall, expiresAt: expiresAt,
            previous: Array(previous.dropFirst(surplus)),
            ended: previous.prefix(surplus).map(\.digest.fingerprint), shortened: shortened,
            previousExpiration: previousExpiration)
    }

    /// What `revoke` by token does to the row that holds the token.
    public enum TokenRevocation: Equatable, Sendable {
        /// It is not there.
        case nothing
        /// The current token goes, and its previous ones with it.
        case all(ended: [Fingerprint])
        /// A previous token goes alone. One that was dead already goes, too, and was not ended by this: a clock that is set back
        /// shall not bring it back.
        case one(remaining: HeldToken, ended: [Fingerprint])
    }

    /// Ends the token of a digest. An expired current token goes too: until then it counts as held.
    public static func revoke(_ digest: TokenDigest, held: HeldToken, now: Moment) -> TokenRevocation {
        if held.digest == digest { return .all(ended: held.alive(at: now)) }
        guard let token = held.previous.first(where: { $0.digest == digest }) else { return .nothing }
        let remaining = HeldToken(
            digest: held.digest, issuedAt: held.issuedAt, expiresAt: held.expiresAt,
            previous: held.previous.filter { $0.digest != digest })
        return .one(remaining: remaining, ended: token.isAlive(at: now) ? [digest.fingerprint] : [])
    }

    private static func first(_ event: AuditEvent, ttlSeconds: Int64, now: Moment) -> Issue {
        Issue(
            event: event, issuedAt: now.wall, expiresAt: now.wall.adding(seconds: ttlSeconds), previous: [],
            ended: [], shortened: [], previousExpiration: nil)
    }
}
