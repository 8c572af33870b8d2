/// Who asks, as the kernel says: made once a connection, at accept, and passed to everything that decides or records.
///
/// `process` is information for the audit; no decision rests on it.
public final class Caller: Sendable {
    /// The user name of the peer's uid, `uid-N` without one, or `unit:NAME`.
    public let principal: Principal
    public let uid: UInt32
    public let gid: UInt32
    /// Whose share of what is scarce it takes: its uid's, or that of many uids without a name.
    public let account: UInt32
    public let process: PeerProcess
    /// Root, a member of `scaem-admin`, or the user whose own daemon this is; as of connect.
    public let isAdministrator: Bool
    /// A member of `scaem-verifier`, who may watch what ends everywhere, without names; as of connect.
    public let isVerifier: Bool

    /// Makes a caller of what the kernel and the name service said.
    public init(
        principal: Principal, uid: UInt32, gid: UInt32, account: UInt32? = nil, process: PeerProcess,
        isAdministrator: Bool, isVerifier: Bool = false
    ) {
        self.account = account ?? uid
        self.principal = principal
        self.uid = uid
        self.gid = gid
        self.process = process
        self.isAdministrator = isAdministrator
        self.isVerifier = isVerifier
    }
}

/// A change that a caller asks for; whether it may was decided before.
public enum Command: Sendable {
    case register(application: ApplicationName, project: ProjectCode, ttlSeconds: Int64)
    case generate(application: ApplicationName, project: ProjectCode, ttlSeconds: Int64)
    case rotate(application: ApplicationName, project: ProjectCode, ttlSeconds: Int64, graceSeconds: Int64)
    /// Ends the token of this digest, whoever holds it (RFC 7009 asks only for possession).
    case revokeToken(TokenDigest)
    case revoke(application: ApplicationName, project: ProjectCode)
    /// Ends the tokens of every application for a project.
    case revokeProject(ProjectCode)
    case unregister(application: ApplicationName)
}

/// Why the rules refuse a command. Nothing has changed.
public enum Refusal: Equatable, Sendable {
    /// -32001; `next` is `register`.
    case notRegistered
    /// -32002; `next` is `rotate` where the application holds this project's token, else `generate`.
    case alreadyRegistered(holdsToken: Bool)
    /// -32003; `next` is `generate`.
    case tokenNotFound
    /// -32004; `next` is `rotate`.
    case tokenExists
    /// -32011, with the limit.
    case quotaExceeded(limit: Int)
}

/// What a caller who made a token gets, once.
public struct Credentials: Sendable {
    public let registrationID: RegistrationID
    public let token: TokenSecret
    public let expiration: Instant
    /// Until when the token that was replaced stays good; nil where none was kept.
    public let previousExpiration: Instant?

    /// Makes the answer to a register, generate or rotate.
    public init(registrationID: RegistrationID, token: TokenSecret, expiration: Instant, previousExpiration: Instant?) {
        self.registrationID = registrationID
        self.token = token
        self.expiration = expiration
        self.previousExpiration = previousExpiration
    }
}

/// How a mutation ended. Delivered only after what it says is durable.
public enum MutationOutcome: Sendable {
    case credentials(Credentials)
    /// How many living tokens ended.
    case revoked(Int)
    case refused(Refusal)
    /// -32007: the disk refused; nothing was done. The sentence says what to do and holds no secret.
    case storageUnavailable(String)
    /// -32008: nothing was done.
    case shuttingDown
    /// -32603: nothing was done; the log has the details.
    case internalError
    /// The commit itself failed: nobody knows. There is no answer; the connection is closed.
    case unknown
}

/// One command on its way through the writer. Made by the server, completed by the ledger.
public final class Mutation: @unchecked Sendable {
    // @unchecked: `drawn` changes hands under the lock of the queue to the writer. `outcome` is written by the writer thread
    // before `deliver`, and read and emptied only after it by whom the answer is of, on the other side of the lock of the
    // queue that hands the mutation over.
    public let command: Command
    public let caller: Caller
    /// Where the answer goes; the ledger does not look at it.
    public let ticket: Ticket
    public var outcome: MutationOutcome?
    /// What a token is made of if one is. Drawn by whom the mutation is of, before it is enqueued, and then the writer's.
    package var drawn: DrawnToken?

    /// The server's note of where an answer belongs.
    public struct Ticket: Sendable {
        /// The event loop that owns the connection.
        public let loop: Int
        /// The connection, never reused within a run.
        public let connection: UInt64
        /// The place in the connection's queue of answers.
        public let position: UInt64

        /// Names a place in a connection's queue of answers.
        public init(loop: Int, connection: UInt64, position: UInt64) {
            self.loop = loop
            self.connection = connection
            self.position = position
        }
    }

