internal import TokenModel

/// One change that was decided: what is written, recorded and then put into the index. A class, because it passes through
/// many hands, and to copy its names and lists for each costs more than to decide it.
final class PlannedChange: Sendable {
    struct Token {
        let project: ProjectCode
        /// Where the index held the pair's token before the batch; 0 for nowhere.
        let slot: UInt32
        /// Nil where it is new.
        let before: StoredToken?
        /// Nil where it goes.
        let after: StoredToken?
    }

    enum Registration { case stays, begins, ends }

    let event: AuditEvent
    let name: ApplicationName
    let application: StoredApplication
    let registration: Registration
    /// Nil where the change is of the whole application.
    let project: ProjectCode?
    let tokens: [Token]
    let fingerprint: Fingerprint?
    let ended: [Fingerprint]
    let shortened: [ShortenedToken]

    init(
        event: AuditEvent, name: ApplicationName, application: StoredApplication, registration: Registration = .stays,
        project: ProjectCode?, tokens: [Token], fingerprint: Fingerprint? = nil, ended: [Fingerprint],
        shortened: [ShortenedToken] = []
    ) {
        self.event = event
        self.name = name
        self.application = application
        self.registration = registration
        self.project = project
        self.tokens = tokens
        self.fingerprint = fingerprint
        self.ended = ended
        self.shortened = shortened
    }

    /// The tokens that lose their place by this and which it neither ends nor shortens: they had expired, or their grace was
    /// over, or will be before it. Who presents one of them later presents a token that was replaced, revoked or unregistered;
    /// and a clock that is set otherwise, or a restore, shall not bring it back.
    var lapsed: [Fingerprint] {
        // An application may have thousands.
        let known = tokens.count > 1 ? Set(ended + shortened.map(\.fingerprint)) : nil
        var lapsed: [Fingerprint] = []
        func note(_ gone: Fingerprint) {
            let isNamed =
                known?.contains(gone) ?? (ended.contains(gone) || shortened.contains { $0.fingerprint == gone })
            if !isNamed { lapsed.append(gone) }
        }
        for token in tokens {
            guard let before = token.before?.held else { continue }
            let after = token.after?.held
            if after?.digest != before.digest { note(before.digest.fingerprint) }
            for previous in before.previous
            where after?.previous.contains(where: { $0.digest == previous.digest }) != true {
                note(previous.digest.fingerprint)
            }
        }
        return lapsed
    }
}

/// What became of one mutation of a batch.
enum Decision {
    /// Nothing is to be written.
    case settled(MutationOutcome)
    /// This is to be written, or these, and then the outcome holds.
    case change(PlannedChange, MutationOutcome)
    case changes([PlannedChange], MutationOutcome)
    /// It ranges over rows that the open batch has changed: it opens the next one.
    case later
    /// It is about something that the batch before has changed, whose commit is not durable yet.
    case afterSync
}

/// A transaction in the making: decides on the index with the batch's own changes laid over it. Writes nothing.
struct Batch {
    /// When those are decided that were taken last.
    var now = Moment(wall: Instant(milliseconds: 0), bootMilliseconds: 0)
    private let index: TokenIndex
    private let tokensPerOwner: Int
    private var overlay: Overlay
    /// What the batch before this one has changed, while its commit is being made durable: the index does not have it yet.
    private var before: Overlay?

    init(
        index: TokenIndex, after before: Batch?, expecting count: Int, tokensPerOwner: Int
    ) {
        self.index = index
        overlay = Overlay(expecting: count)
        self.before = before?.overlay
        self.tokensPerOwner = tokensPerOwner
    }

    /// What one change may end in a batch that others share: a millisecond of the writer's time.
    private static let tokensBesideOthers = 64

