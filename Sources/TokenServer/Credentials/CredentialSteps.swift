import TokenModel

/// How a credential is obtained from any state of the application: a rotate, since that is what nearly every start needs,
/// and then what its refusal says to do next. Pure: an outcome comes in, what to do comes out.
struct CredentialSteps: Sendable {
    enum Action {
        case submit(Command)
        case give(Credentials)
        case refuse(CredentialRefusal)
    }

    /// From any state three steps do. More means that others change it meanwhile.
    static let most = 4

    let grant: CredentialGrant
    let ttlSeconds: Int64
    private(set) var taken = 0

    init(_ grant: CredentialGrant, ttlSeconds: Int64) {
        self.grant = grant
        self.ttlSeconds = ttlSeconds
    }

    mutating func begin() -> Action { submit(rotate) }

    /// What the ledger made of the command that was submitted last.
    mutating func ended(_ outcome: MutationOutcome) -> Action {
        switch outcome {
        case .credentials(let credentials): return .give(credentials)
        case .refused(.notRegistered): return submit(register)
        case .refused(.alreadyRegistered(let holdsToken)): return submit(holdsToken ? rotate : generate)
        case .refused(.tokenNotFound): return submit(generate)
        case .refused(.tokenExists): return submit(rotate)
        case .refused(.quotaExceeded(let limit)): return .refuse(.quotaExceeded(limit: limit))
        case .storageUnavailable(let sentence): return .refuse(.storageUnavailable(sentence))
        case .shuttingDown: return .refuse(.shuttingDown)
        case .unknown: return .refuse(.unknownOutcome)
        case .internalError, .revoked: return .refuse(.internalError)
        }
    }

    private mutating func submit(_ command: Command) -> Action {
        guard taken < Self.most else { return .refuse(.unsettled) }
        taken += 1
        return .submit(command)
    }

    private var register: Command {
        .register(application: grant.application, project: grant.project, ttlSeconds: ttlSeconds)
    }

    private var generate: Command {
        .generate(application: grant.application, project: grant.project, ttlSeconds: ttlSeconds)
    }

    private var rotate: Command {
        .rotate(
            application: grant.application, project: grant.project, ttlSeconds: ttlSeconds,
            graceSeconds: grant.graceSeconds)
    }
}

/// How often a unit may be given a credential. systemd asks once for each command of a start, so one start may ask several
/// times at once; a unit that crashes as soon as it runs asks for ever, and each time costs a commit and pushes an
/// earlier token out.
///
/// Each entry of the configuration has a bucket of `Bounds.credentialBurst`, which gets one back every
/// `Bounds.credentialRefillSeconds`: so there is one bound a unit and credential, however many units there are.
struct CredentialStarts: Sendable {
    private struct Key: Hashable {
        let unit: String
        let credential: String
    }

    /// When the bucket would be full again, in CLOCK_MONOTONIC's milliseconds: all that need be known of one.
    private var fullAt: [Key: Int64] = [:]

    /// Takes one, or says that the unit has had too many.
    mutating func take(_ grant: CredentialGrant, now: Int64) -> Bool {
        let refill = Bounds.credentialRefillSeconds * 1_000
        let key = Key(unit: grant.unit, credential: grant.credential)
        let next = max(now, fullAt[key] ?? now) + refill
        guard next - now <= Int64(Bounds.credentialBurst) * refill else { return false }
        fullAt[key] = next
        return true
    }

    /// Forgets those that say no more than that there is none. Their number is bounded by the configuration's entries
    /// between two reloads.
    mutating func forgetFull(now: Int64) { fullAt = fullAt.filter { $0.value > now } }
}
