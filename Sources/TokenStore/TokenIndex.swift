internal import CLinux
internal import TokenModel

/// All that a decision or an answer needs, in memory: tables of fixed slots, names once, no object a token.
///
/// Readers hold the ledger's lock; the writer, which alone changes anything but `lastUsedSeconds` and its marks, holds
/// it while it changes, and may read without. That is what makes the ledger's `@unchecked Sendable` of it true.
final class TokenIndex {
    let names = NameTable()
    let applications = Chunks<ApplicationSlot>(empty: ApplicationSlot())
    let tokens = Chunks<TokenSlot>(empty: TokenSlot())
    let previous = Chunks<PreviousSlot>(empty: PreviousSlot())
    let used = UsedMarks()
    let digests = ProbeTable()
    let pairs = ProbeTable()

    /// Digests, current and previous.
    var digestCount: Int { digests.count }
    /// Pairs of application and project.
    var pairCount: Int { pairs.count }

    // MARK: Looking up

    /// The entry of a digest, current or previous; its raw value is 0 where there is none.
    @inline(__always)
    func find(_ digest: TokenDigest) -> DigestEntry {
        let tag = DigestEntry.tag(digest)
        return DigestEntry(
            raw: digests.find(digest.words.0) { raw in
                raw & DigestEntry.tagMask == tag && self.digest(of: raw) == digest
            })
    }

    /// Fetches what the answers for these digests will look at, each step for all of them before the next: so that the
    /// memory's latency is paid once a step, not once a step and digest.
    func prefetch(_ all: UnsafeBufferPointer<TokenDigest>) {
        for digest in all { digests.prefetch(digest.words.0) }
        withUnsafeTemporaryAllocation(of: UInt32.self, capacity: all.count) { room in
            // Only what may be a current token: an index without any has no memory behind slot 0.
            var count = 0
            for digest in all {
                let tag = DigestEntry.tag(digest)
                let entry = DigestEntry(raw: digests.find(digest.words.0) { $0 & DigestEntry.tagMask == tag })
                guard entry.raw != 0, !entry.isPrevious else { continue }
                Self.prefetch(tokens[entry.slot], MemoryLayout<TokenSlot>.size)
                room[count] = entry.slot
                count += 1
            }
            let slots = room[..<count]
            for slot in slots { Self.prefetch(applications[tokens[slot].pointee.application]) }
            for slot in slots { Self.prefetch(names.names[name(slot)]) }
            for slot in slots { names.prefetch(name(slot)) }
        }
    }

    /// The name slot of the application that a token slot belongs to.
    @inline(__always)
    private func name(_ slot: UInt32) -> UInt32 { applications[tokens[slot].pointee.application].pointee.name }

    @inline(__always)
    private static func prefetch<Slot>(_ slot: UnsafeMutablePointer<Slot>, _ size: Int = 1) {
        linux_prefetch(slot)
        if size > 1 { linux_prefetch(UnsafeRawPointer(slot) + size - 1) }
    }

    /// The application of a name, or 0.
    func application(_ name: ApplicationName) -> UInt32 {
        let slot = names.find(name.text)
        return slot == 0 ? 0 : names.names[slot].pointee.application
    }

    /// The token that an application holds for a project, or 0.
    func token(application: UInt32, project: ProjectCode) -> UInt32 {
        let name = names.find(project.text)
        guard application != 0, name != 0 else { return 0 }
        return token(Self.pairHash(application, name), application, name)
    }

    /// The token of a pair, whose hash is given, or 0.
    func token(_ hash: UInt64, _ application: UInt32, _ project: UInt32) -> UInt32 {
        let entry = pairs.find(hash) { raw in
            let entry = TaggedSlot(raw: raw)
            guard entry.mayMatch(hash) else { return false }
            let token = self.tokens[entry.slot]
            return token.pointee.application == application && token.pointee.project == project
        }
        return TaggedSlot(raw: entry).slot
    }

    /// Fetches the token that a pair of this hash has if it has one.
    func prefetchToken(pair hash: UInt64) {
        let slot = TaggedSlot(raw: pairs.find(hash) { TaggedSlot(raw: $0).mayMatch(hash) }).slot
        if slot != 0 { Self.prefetch(tokens[slot], MemoryLayout<TokenSlot>.size) }
    }

