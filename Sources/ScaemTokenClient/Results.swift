public import TokenModel

/// What `introspect` says of a presented token.
public enum Introspection: Sendable, Equatable {
    /// The token is alive.
    case active(Grant)
    /// Anything else: never issued, expired, replaced, revoked.
    case inactive

    /// What a living token is good for (RFC 7662, section 2.2).
    public struct Grant: Sendable, Equatable {
        /// The application's identity for as long as it is registered.
        public let registrationID: RegistrationID
        /// What the token was issued to.
        public let application: ApplicationName
        /// What the token is good for.
        public let project: ProjectCode
        /// Seconds since the epoch, rounded down.
        public let issuedAtSeconds: Int64
        /// Seconds since the epoch, rounded down.
        public let expirationSeconds: Int64
    }
}

/// Who the daemon takes this process for.
public struct CallerIdentity: Sendable, Equatable {
    /// The user's name, `uid-N` or `unit:NAME`.
    public let principal: String
    /// As the kernel says.
    public let uid: UInt32
    /// As the kernel says.
    public let gid: UInt32
    /// As the kernel says; for a log, never for a decision.
    public let pid: Int32
    /// The systemd unit, where there is one.
    public let unit: String?
    /// Whether the daemon lets it act for everybody.
    public let isAdministrator: Bool
}

/// What the daemon says of itself.
public struct DaemonStatus: Sendable, Equatable {
    /// The daemon's version.
    public let version: String
    /// The wire's version.
    public let protocolVersion: Int64
    /// Since its start.
    public let uptimeSeconds: Int64
    /// Whether it takes requests.
    public let isReady: Bool
    /// How many are registered.
    public let applications: Int64
    /// How many are alive.
    public let tokens: Int64
    /// All whole numbers below `storage` and `audit`, named as `storage.database_bytes`; which there are depends on
    /// the daemon's version and the caller's rights.
    public let details: [Detail]

    /// A number with its path.
    public struct Detail: Sendable, Equatable {
        /// The keys on the way to it, joined by dots.
        public let name: String
        /// The number.
        public let value: Int64
    }
}

/// A page of `list`.
public struct TokenPage: Sendable {
    /// The rows, sorted by application, then project.
    public let rows: [ListRow]
    /// Where the next page begins; nil: this is the last.
    public let nextCursor: String?
}

/// A committed change that `watch` tells of.
public struct TokenEvent: Sendable, Equatable {
    /// Global and growing; an owner sees gaps.
    public let sequence: Int64
    /// `registered`, `generated`, `rotated`, `revoked`, `unregistered`, or what a later daemon adds.
    public let event: String
    /// When it happened; nil, as all names are, in others' events that a verifier sees.
    public let time: Instant?
    /// Of the application.
    public let registrationID: RegistrationID?
    /// What the tokens were issued to.
    public let application: ApplicationName?
    /// Nil for `unregistered` too, which ends the tokens of every project.
    public let project: ProjectCode?
    /// Of the token that was made, if one was.
    public let fingerprint: Fingerprint?
    /// Of the tokens that ended.
    public let ended: [Fingerprint]
    /// The tokens whose end was moved forward.
    public let shortened: [ShortenedToken]
}
