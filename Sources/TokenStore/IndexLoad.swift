internal import GRDB
internal import GRDBSQLite
internal import Glibc
internal import TokenModel

/// Where the audit stands: the last row's number, its chain value and its time.
struct AuditHead: Equatable {
    var sequence: Int64
    var chain: TokenDigest
    var time: Instant
}

extension TokenIndex {
    /// Ids of rows are numbers of the audit, and the index has 48 bits for each.
    static let idsMax: Int64 = 1 << 48

    /// Whether a slot can hold these times, in milliseconds.
    static func holds(issuedAt: Int64, expiresAt: Int64) -> Bool {
        issuedAt >= 0 && issuedAt < 1 << 48 && expiresAt > issuedAt && (expiresAt - issuedAt) % 1_000 == 0
            && (expiresAt - issuedAt) / 1_000 <= UInt32.max
    }

    /// Builds an index from the tables, checking each row. Where there are two cores it takes half the time: applications
    /// and tokens are read side by side, and then what finds them is built. Nothing is written meanwhile, so both reads see
    /// one state.
    /// - Throws: `StoreError`, `damaged` where a row breaks a rule.
    static func load(_ database: TokenDatabase, asOf moment: Moment) throws -> (TokenIndex, AuditHead) {
        let pool = database.pool
        let index = TokenIndex()
        var head: AuditHead?
        var projects = NameTable()
        try bothAtOnce(
            {
                try reading(pool) { connection in
                    try index.loadApplications(connection)
                    head = try readHead(connection)
                }
            },
            { try reading(pool) { projects = try index.loadTokens($0, asOf: moment) } })
        try index.joinTokens(projects)
        try bothAtOnce(
            {
                for slot in 1..<max(1, index.tokens.end) { index.linkToken(slot) }
                index.pairTokens()
            },
            { try index.insertDigests() })
        guard let head else { throw StoreError(.invariant, "The audit's head was not read.") }
        return (index, head)
    }

    private static func reading(_ pool: DatabasePool, _ body: (OpaquePointer) throws -> Void) throws {
        try pool.read { db in
            guard let connection = db.sqliteConnection else {
                throw StoreError(.invariant, "The database is closed.")
            }
            try body(connection)
        }
    }