    /// Decides one command. `place` is where the index holds what it is about, `sequence` the number that its first audit
    /// row will have.
    /// - Throws: `RandomError` where nothing could be drawn, or `StoreError` where the index is broken; nothing has changed.
    func decide(_ mutation: Mutation, at place: PairPlace, sequence: Int64) throws -> Decision {
        if let before, before.concerns(mutation.command, at: place, in: index) { return .afterSync }
        do {
            switch mutation.command {
            case .register(let application, let project, let ttlSeconds):
                let held = pair(application, project, place)
                let issue = try Rules.register(
                    isRegistered: held.application != nil, held: held.token?.held, ttlSeconds: ttlSeconds,
                    quota: quota(application, mutation.caller), now: now)
                guard let id = mutation.drawn?.registrationID else { throw RandomError(errno: 0) }
                let new = StoredApplication(id: sequence, registrationID: id)
                return try issued(issue, mutation.drawn, application, new, project, held, .begins, sequence)
            case .generate(let application, let project, let ttlSeconds):
                let held = pair(application, project, place)
                let issue = try Rules.generate(
                    isRegistered: held.application != nil, held: held.token?.held, ttlSeconds: ttlSeconds,
                    quota: quota(application, mutation.caller), now: now)
                return try issued(issue, mutation.drawn, application, held.application, project, held, .stays, sequence)
            case .rotate(let application, let project, let ttlSeconds, let graceSeconds):
                let held = pair(application, project, place)
                let issue = try Rules.rotate(
                    isRegistered: held.application != nil, held: held.token?.held, ttlSeconds: ttlSeconds,
                    graceSeconds: graceSeconds, now: now)
                return try issued(issue, mutation.drawn, application, held.application, project, held, .stays, sequence)
            case .revokeToken(let digest): return try revoke(digest)
            case .revoke(let application, let project):
                return revoke(application, project, pair(application, project, place))
            case .revokeProject(let project): return overlay.isEmpty ? try revokeAll(project) : .later
            case .unregister(let application): return try unregister(application, place.application)
            }
        } catch let refusal as Refusal {
            return .settled(.refused(refusal))
        }
    }

    /// Where the index holds what these are about.
    func places(of mutations: ArraySlice<Mutation>) -> [PairPlace] { index.places(of: mutations) }

    /// Lays a change over the index: later decisions of this batch see it.
    mutating func add(_ change: PlannedChange) { overlay.add(change) }

    /// The batch before this one is in the index.
    mutating func isAlone() { before = nil }

    // MARK: What is held

    /// An application and its token for a project, as the batch leaves them so far.
    private struct Held {
        let application: StoredApplication?
        let token: StoredToken?
        /// Where the index holds the token; 0 for nowhere.
        let slot: UInt32
    }

    private func application(_ name: ApplicationName, at slot: UInt32) -> StoredApplication? {
        // Most batches begin and end no application: then no name is hashed for them.
        if !overlay.applications.isEmpty, let change = overlay.applications[name] { return change }
        return slot == 0 ? nil : index.stored(application: slot)
    }

    private func token(at slot: UInt32) -> StoredToken? {
        if let change = overlay.token(slot) { return change }
        return index.stored(slot)
    }

    private func pair(_ name: ApplicationName, _ project: ProjectCode, _ place: PairPlace) -> Held {
        let application = application(name, at: place.application)
        var token: StoredToken?
        if place.token != 0 {
            token = self.token(at: place.token)
        } else if !overlay.added.isEmpty, let change = overlay.added[Pair(application: name, project: project)] {
            token = change
        }
        return Held(application: application, token: token, slot: place.token)
    }

    private func quota(_ name: ApplicationName, _ caller: Caller) -> Quota {
        let owner = name.owner
        return Quota(
            held: index.ownedTokens(owner) + overlay.owned[owner, default: 0] + (before?.owned[owner] ?? 0),
            limit: tokensPerOwner,
            isExempt: caller.isAdministrator)
    }

    // MARK: Changes