    /// A command that is to be decided and written.
    public init(command: Command, caller: Caller, ticket: Ticket) {
        self.command = command
        self.caller = caller
        self.ticket = ticket
    }
}

/// What one batch of the writer ended in: handed over once a batch, after the commit and after the index has it.
public struct Delivery: Sendable {
    /// Each with its outcome, in the order of submission.
    public let mutations: [Mutation]
    /// The audit rows of the same commit, in the order of `sequence`; empty where nothing was committed.
    public let records: [AuditRecord]

    /// Hands a batch over.
    public init(mutations: [Mutation], records: [AuditRecord]) {
        self.mutations = mutations
        self.records = records
    }
}

/// What `introspect` says of a living token (RFC 7662, section 2.2). The names are views into the index and are good
/// only within the closure that gets them.
public struct ActiveToken {
    public let registrationID: RegistrationID
    public let application: UnsafeRawBufferPointer
    public let project: UnsafeRawBufferPointer
    public let issuedAt: Instant
    public let expiration: Instant

    /// Makes a view that does not outlive the lock it was made under.
    public init(
        registrationID: RegistrationID, application: UnsafeRawBufferPointer, project: UnsafeRawBufferPointer,
        issuedAt: Instant, expiration: Instant
    ) {
        self.registrationID = registrationID
        self.application = application
        self.project = project
        self.issuedAt = issuedAt
        self.expiration = expiration
    }
}

/// Which rows `list` is asked for.
public struct ListQuery: Sendable {
    /// Whose tokens: every application's, one owner's own and its sub-applications', or exactly one application's.
    public enum Scope: Sendable {
        case all
        case owner(Principal)
        case application(ApplicationName)
    }

    /// After which row a page begins: the last one of the page before.
    public struct Position: Sendable, Equatable {
        public let application: ApplicationName
        public let project: ProjectCode

        /// Names a row.
        public init(application: ApplicationName, project: ProjectCode) {
            self.application = application
            self.project = project
        }
    }

    public let scope: Scope
    public let project: ProjectCode?
    /// Exclusive, on the current token.
    public let expiresBefore: Instant?
    /// Rows at most.
    public let limit: Int
    public let after: Position?

    /// Asks for at most `limit` rows after a position.
    public init(scope: Scope, project: ProjectCode?, expiresBefore: Instant?, limit: Int, after: Position?) {
        self.scope = scope
        self.project = project
        self.expiresBefore = expiresBefore
        self.limit = limit
        self.after = after
    }
}

/// A row of `list`; no token is in it.
public struct ListRow: Sendable {
    public let registrationID: RegistrationID
    public let application: ApplicationName
    public let project: ProjectCode
    public let issuedAt: Instant
    public let expiration: Instant
    public let lastUsedAt: Instant?
    /// Whether the current token is alive.
    public let isActive: Bool
    public let fingerprint: Fingerprint
    /// The previous tokens that are alive, the oldest first.
    public let previous: [ShortenedToken]

    /// Makes a row.
    public init(
        registrationID: RegistrationID, application: ApplicationName, project: ProjectCode, issuedAt: Instant,
        expiration: Instant, lastUsedAt: Instant?, isActive: Bool, fingerprint: Fingerprint,
        previous: [ShortenedToken]
    ) {
        self.registrationID = registrationID
        self.application = application
        self.project = project
        self.issuedAt = issuedAt
        self.expiration = expiration
        self.lastUsedAt = lastUsedAt
        self.isActive = isActive
        self.fingerprint = fingerprint
        self.previous = previous
    }
}

/// What one reading of `list` found.
public struct ListPage: Sendable {
    public let rows: [ListRow]
    /// The row at which the work of one page ended, which is bounded; nil where it ended with the rows.
    public let walkedTo: ListQuery.Position?

    /// Makes a page.
    public init(rows: [ListRow], walkedTo: ListQuery.Position?) {
        self.rows = rows
        self.walkedTo = walkedTo
    }
}

/// What `status` shows of a ledger.
public struct LedgerStatus: Sendable {
    public let applications: Int
    /// Living tokens, previous ones included.
    public let tokens: Int
    public let lastSequence: Int64
    /// Nil while the disk takes changes, else the sentence that callers get with -32007.
    public let storageProblem: String?
    public let databaseBytes: Int64
    public let writeAheadLogBytes: Int64
    public let queuedMutations: Int
    /// How far the journal has come; nil where it is not fed.
    public let journal: JournalStatus?

