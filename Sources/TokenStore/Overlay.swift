internal import TokenModel

/// An application and a project.
struct Pair: Hashable {
    let application: ApplicationName
    let project: ProjectCode
}

/// What a batch has changed, laid over an index that does not have it yet.
struct Overlay {
    private(set) var applications: [ApplicationName: StoredApplication?] = [:]
    /// Tokens that the index holds, by their slots: that is quicker than by their names.
    private var places: [UInt32: Int] = [:]
    private var tokens: [StoredToken?] = []
    /// Those that it does not, and for which projects of an application.
    private(set) var added: [Pair: StoredToken?] = [:]
    private(set) var addedProjects: [ApplicationName: [ProjectCode]] = [:]
    /// How many more tokens each owner has, or fewer.
    private(set) var owned: [String: Int] = [:]

    var isEmpty: Bool { applications.isEmpty && tokens.isEmpty && added.isEmpty }

    /// Makes room for so many changes of tokens.
    init(expecting count: Int) {
        places.reserveCapacity(count)
        tokens.reserveCapacity(count)
    }

    /// Whether the token in a slot of the index is another here, or gone.
    func changes(_ slot: UInt32) -> Bool { places[slot] != nil }

    /// What it is here: nil where it is as in the index.
    func token(_ slot: UInt32) -> StoredToken?? { places[slot].map { tokens[$0] } }

    mutating func add(_ change: PlannedChange) {
        switch change.registration {
        case .stays: break
        case .begins: applications[change.name] = .some(change.application)
        case .ends: applications[change.name] = .some(nil)
        }
        for token in change.tokens {
            if token.slot != 0 {
                if let place = places[token.slot] {
                    tokens[place] = token.after
                } else {
                    places[token.slot] = tokens.count
                    tokens.append(token.after)
                }
            } else {
                let pair = Pair(application: change.name, project: token.project)
                if added[pair] == nil { addedProjects[change.name, default: []].append(token.project) }
                added[pair] = .some(token.after)
            }
            let difference = (token.after == nil ? 0 : 1) - (token.before == nil ? 0 : 1)
            if difference != 0 { owned[change.name.owner, default: 0] += difference }
        }
    }

    /// Whether a command is about something that is changed here. `place` is where the index holds what it is about.
    func concerns(_ command: Command, at place: PairPlace, in index: TokenIndex) -> Bool {
        switch command {
        case .register(let application, let project, _), .generate(let application, let project, _),
            .rotate(let application, let project, _, _), .revoke(let application, let project):
            if !applications.isEmpty, applications[application] != nil { return true }
            if place.token != 0 { return changes(place.token) }
            return !added.isEmpty && added[Pair(application: application, project: project)] != nil
        case .revokeToken(let digest):
            // A token that this has made has not been handed out: nobody can present it yet.
            let entry = index.find(digest)
            guard entry.raw != 0 else { return false }
            return changes(entry.isPrevious ? index.previous[entry.slot].pointee.token : entry.slot)
        case .revokeProject: return !isEmpty
        case .unregister(let application):
            guard applications[application] == nil, addedProjects[application] == nil else { return true }
            var isChanged = false
            if place.application != 0 {
                index.forEachToken(of: place.application) { if changes($0) { isChanged = true } }
            }
            return isChanged
        }
    }
}
