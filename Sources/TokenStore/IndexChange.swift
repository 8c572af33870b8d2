internal import TokenModel

extension TokenIndex {
    func stored(application slot: UInt32) -> StoredApplication {
        StoredApplication(
            id: applications[slot].pointee.id, registrationID: applications[slot].pointee.registrationID)
    }

    /// The application that holds a token.
    /// - Throws: `StoreError` where the index is broken: each name was checked on its way in.
    func applicationOfToken(_ slot: UInt32) throws -> (ApplicationName, StoredApplication) {
        let application = tokens[slot].pointee.application
        guard let name = ApplicationName(bytes: names.bytes(applications[application].pointee.name)) else {
            throw StoreError(.invariant, "A name in the index is none.")
        }
        return (name, stored(application: application))
    }

    /// What a token is good for.
    /// - Throws: `StoreError` where the index is broken.
    func projectOfToken(_ slot: UInt32) throws -> ProjectCode {
        guard let project = ProjectCode(bytes: names.bytes(tokens[slot].pointee.project)) else {
            throw StoreError(.invariant, "A name in the index is none.")
        }
        return project
    }

    /// The tokens of all applications for a project, in no order: looks at each token.
    func tokens(of project: ProjectCode) -> [UInt32] {
        let name = names.find(project.text)
        guard name != 0 else { return [] }
        return (1..<max(1, tokens.end)).filter { tokens[$0].pointee.project == name }
    }

    /// Puts a registration that begins into the index. Called with the lock.
    func begin(_ change: PlannedChange) {
        var text = change.name.text
        text.withUTF8 { _ = insertApplication(name: UnsafeRawBufferPointer($0), change.application) }
    }

    /// Takes a registration out that ends, after its tokens. Called with the lock.
    func end(_ change: PlannedChange) { removeApplication(application(change.name)) }

    /// Puts one token's change into the index. Called with the lock.
    func apply(_ token: PlannedChange.Token, of name: ApplicationName) {
        switch (token.before, token.after) {
        case (nil, let after?):
            var text = token.project.text
            text.withUTF8 {
                _ = insertToken(application: application(name), project: UnsafeRawBufferPointer($0), after)
            }
        case (let before?, let after?): replaceToken(slot(of: token, before, name), with: after.held)
        case (let before?, nil): removeToken(slot(of: token, before, name))
        case (nil, nil): break
        }
    }

    /// Where the token lies that goes: where the decision saw it, unless the batch itself has put it elsewhere. No two
    /// tokens have one digest.
    private func slot(of token: PlannedChange.Token, _ before: StoredToken, _ name: ApplicationName) -> UInt32 {
        if token.slot != 0, tokens[token.slot].pointee.digest == before.held.digest { return token.slot }
        return self.token(application: application(name), project: token.project)
    }

    /// Notes that a current token was found active. Called with the lock, by any thread.
    @inline(__always)
    func noteUse(_ slot: UInt32, at wall: Instant) {
        let seconds = UInt32(truncatingIfNeeded: wall.seconds)
        guard tokens[slot].pointee.lastUsedSeconds != seconds else { return }
        tokens[slot].pointee.lastUsedSeconds = seconds
        used.mark(slot)
    }

    /// Living tokens among a range of slots, previous ones included. Called with the lock.
    func countAlive(_ slots: Range<UInt32>, at moment: Moment) -> Int {
        var count = 0
        for slot in slots where tokens[slot].pointee.application != 0 {
            if moment.wall < tokens[slot].pointee.expiresAt { count += 1 }
            var next = tokens[slot].pointee.previous
            while next != 0 {
                if previous[next].pointee.model.isAlive(at: moment) { count += 1 }
                next = previous[next].pointee.next
            }
        }
        return count
    }
}