    /// Makes a snapshot.
    public init(
        applications: Int, tokens: Int, lastSequence: Int64, storageProblem: String?, databaseBytes: Int64,
        writeAheadLogBytes: Int64, queuedMutations: Int, journal: JournalStatus? = nil
    ) {
        self.applications = applications
        self.tokens = tokens
        self.lastSequence = lastSequence
        self.storageProblem = storageProblem
        self.databaseBytes = databaseBytes
        self.writeAheadLogBytes = writeAheadLogBytes
        self.queuedMutations = queuedMutations
        self.journal = journal
    }
}

/// Whether the writer's queue took a mutation.
public enum Admission: Sendable {
    case accepted
    /// -32006: the queue, or this uid's quarter of it, is full.
    case full
    /// -32008: the ledger takes no more.
    case closed
}

/// What a caller of a ledger keeps to.
public enum LedgerLimits {
    /// How many digests one look-up takes: enough to hide the memory's latency behind the others', and a lock that is
    /// held for a few microseconds.
    public static let lookups = 16
}

/// What the server needs of a store; its words are the model's, so that another store can stand behind it.
public protocol TokenLedger: AnyObject, Sendable {
    /// Looks presented tokens' digests up, at most `LedgerLimits.lookups` at once so that their memory is fetched side by side,
    /// and calls `answer` for each in turn under the index's lock: with nil where it is not alive. Called on the event
    /// loops: no I/O, no allocation. Notes the use for `last_used_at`.
    func introspect(_ digests: UnsafeBufferPointer<TokenDigest>, answer: (Int, ActiveToken?) -> Void)

    /// A caller presented what is not alive. Where it is a token that was ended, that goes on record: in memory first,
    /// so that nothing that only reads becomes a write. Called on the event loops.
    func noteInactive(_ digest: TokenDigest, by caller: Caller)

    /// Queues a mutation. Its outcome comes with a `Delivery`, unless the admission says otherwise. A writer that sleeps
    /// goes on sleeping until `wakeWriter`: what comes together is to be taken together.
    func enqueue(_ mutation: Mutation) -> Admission

    /// Has the writer look at what was queued.
    func wakeWriter()

    /// Reads one page, sorted by application, then project, in bytes. Blocks: not for an event loop.
    /// - Throws: `LedgerReadError` where the disk refuses.
    func list(_ query: ListQuery) throws -> ListPage

    /// Reads the audit rows after `sequence`, the oldest first, at most `limit`. Blocks: not for an event loop.
    /// - Throws: `LedgerReadError` where the disk refuses.
    func records(after sequence: Int64, limit: Int) throws -> [AuditRecord]

    /// The oldest audit row that is still kept and the last one; (1, 0) where there is none. Blocks.
    func recordBounds() throws -> (oldest: Int64, last: Int64)

    /// How far the journal has come; nil where it is not fed. Cheap.
    var journalStatus: JournalStatus? { get }

    /// A snapshot. May take milliseconds with a million tokens: not for an event loop.
    func status() -> LedgerStatus
}

/// How the writer of a ledger is, for whoever watches over it.
public struct WriterState: Sendable, Equatable {
    /// Whether it has answered every question that it was asked.
    public let hasAnswered: Bool
    /// For how long it has been in a call that only the disk can end (a sync, a checkpoint): slow then, not stuck. Nil
    /// while it is not in one.
    public let inDiskMilliseconds: Int64?

    /// Describes a writer.
    public init(hasAnswered: Bool, inDiskMilliseconds: Int64?) {
        self.hasAnswered = hasAnswered
        self.inDiskMilliseconds = inDiskMilliseconds
    }
}

/// What a watchdog needs of a store.
public protocol WatchedWriter: Sendable {
    /// Asks the writer to answer, between two batches; does not wait.
    func askWriter()
    /// What has become of that. Cheap: a few loads.
    func writerState() -> WriterState
}

/// The disk refused a read; the sentence says what to do and holds no secret.
public struct LedgerReadError: Error, Sendable {
    public let sentence: String

    /// Says what to do.
    public init(sentence: String) { self.sentence = sentence }
}

extension TokenLedger {
    /// Queues one mutation and wakes the writer for it.
    public func submit(_ mutation: Mutation) -> Admission {
        defer { wakeWriter() }
        return enqueue(mutation)
    }

    /// Looks one digest up and, where it is alive, calls `found` under the index's lock.
    /// - Returns: whether it is alive.
    public func introspect(_ digest: TokenDigest, found: (ActiveToken) -> Void) -> Bool {
        var isAlive = false
        withUnsafePointer(to: digest) { pointer in
            introspect(UnsafeBufferPointer(start: pointer, count: 1)) { _, token in
                guard let token else { return }
                isAlive = true
                found(token)
            }
        }
        return isAlive
    }
}
