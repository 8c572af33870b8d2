internal import GRDB
internal import GRDBSQLite
internal import TokenModel

/// Where the audit stands: the last row's number and its chain value.
struct AuditHead: Equatable {
    var sequence: Int64
    var chain: TokenDigest
}

extension TokenIndex {
    /// Builds an index from the tables, checking each row.
    /// - Throws: `StoreError`, `damaged` where a row breaks a rule.
    static func load(_ database: TokenDatabase, asOf moment: Moment) throws -> (TokenIndex, AuditHead) {
        do {
            return try database.pool.read { db in
                guard let connection = db.sqliteConnection else {
                    throw StoreError(.invariant, "The database is closed.")
                }
                let index = TokenIndex()
                let ids = try index.loadApplications(connection)
                try index.loadTokens(connection, applications: ids, asOf: moment)
                return (index, try readHead(connection))
            }
        } catch {
            throw StoreError.any(error)
        }
    }

    /// - Returns: the ids in ascending order; the application of the n-th has slot n + 1.
    private func loadApplications(_ connection: OpaquePointer) throws -> [Int64] {
        var ids: [Int64] = []
        let query = try RawStatement(
            "SELECT id, name, registration_id FROM application ORDER BY id", on: connection)
        try query.forEachRow { row in
            let name = row.bytes(1)
            guard NamePattern.matches(name, allowsBackslash: true), names.find(name) == 0 || application(name) == 0,
                let registrationID = AuditBlobs.registrationID(row.bytes(2))
            else { throw Self.damaged("application", row.integer(0)) }
            ids.append(row.integer(0))
            let stored = StoredApplication(id: row.integer(0), registrationID: registrationID)
            let slot = insertApplication(name: name, stored)
            precondition(Int(slot) == ids.count, "a new index hands its slots out in order")
        }
        return ids
    }

    private func application(_ name: UnsafeRawBufferPointer) -> UInt32 {
        names.names[names.find(name)].pointee.application
    }

    private func loadTokens(_ connection: OpaquePointer, applications ids: [Int64], asOf moment: Moment) throws {
        let query = try RawStatement(
            """
            SELECT id, application_id, project_code, digest, issued_at, expires_at, last_used_at, previous
            FROM token ORDER BY id
            """, on: connection)
        // A registration and its first token have one id: the application is mostly the next one or the same.
        var place = 0
        try query.forEachRow { row in
            let id = row.integer(0)
            let applicationID = row.integer(1)
            if place + 1 < ids.count && ids[place + 1] == applicationID { place += 1 }
            if place >= ids.count || ids[place] != applicationID { place = Self.search(ids, applicationID) }
            let project = row.bytes(2)
            let issuedAt = row.integer(4)
            let expiresAt = row.integer(5)
            guard place < ids.count, ids[place] == applicationID, id > 0,
                NamePattern.matches(project, allowsBackslash: false), let digest = TokenDigest(bytes: row.bytes(3)),
                issuedAt >= 0, issuedAt < 1 << 48, expiresAt > issuedAt, (expiresAt - issuedAt) % 1_000 == 0,
                (expiresAt - issuedAt) / 1_000 <= UInt32.max, find(digest).raw == 0,
                let previous = AuditBlobs.previous(row.bytes(7), asOf: moment)
            else { throw Self.damaged("token", id) }
            let held = HeldToken(
                digest: digest, issuedAt: Instant(milliseconds: issuedAt),
                expiresAt: Instant(milliseconds: expiresAt), previous: previous)
            let slot = insertToken(
                application: UInt32(place + 1), project: project, StoredToken(id: id, held: held))
            if !row.isNull(6) {
                tokens[slot].pointee.lastUsedSeconds = UInt32(clamping: row.integer(6) / 1_000)
            }
        }
    }

    private static func readHead(_ connection: OpaquePointer) throws -> AuditHead {
        var head = AuditHead(sequence: 0, chain: AuditChain.start)
        let query = try RawStatement(
            "SELECT sequence, chain FROM audit ORDER BY sequence DESC LIMIT 1", on: connection)
        try query.forEachRow { row in
            guard let chain = TokenDigest(bytes: row.bytes(1)) else { throw damaged("audit", row.integer(0)) }
            head = AuditHead(sequence: row.integer(0), chain: chain)
        }
        return head
    }

    /// The first place whose id is not below `id`.
    private static func search(_ ids: [Int64], _ id: Int64) -> Int {
        var low = 0
        var high = ids.count
        while low < high {
            let middle = (low + high) / 2
            if ids[middle] < id { low = middle + 1 } else { high = middle }
        }
        return low
    }

    private static func damaged(_ table: String, _ id: Int64) -> StoreError {
        StoreError(
            .damaged,
            "The database tokens.db is damaged at row \(id) of \(table); stop the daemon and restore a backup.")
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