    /// Runs both at once; what one changes the other must not look at. By a thread that ends with it: Dispatch's would
    /// stay, with descriptors of their own.
    private static func bothAtOnce(
        _ first: @escaping () throws -> Void, _ second: @escaping () throws -> Void
    ) throws {
        let work = SideBySide(bodies: [first, second])
        var thread = pthread_t()
        let argument = Unmanaged.passRetained(work)
        let result = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                Unmanaged<SideBySide>.fromOpaque(argument).takeRetainedValue().run(0)
                return nil
            }, argument.toOpaque())
        if result != 0 {
            argument.release()
            work.run(0)
        }
        work.run(1)
        if result == 0 { pthread_join(thread, nil) }
        if let error = work.errors.lazy.compactMap({ $0 }).first { throw error }
    }

    /// In the order of their ids, so that a new index's slots are in that order too.
    private func loadApplications(_ connection: OpaquePointer) throws {
        let count = try RawStatement("SELECT count(*) FROM application", on: connection)
        try count.forEachRow { names.reserve(Int($0.integer(0))) }
        let query = try RawStatement(
            "SELECT id, name, registration_id FROM application ORDER BY id", on: connection)
        try query.forEachRow { row in
            let name = row.bytes(1)
            guard NamePattern.matches(name, allowsBackslash: true),
                let registrationID = AuditBlobs.registrationID(row.bytes(2)), row.integer(0) > 0,
                row.integer(0) < Self.idsMax
            else { throw Self.damaged("application", row.integer(0)) }
            _ = insertApplication(name: name, StoredApplication(id: row.integer(0), registrationID: registrationID))
        }
    }

    /// Takes the tokens in; what finds them is built later. Until `joinTokens` each holds the id of its application where
    /// later its neighbours stand, and its project's number in the table that is given back.
    private func loadTokens(_ connection: OpaquePointer, asOf moment: Moment) throws -> NameTable {
        let projects = NameTable()
        let query = try RawStatement(
            """
            SELECT id, application_id, project_code, digest, issued_at, expires_at, last_used_at, previous
            FROM token ORDER BY id
            """, on: connection)
        try query.forEachRow { row in
            let id = row.integer(0)
            let project = row.bytes(2)
            let issuedAt = row.integer(4)
            let expiresAt = row.integer(5)
            guard id > 0, id < Self.idsMax, NamePattern.matches(project, allowsBackslash: false),
                let digest = TokenDigest(bytes: row.bytes(3)),
                Self.holds(issuedAt: issuedAt, expiresAt: expiresAt),
                let previous = AuditBlobs.previous(row.bytes(7), asOf: moment)
            else { throw Self.damaged("token", id) }
            let held = HeldToken(
                digest: digest, issuedAt: Instant(milliseconds: issuedAt),
                expiresAt: Instant(milliseconds: expiresAt), previous: previous
            ).limitingGraces(asOf: moment)
            let token = tokens[takeToken(StoredToken(id: id, held: held))]
            token.pointee.project = projects.retain(project)
            let application = UInt64(bitPattern: row.integer(1))
            token.pointee.nextOfApplication = UInt32(truncatingIfNeeded: application)
            token.pointee.priorOfApplication = UInt32(truncatingIfNeeded: application >> 32)
            if !row.isNull(6) { token.pointee.lastUsedSeconds = UInt32(clamping: row.integer(6) / 1_000) }
        }
        return projects
    }

    /// Gives each token that was loaded its application and the name of its project.
    private func joinTokens(_ projects: NameTable) throws {
        // A registration and its first token have one id: the application is mostly the next one or the same.
        var application: UInt32 = 1
        var nameOfProject = [UInt32](repeating: 0, count: Int(projects.names.end))
        for slot in 1..<max(1, tokens.end) {
            let token = tokens[slot]
            let id = UInt64(token.pointee.priorOfApplication) << 32 | UInt64(token.pointee.nextOfApplication)
            application = self.slot(ofApplication: Int64(bitPattern: id), near: application)
            guard application != 0 else { throw Self.damaged("token", token.pointee.id) }
            token.pointee.application = application
            let project = Int(token.pointee.project)
            if nameOfProject[project] == 0 {
                nameOfProject[project] = names.retain(projects.bytes(token.pointee.project))
            } else {
                names.retain(slot: nameOfProject[project])
            }
            token.pointee.project = nameOfProject[project]
        }
    }

    /// How many slots ahead the memory is fetched that an insertion will look at: each is somewhere else.
    private static let fetchedAhead: UInt32 = 16

    private func pairTokens() {
        let end = tokens.end
        pairs.reserve(Int(end))
        for slot in 1..<max(1, end) {
            if slot + Self.fetchedAhead < end { prefetchPair(slot + Self.fetchedAhead) }
            pairToken(slot)
        }
    }

    /// - Throws: `StoreError` where a digest is there twice.
    private func insertDigests() throws {
        let (end, endOfPrevious) = (tokens.end, previous.end)
        digests.reserve(Int(end) + Int(endOfPrevious))
        for slot in 1..<max(1, end) {
            if slot + Self.fetchedAhead < end {
                digests.prefetch(tokens[slot + Self.fetchedAhead].pointee.digest.words.0)
            }
            guard find(tokens[slot].pointee.digest).raw == 0 else {
                throw Self.damaged("token", tokens[slot].pointee.id)
            }
            insertDigest(ofToken: slot)
        }
        for slot in 1..<max(1, endOfPrevious) {
            if slot + Self.fetchedAhead < endOfPrevious {
                digests.prefetch(previous[slot + Self.fetchedAhead].pointee.digest.words.0)
            }
            guard find(previous[slot].pointee.digest).raw == 0 else {
                throw Self.damaged("token", tokens[previous[slot].pointee.token].pointee.id)
            }
            insertDigest(ofPrevious: slot)
        }
    }

    /// The slot of the application with an id, or 0: `near`, the one after it, or by halves.
    private func slot(ofApplication id: Int64, near: UInt32) -> UInt32 {
        let end = applications.end
        if near > 0 && near < end && applications[near].pointee.id == id { return near }
        if near + 1 < end && applications[near + 1].pointee.id == id { return near + 1 }
        var low: UInt32 = 1
        var high = end
        while low < high {
            let middle = low + (high - low) / 2
            if applications[middle].pointee.id < id { low = middle + 1 } else { high = middle }
        }
        return low < end && applications[low].pointee.id == id ? low : 0
    }

    private static func readHead(_ connection: OpaquePointer) throws -> AuditHead {
        var head = AuditHead(sequence: 0, chain: AuditChain.start, time: Instant(milliseconds: 0))
        let query = try RawStatement(
            """
            SELECT * FROM (SELECT sequence, chain, time FROM audit ORDER BY sequence DESC LIMIT 1)
            UNION ALL SELECT * FROM (SELECT sequence, chain, time FROM audit_mark ORDER BY sequence DESC LIMIT 1)
            ORDER BY sequence DESC LIMIT 1
            """, on: connection)
        try query.forEachRow { row in
            guard let chain = TokenDigest(bytes: row.bytes(1)) else { throw damaged("audit", row.integer(0)) }
            // There has to be room for those that follow.
            guard row.integer(0) < idsMax / 2 else { throw damaged("audit", row.integer(0)) }
            head = AuditHead(
                sequence: row.integer(0), chain: chain, time: Instant(milliseconds: row.integer(2)))
        }
        return head
    }

    private static func damaged(_ table: String, _ id: Int64) -> StoreError {
        StoreError(
            .damaged,
            "The database tokens.db is damaged at row \(id) of \(table); stop the daemon and restore a backup.")
    }

    /// Takes over when another index of the same run saw these tokens used, which is not in the tables yet.
    func keepUses(of old: TokenIndex, _ slots: [UInt32]) {
        for slot in slots {
            let token = old.tokens[slot].pointee
            let entry = find(token.digest)
            guard entry.raw != 0, !entry.isPrevious else { continue }
            let known = tokens[entry.slot]
            known.pointee.lastUsedSeconds = max(known.pointee.lastUsedSeconds, token.lastUsedSeconds)
            used.mark(entry.slot)
        }
    }

    /// Takes over what another index of the same run knows and the tables do not: how long a grace lasts by
    /// CLOCK_BOOTTIME.
    func keepDeadlines(of old: TokenIndex) {
        for slot in 1..<max(1, previous.end) {
            let token = previous[slot]
            guard token.pointee.token != 0 else { continue }
            let entry = old.find(token.pointee.digest)
            guard entry.raw != 0, entry.isPrevious else { continue }
            token.pointee.bootDeadlineMilliseconds = min(
                token.pointee.bootDeadlineMilliseconds, old.previous[entry.slot].pointee.bootDeadlineMilliseconds)
        }
    }
}

private final class SideBySide: @unchecked Sendable {
    // @unchecked: each body is run once, by one thread, which alone touches its place of `errors`; what the bodies touch
    // is for `bothAtOnce`'s caller to keep apart. Who reads `errors` waits for both.
    private let bodies: [() throws -> Void]
    let errors: UnsafeMutableBufferPointer<StoreError?>

    init(bodies: [() throws -> Void]) {
        self.bodies = bodies
        errors = .allocate(capacity: bodies.count)
        errors.initialize(repeating: nil)
    }

    deinit {
        errors.deinitialize()
        errors.deallocate()
    }

    func run(_ number: Int) {
        do { try bodies[number]() } catch { errors[number] = .any(error) }
    }
}
