internal import GRDBSQLite
internal import TokenModel

/// What a restore changes in the copy of the backup, in one transaction.
enum RestoredRows {
    private struct Row {
        let id: Int64
        let digest: TokenDigest
        let issuedAt: Int64
        let expiresAt: Int64
        let previous: [PreviousToken]
        let registrationID: RegistrationID
    }

    /// Ends what was ended, and moves ends forward that were moved.
    /// - Returns: how many tokens are not good any more.
    static func end(_ since: EndedSince, on connection: OpaquePointer) throws -> Int {
        let delete = try RawStatement("DELETE FROM token WHERE id = ?", on: connection)
        let update = try RawStatement("UPDATE token SET expires_at = ?2, previous = ?3 WHERE id = ?1", on: connection)
        var count = 0
        for row in try rows(connection) {
            guard !since.unregistered.contains(row.registrationID), !since.ended.contains(row.digest.fingerprint),
                let expiresAt = expiry(row, since)
            else {
                count += 1 + row.previous.count
                delete.bind(1, row.id)
                try delete.runChangingOneRow()
                continue
            }
            let kept = row.previous.filter { !since.ended.contains($0.digest.fingerprint) }.map { token in
                PreviousToken(
                    digest: token.digest, issuedAt: token.issuedAt,
                    expiresAt: min(token.expiresAt, since.shortened[token.digest.fingerprint] ?? token.expiresAt),
                    bootDeadlineMilliseconds: token.bootDeadlineMilliseconds)
            }
            guard expiresAt != row.expiresAt || kept != row.previous else { continue }
            count += row.previous.count - kept.count
            update.bind(1, row.id)
            update.bind(2, expiresAt)
            AuditBlobs.withBytes(kept) { update.bind(3, $0) }
            try update.runChangingOneRow()
        }
        try unregister(since, on: connection)
        return count
    }

    /// A lifetime is whole seconds, so a shortened one ends up to a second early rather than late; nil where nothing
    /// of it is left.
    private static func expiry(_ row: Row, _ since: EndedSince) -> Int64? {
        guard let end = since.shortened[row.digest.fingerprint], end.milliseconds < row.expiresAt else {
            return row.expiresAt
        }
        let seconds = (end.milliseconds - row.issuedAt) / 1_000
        return seconds > 0 ? row.issuedAt + seconds * 1_000 : nil
    }

    private static func rows(_ connection: OpaquePointer) throws -> [Row] {
        let moment = Moment(wall: Instant(milliseconds: 0), bootMilliseconds: 0)
        var rows: [Row] = []
        let query = try RawStatement(
            """
            SELECT token.id, digest, issued_at, expires_at, previous, registration_id FROM token
            JOIN application ON application.id = application_id
            """, on: connection)
        try query.forEachRow { row in
            guard let digest = TokenDigest(bytes: row.bytes(1)),
                let previous = AuditBlobs.previous(row.bytes(4), asOf: moment),
                let id = AuditBlobs.registrationID(row.bytes(5))
            else { throw StoreError.sqlite(SQLITE_CORRUPT) }
            rows.append(
                Row(
                    id: row.integer(0), digest: digest, issuedAt: row.integer(2), expiresAt: row.integer(3),
                    previous: previous, registrationID: id))
        }
        return rows
    }

    private static func unregister(_ since: EndedSince, on connection: OpaquePointer) throws {
        let delete = try RawStatement("DELETE FROM application WHERE registration_id = ?", on: connection)
        for id in since.unregistered {
            AuditBlobs.withBytes(id) { delete.bind(1, $0) }
            try delete.run()
        }
    }

    /// Puts a record or mark in as it was.
    /// - Returns: where the audit stands then.
    static func insert(
        _ entry: AuditEntry, _ statements: WriterStatements
    ) throws -> (sequence: Int64, chain: TokenDigest) {
        switch entry {
        case .record(let record):
            try statements.insert([record])
            return (record.sequence, record.chain)
        case .mark(let mark):
            try AuditRows(statements).insert(mark)
            return (mark.last, mark.chain)
        }
    }
}
