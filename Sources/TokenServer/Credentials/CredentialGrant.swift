public import TokenModel
import TokenRPC

/// What one unit may have through the credential socket, as the configuration says. What is not named is refused.
public struct CredentialGrant: Equatable, Sendable {
    /// The unit's full name; of a template the instance.
    public let unit: String
    /// The ID in its `LoadCredential=`.
    public let credential: String
    /// What the token is issued to.
    public let application: ApplicationName
    /// What the token is good for.
    public let project: ProjectCode
    /// How long the token that was handed out before stays good.
    public let graceSeconds: Int64

    /// Takes an entry of the configuration.
    public init(
        unit: String, credential: String, application: ApplicationName, project: ProjectCode, graceSeconds: Int64
    ) {
        self.unit = unit
        self.credential = credential
        self.application = application
        self.project = project
        self.graceSeconds = graceSeconds
    }
}

/// Why a unit gets no credential, so that it fails at its start.
enum CredentialRefusal: Equatable, Sendable {
    case notRoot
    case notSystemd
    case notNamed
    case tooOften
    case quotaExceeded(limit: Int)
    case storageUnavailable(String)
    case busy
    case unsettled
    case shuttingDown
    case internalError
    /// The commit itself failed: whether there is a new token, nobody knows.
    case unknownOutcome
    /// An answer that the daemon's end cut off, of which nobody knows how far it came.
    case interrupted
    /// The daemon could not start, and what waited for it would get nothing.
    case notServed

    /// The word for it in a record of a refusal; nil where it is no refusal of the unit's but a fault, or a stop.
    var reason: StaticString? {
        switch self {
        case .notRoot, .notSystemd, .notNamed: ErrorCode.permissionDenied.reason
        case .tooOften: ErrorCode.rateLimited.reason
        case .quotaExceeded: ErrorCode.quotaExceeded.reason
        case .busy: ErrorCode.busy.reason
        case .storageUnavailable, .unsettled, .shuttingDown, .internalError, .unknownOutcome, .interrupted, .notServed:
            nil
        }
    }

    /// What the log says, with what to do.
    var sentence: String {
        switch self {
        case .notRoot: "the peer is not root; only the system's service manager gets credentials here"
        case .notSystemd: "the peer's address is not one that systemd binds for a unit's LoadCredential="
        case .notNamed: "no [[credential]] of the configuration names this unit and this credential; add one and reload"
        case .tooOften:
            "the unit was started too often; see why it ends so soon. It gets one credential in "
                + "\(Bounds.credentialRefillSeconds) s until then"
        case .quotaExceeded(let limit): "the application's owner has \(limit) tokens, as many as it may have"
        case .storageUnavailable(let sentence): sentence
        case .busy: "the writer's queue stayed full for \(Bounds.credentialPatienceMilliseconds / 1_000) s"
        case .unsettled: "others changed the application's tokens again and again meanwhile; start the unit again"
        case .shuttingDown: "the daemon is shutting down; start the unit again when it is back"
        case .internalError: "an internal error, which the log has before this"
        case .unknownOutcome: "the disk failed in the commit, and whether there is a new token is not known yet"
        case .interrupted: "the daemon was killed while it answered, and how far the answer came is not known"
        case .notServed: "the daemon could not start; mend that, then start the unit again"
        }
    }
}