    private func issued(
        _ issue: Issue, _ drawn: DrawnToken?, _ name: ApplicationName, _ application: StoredApplication?,
        _ project: ProjectCode, _ held: Held, _ registration: PlannedChange.Registration, _ sequence: Int64
    ) throws -> Decision {
        guard let application else { return .settled(.refused(.notRegistered)) }  // the rules have refused before
        guard let drawn else { throw RandomError(errno: 0) }
        let digest = drawn.digest
        let after = StoredToken(id: held.token?.id ?? sequence, held: issue.held(digest: digest))
        let change = PlannedChange(
            event: issue.event, name: name, application: application, registration: registration, project: project,
            tokens: [.init(project: project, slot: held.slot, before: held.token, after: after)],
            fingerprint: digest.fingerprint, ended: issue.ended, shortened: issue.shortened)
        let credentials = Credentials(
            registrationID: application.registrationID, token: drawn.secret, expiration: issue.expiresAt,
            previousExpiration: issue.previousExpiration)
        return .change(change, .credentials(credentials))
    }

    private func revoke(_ digest: TokenDigest) throws -> Decision {
        let entry = index.find(digest)
        // A token of the open batch has not been handed out: nobody can present it yet.
        guard entry.raw != 0 else { return .settled(.revoked(0)) }
        let slot = entry.isPrevious ? index.previous[entry.slot].pointee.token : entry.slot
        let (name, application) = try index.applicationOfToken(slot)
        let project = try index.projectOfToken(slot)
        guard overlay.applications.isEmpty || overlay.applications[name] == nil, !overlay.changes(slot) else {
            return .later
        }
        let before = index.stored(slot)
        let (after, ended): (StoredToken?, [Fingerprint])
        switch Rules.revoke(digest, held: before.held, now: now) {
        case .nothing: return .settled(.revoked(0))
        case .all(let fingerprints): (after, ended) = (nil, fingerprints)
        case .one(let held, let fingerprints): (after, ended) = (StoredToken(id: before.id, held: held), fingerprints)
        }
        let change = PlannedChange(
            event: .revoked, name: name, application: application, project: project,
            tokens: [.init(project: project, slot: slot, before: before, after: after)], ended: ended)
        return .change(change, .revoked(ended.count))
    }

    private func revoke(_ name: ApplicationName, _ project: ProjectCode, _ held: Held) -> Decision {
        guard let application = held.application, let before = held.token else { return .settled(.revoked(0)) }
        let ended = before.held.alive(at: now)
        let change = PlannedChange(
            event: .revoked, name: name, application: application, project: project,
            tokens: [.init(project: project, slot: held.slot, before: before, after: nil)], ended: ended)
        return .change(change, .revoked(ended.count))
    }

    private func revokeAll(_ project: ProjectCode) throws -> Decision {
        var changes: [PlannedChange] = []
        for slot in index.tokens(of: project) {
            let (name, application) = try index.applicationOfToken(slot)
            let before = index.stored(slot)
            changes.append(
                PlannedChange(
                    event: .revoked, name: name, application: application, project: project,
                    tokens: [.init(project: project, slot: slot, before: before, after: nil)],
                    ended: before.held.alive(at: now)))
        }
        let outcome = MutationOutcome.revoked(changes.reduce(0) { $0 + $1.ended.count })
        return changes.isEmpty ? .settled(outcome) : .changes(changes, outcome)
    }

    private func unregister(_ name: ApplicationName, _ slot: UInt32) throws -> Decision {
        guard let application = application(name, at: slot) else { throw Refusal.notRegistered }
        var gone: [PlannedChange.Token] = []
        if slot != 0 {
            try index.forEachToken(of: slot) { place in
                guard let before = token(at: place) else { return }
                gone.append(.init(project: try index.projectOfToken(place), slot: place, before: before, after: nil))
            }
        }
        for project in overlay.addedProjects[name] ?? [] {
            guard let before = overlay.added[Pair(application: name, project: project)] ?? nil else { continue }
            gone.append(.init(project: project, slot: 0, before: before, after: nil))
        }
        // What stands before it in the batch need not wait for thousands of rows to go.
        if gone.count > Self.tokensBesideOthers, !overlay.isEmpty { return .later }
        let ended = gone.flatMap { $0.before?.held.alive(at: now) ?? [] }
        let change = PlannedChange(
            event: .unregistered, name: name, application: application, registration: .ends,
            project: nil, tokens: gone, ended: ended)
        return .change(change, .revoked(ended.count))
    }
}