    /// Tokens that an owner holds, expired ones included.
    func ownedTokens(_ owner: String) -> Int {
        let slot = names.find(owner)
        return slot == 0 ? 0 : Int(names.names[slot].pointee.ownedTokens)
    }

    /// What a slot holds, in the model's words.
    func stored(_ slot: UInt32) -> StoredToken {
        let token = tokens[slot]
        var list: [PreviousToken] = []
        var next = token.pointee.previous
        while next != 0 {
            list.append(previous[next].pointee.model)
            next = previous[next].pointee.next
        }
        return StoredToken(
            id: token.pointee.id,
            held: HeldToken(
                digest: token.pointee.digest, issuedAt: token.pointee.issuedAt, expiresAt: token.pointee.expiresAt,
                previous: list))
    }

    /// Every token of an application, in no order.
    func forEachToken(of application: UInt32, _ body: (UInt32) throws -> Void) rethrows {
        var slot = applications[application].pointee.firstToken
        while slot != 0 {
            let next = tokens[slot].pointee.nextOfApplication
            try body(slot)
            slot = next
        }
    }

    // MARK: Changing

    func insertApplication(name: UnsafeRawBufferPointer, _ stored: StoredApplication) -> UInt32 {
        let slot = applications.take()
        let nameSlot = names.retain(name)
        if let owner = Self.owner(name) { _ = names.retain(owner) } else { names.retain(slot: nameSlot) }
        let application = applications[slot]
        application.pointee.name = nameSlot
        application.pointee.registrationID = stored.registrationID
        application.pointee.id = stored.id
        names.names[nameSlot].pointee.application = slot
        return slot
    }

    /// Takes an application out; its tokens went before.
    func removeApplication(_ slot: UInt32) {
        let application = applications[slot].pointee
        precondition(application.firstToken == 0, "an application goes after its tokens")
        names.names[application.name].pointee.application = 0
        names.release(owner(slot))
        names.release(application.name)
        applications.release(slot)
    }

    @discardableResult
    func insertToken(application: UInt32, project: UnsafeRawBufferPointer, _ stored: StoredToken) -> UInt32 {
        let slot = takeToken(stored)
        tokens[slot].pointee.application = application
        tokens[slot].pointee.project = names.retain(project)
        insertDigests(slot)
        linkToken(slot)
        pairToken(slot)
        return slot
    }

    /// Takes a token in that is nobody's yet and is not found by anything.
    func takeToken(_ stored: StoredToken) -> UInt32 {
        let slot = tokens.take()
        tokens[slot].pointee.id = stored.id
        fill(slot, stored.held)
        return slot
    }

    /// Puts a token, whose application is known, to that application's others.
    func linkToken(_ slot: UInt32) {
        let application = tokens[slot].pointee.application
        let next = applications[application].pointee.firstToken
        tokens[slot].pointee.nextOfApplication = next
        tokens[slot].pointee.priorOfApplication = 0
        if next != 0 { tokens[next].pointee.priorOfApplication = slot }
        applications[application].pointee.firstToken = slot
        names.names[owner(application)].pointee.ownedTokens += 1
    }

    /// Makes a token, whose application and project are known, findable by them.
    func pairToken(_ slot: UInt32) {
        let hash = pairHash(ofEntry: slot)
        pairs.insert(TaggedSlot(slot, hash: hash).raw, hash: hash, hashOf: { pairHash(ofEntry: $0) })
    }

    /// Fetches the place where `pairToken` will put one.
    func prefetchPair(_ slot: UInt32) {
        pairs.prefetch(Self.pairHash(tokens[slot].pointee.application, tokens[slot].pointee.project))
    }

    /// Puts another token, or other previous ones, in the place of what a slot holds.
    func replaceToken(_ slot: UInt32, with held: HeldToken) {
        let isOther = tokens[slot].pointee.digest != held.digest
        empty(slot)
        fill(slot, held)
        insertDigests(slot)
        if isOther {
            tokens[slot].pointee.lastUsedSeconds = 0
            used.clear(slot)
        }
    }

