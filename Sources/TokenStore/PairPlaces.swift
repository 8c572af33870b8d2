internal import CLinux
internal import TokenModel

/// Where the index holds an application and its token for a project; 0 for nowhere.
struct PairPlace {
    var application: UInt32 = 0
    var token: UInt32 = 0
}

extension TokenIndex {
    /// Where the index holds what these mutations are about, in their order; what names no pair has no place. Each step is
    /// done for all of them before the next, so that the memory's latency is paid once a step, not once a step and
    /// mutation. Good until the index changes.
    func places(of mutations: ArraySlice<Mutation>) -> [PairPlace] {
        struct Step {
            var hash: UInt64 = 0
            var pair: UInt64 = 0
            var name: UInt32 = 0
            var project: UInt32 = 0
        }
        let first = mutations.startIndex
        var places = [PairPlace](repeating: PairPlace(), count: mutations.count)
        withUnsafeTemporaryAllocation(of: Step.self, capacity: mutations.count) { steps in
            steps.initialize(repeating: Step())
            for at in places.indices {
                guard let (name, _) = mutations[first + at].command.pair else { continue }
                steps[at].hash = names.hash(name.text)
                names.prefetch(hash: steps[at].hash)
            }
            for at in places.indices { steps[at].name = names.candidate(steps[at].hash) }
            for at in places.indices where steps[at].name != 0 {
                names.prefetch(steps[at].name)
                let application = names.names[steps[at].name].pointee.application
                if application != 0 { linux_prefetch(applications[application]) }
            }
            for at in places.indices where steps[at].name != 0 {
                guard let (name, project) = mutations[first + at].command.pair else { continue }
                let slot = names.find(name.text, steps[at].hash)
                places[at].application = slot == 0 ? 0 : names.names[slot].pointee.application
                steps[at].project = project.map { names.find($0.text) } ?? 0
                guard places[at].application != 0, steps[at].project != 0 else { continue }
                steps[at].pair = Self.pairHash(places[at].application, steps[at].project)
                pairs.prefetch(steps[at].pair)
            }
            for at in places.indices where steps[at].pair != 0 {
                prefetchToken(pair: steps[at].pair)
            }
            for at in places.indices where steps[at].pair != 0 {
                places[at].token = token(steps[at].pair, places[at].application, steps[at].project)
                // It is taken out of the table of digests when it is replaced.
                if places[at].token != 0 { digests.prefetch(tokens[places[at].token].pointee.digest.words.0) }
            }
        }
        return places
    }
}

extension Command {
    /// The application that is named, and the project where one token is meant.
    fileprivate var pair: (ApplicationName, ProjectCode?)? {
        switch self {
        case .register(let application, let project, _), .generate(let application, let project, _),
            .rotate(let application, let project, _, _), .revoke(let application, let project):
            (application, project)
        case .unregister(let application): (application, nil)
        case .revokeToken, .revokeProject: nil
        }
    }
}
