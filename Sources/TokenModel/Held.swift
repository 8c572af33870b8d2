/// One reading of both clocks: what is judged together is judged at one moment.
public struct Moment: Sendable {
    /// By which tokens expire.
    public let wall: Instant
    /// By which a grace ends at the latest, whatever is done to the wall clock meanwhile.
    public let bootMilliseconds: Int64

    /// Takes both readings.
    @inlinable
    public init(wall: Instant, bootMilliseconds: Int64) {
        self.wall = wall
        self.bootMilliseconds = bootMilliseconds
    }

    /// Reads both clocks.
    public init(clock: any Clock) {
        self.init(wall: clock.wall(), bootMilliseconds: clock.bootMilliseconds())
    }
}

/// A token that was replaced with a grace.
public struct PreviousToken: Equatable, Sendable {
    public let digest: TokenDigest
    public let issuedAt: Instant
    /// The end of its grace or its own expiry, whichever is first.
    public let expiresAt: Instant
    /// The same end by CLOCK_BOOTTIME. It is not stored: a start counts what then remains by the wall clock.
    public let bootDeadlineMilliseconds: Int64

    /// Takes a token whose end was set at `moment`, or is read back then.
    public init(digest: TokenDigest, issuedAt: Instant, expiresAt: Instant, asOf moment: Moment) {
        self.init(
            digest: digest, issuedAt: issuedAt, expiresAt: expiresAt,
            bootDeadlineMilliseconds: moment.bootMilliseconds + expiresAt.milliseconds - moment.wall.milliseconds)
    }

    /// Takes a token with both its ends.
    public init(digest: TokenDigest, issuedAt: Instant, expiresAt: Instant, bootDeadlineMilliseconds: Int64) {
        self.digest = digest
        self.issuedAt = issuedAt
        self.expiresAt = expiresAt
        self.bootDeadlineMilliseconds = bootDeadlineMilliseconds
    }

    /// Whether it is good at `moment`, by both clocks.
    public func isAlive(at moment: Moment) -> Bool {
        moment.wall < expiresAt && moment.bootMilliseconds < bootDeadlineMilliseconds
    }
}

/// What an application holds for a project: the current token, alive or expired, and those that it replaced.
public struct HeldToken: Equatable, Sendable {
    public let digest: TokenDigest
    public let issuedAt: Instant
    public let expiresAt: Instant
    /// The oldest first, at most `TokenLimits.maxPrevious`; some may have ended by themselves.
    public let previous: [PreviousToken]

    /// Takes a current token and its previous ones.
    public init(digest: TokenDigest, issuedAt: Instant, expiresAt: Instant, previous: [PreviousToken]) {
        self.digest = digest
        self.issuedAt = issuedAt
        self.expiresAt = expiresAt
        self.previous = previous
    }

    /// The same, read back at a start: a grace that was granted for an hour lasts an hour from then at most, though the
    /// wall clock was set back meanwhile. It was granted when the token was made that came after it.
    public func limitingGraces(asOf moment: Moment) -> HeldToken {
        guard !previous.isEmpty else { return self }
        let successors = previous.dropFirst().map(\.issuedAt) + [issuedAt]
        let limited = zip(previous, successors).map { token, grantedAt in
            PreviousToken(
                digest: token.digest, issuedAt: token.issuedAt, expiresAt: token.expiresAt,
                bootDeadlineMilliseconds: min(
                    token.bootDeadlineMilliseconds,
                    moment.bootMilliseconds + token.expiresAt.milliseconds - grantedAt.milliseconds))
        }
        return HeldToken(digest: digest, issuedAt: issuedAt, expiresAt: expiresAt, previous: limited)
    }

    /// A token is dead from its expiry on.
    public func isAlive(at moment: Moment) -> Bool { moment.wall < expiresAt }

    /// The fingerprints of all that is alive, the current token's first.
    public func alive(at moment: Moment) -> [Fingerprint] {
        var alive = isAlive(at: moment) ? [digest.fingerprint] : []
        for token in previous where token.isAlive(at: moment) { alive.append(token.digest.fingerprint) }
        return alive
    }
}