    func removeToken(_ slot: UInt32) {
        empty(slot)
        used.clear(slot)
        let token = tokens[slot].pointee
        let hash = Self.pairHash(token.application, token.project)
        pairs.remove(TaggedSlot(slot, hash: hash).raw, hash: hash, hashOf: { pairHash(ofEntry: $0) })
        if token.nextOfApplication != 0 {
            tokens[token.nextOfApplication].pointee.priorOfApplication = token.priorOfApplication
        }
        if token.priorOfApplication != 0 {
            tokens[token.priorOfApplication].pointee.nextOfApplication = token.nextOfApplication
        } else {
            applications[token.application].pointee.firstToken = token.nextOfApplication
        }
        names.names[owner(token.application)].pointee.ownedTokens -= 1
        names.release(token.project)
        tokens.release(slot)
    }

    // MARK: Digests of a slot

    private func fill(_ slot: UInt32, _ held: HeldToken) {
        let token = tokens[slot]
        token.pointee.digest = held.digest
        token.pointee.issuedAt = held.issuedAt
        token.pointee.ttlSeconds = UInt32((held.expiresAt.milliseconds - held.issuedAt.milliseconds) / 1_000)
        var last: UInt32 = 0
        for one in held.previous {
            let place = previous.take()
            previous[place].pointee = PreviousSlot(
                digest: one.digest, issuedAt: one.issuedAt, expiresAt: one.expiresAt,
                bootDeadlineMilliseconds: one.bootDeadlineMilliseconds, token: slot, next: 0)
            if last == 0 { token.pointee.previous = place } else { previous[last].pointee.next = place }
            last = place
        }
    }

    /// Makes what a slot holds findable by its digests.
    private func insertDigests(_ slot: UInt32) {
        insertDigest(ofToken: slot)
        var next = tokens[slot].pointee.previous
        while next != 0 {
            insertDigest(ofPrevious: next)
            next = previous[next].pointee.next
        }
    }

    func insertDigest(ofToken slot: UInt32) {
        let digest = tokens[slot].pointee.digest
        insert(DigestEntry(slot: slot, isPrevious: false, digest: digest), digest)
    }

    func insertDigest(ofPrevious slot: UInt32) {
        let digest = previous[slot].pointee.digest
        insert(DigestEntry(slot: slot, isPrevious: true, digest: digest), digest)
    }

    private func empty(_ slot: UInt32) {
        let token = tokens[slot]
        remove(DigestEntry(slot: slot, isPrevious: false, digest: token.pointee.digest), token.pointee.digest)
        var next = token.pointee.previous
        token.pointee.previous = 0
        while next != 0 {
            let one = previous[next].pointee
            remove(DigestEntry(slot: next, isPrevious: true, digest: one.digest), one.digest)
            previous.release(next)
            next = one.next
        }
    }

    private func insert(_ entry: DigestEntry, _ digest: TokenDigest) {
        digests.insert(entry.raw, hash: digest.words.0) { self.digest(of: $0).words.0 }
    }

    private func remove(_ entry: DigestEntry, _ digest: TokenDigest) {
        digests.remove(entry.raw, hash: digest.words.0) { self.digest(of: $0).words.0 }
    }

    @inline(__always)
    private func digest(of raw: UInt32) -> TokenDigest {
        let entry = DigestEntry(raw: raw)
        return entry.isPrevious ? previous[entry.slot].pointee.digest : tokens[entry.slot].pointee.digest
    }

    /// The name slot of an application's owner, which the application holds a reference to.
    private func owner(_ application: UInt32) -> UInt32 {
        let name = applications[application].pointee.name
        return Self.owner(names.bytes(name)).map { names.find($0) } ?? name
    }

    /// What stands before the first `/`, or nil where there is none: then the name is its own owner.
    private static func owner(_ name: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
        name.firstIndex(of: UInt8(ascii: "/")).map { UnsafeRawBufferPointer(rebasing: name[..<$0]) }
    }

    private func pairHash(ofEntry raw: UInt32) -> UInt64 {
        let token = tokens[TaggedSlot(raw: raw).slot]
        return Self.pairHash(token.pointee.application, token.pointee.project)
    }

    /// Slots are numbers that no caller chooses: a mixing function without a key will do (splitmix64's).
    static func pairHash(_ application: UInt32, _ project: UInt32) -> UInt64 {
        var mixed = UInt64(application) << 32 | UInt64(project)
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}

/// A row of `token` as decisions see it.
struct StoredToken: Equatable {
    let id: Int64
    let held: HeldToken
}

/// A row of `application` as decisions see it.
struct StoredApplication: Equatable {
    let id: Int64
    let registrationID: RegistrationID
}
