import Synchronization
import TokenModel

/// A ledger without a memory: what it says depends on the question alone. It notes what reached it.
final class FixedLedger: TokenLedger {
    /// Changes that are told of, the last one's number, and how many rows there are to list.
    static let lastSequence: Int64 = 3
    private static let rows = 4

    private struct State {
        var waiting: [Mutation] = []
        var commands: [Command] = []
        var queries: [ListQuery] = []
    }

    private let state = Mutex(State())
    private let secret: TokenSecret

    init() throws {
        secret = try TokenSecret.generate(from: NoRandom())
    }

    /// What was asked since the last call.
    func takeAsked() -> (commands: [Command], queries: [ListQuery]) {
        state.withLock { state in
            defer { (state.commands, state.queries) = ([], []) }
            return (state.commands, state.queries)
        }
    }

    /// Ends what waits, as one batch.
    func finish() -> Delivery? {
        let waiting = state.withLock { state in
            defer { state.waiting = [] }
            return state.waiting
        }
        guard !waiting.isEmpty else { return nil }
        for mutation in waiting { mutation.outcome = outcome(mutation.command) }
        return Delivery(mutations: waiting, records: [])
    }

    private func outcome(_ command: Command) -> MutationOutcome {
        let id = RegistrationID(high: 1, low: 2)
        let time = Instant(milliseconds: 1_700_000_000_000)
        switch command {
        case .register(_, _, let ttl), .generate(_, _, let ttl):
            return .credentials(
                Credentials(
                    registrationID: id, token: secret, expiration: time.adding(seconds: ttl), previousExpiration: nil))
        case .rotate(_, _, let ttl, let grace):
            return .credentials(
                Credentials(
                    registrationID: id, token: secret, expiration: time.adding(seconds: ttl),
                    previousExpiration: grace > 0 ? time.adding(seconds: grace) : nil))
        case .revokeToken: return .revoked(1)
        case .revoke: return .refused(.alreadyRegistered(holdsToken: true))
        case .revokeProject: return .storageUnavailable("The disk is away.")
        case .unregister: return .refused(.notRegistered)
        }
    }

    var journalStatus: JournalStatus? { nil }

    func wakeWriter() {}

    func enqueue(_ mutation: Mutation) -> Admission {
        state.withLock { state in
            if mutation.command.names("full") { return .full }
            state.commands.append(mutation.command)
            state.waiting.append(mutation)
            return .accepted
        }
    }

    /// Every other token is alive.
    func introspect(_ digests: UnsafeBufferPointer<TokenDigest>, answer: (Int, ActiveToken?) -> Void) {
        var name = Array("alice".utf8)
        name.withUnsafeMutableBytes { name in
            let token = ActiveToken(
                registrationID: RegistrationID(high: 3, low: 4), application: UnsafeRawBufferPointer(name),
                project: UnsafeRawBufferPointer(name), issuedAt: Instant(milliseconds: 1_000),
                expiration: Instant(milliseconds: 2_000))
            for (place, digest) in digests.enumerated() { answer(place, digest.words.0 & 1 == 0 ? token : nil) }
        }
    }

    func noteInactive(_ digest: TokenDigest, by caller: Caller) {}

    func list(_ query: ListQuery) throws -> ListPage {
        state.withLock { $0.queries.append(query) }
        guard let application = ApplicationName("alice"), let project = ProjectCode("P") else {
            return ListPage(rows: [], walkedTo: nil)
        }
        guard query.project != project else { throw LedgerReadError(sentence: "The disk is away.") }
        let row = ListRow(
            registrationID: RegistrationID(high: 5, low: 6), application: application, project: project,
            issuedAt: Instant(milliseconds: 1_000), expiration: Instant(milliseconds: 2_000), lastUsedAt: nil,
            isActive: true, fingerprint: Fingerprint(value: 7),
            previous: [ShortenedToken(fingerprint: Fingerprint(value: 8), expiration: Instant(milliseconds: 9))])
        // Who asks for times has rows that are rare, so that a page may end before them.
        let walkedTo = query.expiresBefore.map { _ in ListQuery.Position(application: application, project: project) }
        return ListPage(rows: Array(repeating: row, count: min(query.limit, Self.rows)), walkedTo: walkedTo)
    }

    func records(after sequence: Int64, limit: Int) throws -> [AuditRecord] {
        guard sequence < Self.lastSequence, let application = ApplicationName("alice") else { return [] }
        return (sequence + 1...Self.lastSequence).map { sequence in
            AuditRecord(
                sequence: sequence, time: Instant(milliseconds: 1_000), event: .rotated,
                registrationID: RegistrationID(high: 5, low: 6), application: application, project: ProjectCode("P"),
                principal: Principal.user(name: "alice", uid: 1_000), uid: 1_000, gid: 1_000,
                process: PeerProcess(pid: 1), fingerprint: Fingerprint(value: 7), ended: [Fingerprint(value: 8)],
                lapsed: [], shortened: [],
                chain: TokenDigest(words: (0, 0, 0, 0)))
        }
    }

    func recordBounds() -> (oldest: Int64, last: Int64) { (2, Self.lastSequence) }

    func status() -> LedgerStatus {
        LedgerStatus(
            applications: 1, tokens: 2, lastSequence: Self.lastSequence, storageProblem: nil, databaseBytes: 4_096,
            writeAheadLogBytes: 0, queuedMutations: 0)
    }
}

/// Always the same bytes.
private struct NoRandom: RandomSource {
    func fill(_ buffer: UnsafeMutableRawBufferPointer) {
        for index in buffer.indices { buffer[index] = UInt8(index & 0x7F) }
    }
}

extension Command {
    fileprivate func names(_ text: String) -> Bool {
        switch self {
        case .register(_, let project, _), .generate(_, let project, _), .rotate(_, let project, _, _),
            .revoke(_, let project), .revokeProject(let project):
            project.text == text
        case .revokeToken, .unregister: false
        }
    }
}
