/// What happened to tokens, as the contract's `watch` and the audit name it.
public enum AuditEvent: String, Sendable, CaseIterable {
    case registered, generated, rotated, revoked, unregistered
}

/// One committed change: a row of the audit, chained over the row before it.
public struct AuditRecord: Sendable {
    /// From 1, without holes, in the order of the commits.
    public let sequence: Int64
    public let time: Instant
    public let event: AuditEvent
    public let registrationID: RegistrationID
    public let application: ApplicationName
    /// Nil for `unregistered`, which ends the tokens of every project.
    public let project: ProjectCode?
    public let principal: Principal
    public let uid: UInt32
    public let gid: UInt32
    public let process: PeerProcess
    /// Of the token that was made, if one was.
    public let fingerprint: Fingerprint?
    /// Of the living tokens that ended.
    public let ended: [Fingerprint]
    /// Of the tokens that were replaced, revoked or unregistered and stand in neither `ended` nor `shortened`: they had
    /// expired by then, or would before their grace was over.
    public let lapsed: [Fingerprint]
    /// The tokens whose end was moved forward, with their new end.
    public let shortened: [ShortenedToken]
    /// SHA-256 over the previous row's chain value and this row (docs/audit.md has the bytes).
    public package(set) var chain: TokenDigest

    /// Makes a record of what was, or is about to be, committed.
    public init(
        sequence: Int64, time: Instant, event: AuditEvent, registrationID: RegistrationID,
        application: ApplicationName, project: ProjectCode?, principal: Principal, uid: UInt32, gid: UInt32,
        process: PeerProcess, fingerprint: Fingerprint?, ended: [Fingerprint], lapsed: [Fingerprint],
        shortened: [ShortenedToken], chain: TokenDigest
    ) {
        self.sequence = sequence
        self.time = time
        self.event = event
        self.registrationID = registrationID
        self.application = application
        self.project = project
        self.principal = principal
        self.uid = uid
        self.gid = gid
        self.process = process
        self.fingerprint = fingerprint
        self.ended = ended
        self.lapsed = lapsed
        self.shortened = shortened
        self.chain = chain
    }
}

/// A token whose end a grace moved forward.
public struct ShortenedToken: Equatable, Sendable {
    public let fingerprint: Fingerprint
    public let expiration: Instant

    /// Names a token and its new end.
    public init(fingerprint: Fingerprint, expiration: Instant) {
        self.fingerprint = fingerprint
        self.expiration = expiration
    }
}
