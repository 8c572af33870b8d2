internal import GRDBSQLite
internal import TokenModel

/// How a commit ended.
enum CommitResult {
    case committed
    /// Its commit frame is not in the log: rolled back, nothing happened.
    case notCommitted(StoreError)
    /// It may be in the log, and may be found there after a restart.
    case unknown(StoreError)
}

/// The writer's statements, prepared once. A changing one names the row by its id and by the digest that the decision
/// saw, and must change exactly that row: the index and the table check each other at each write.
final class WriterStatements {
    let connection: OpaquePointer
    private let beginImmediate: RawStatement
    private let commitOpen: RawStatement
    private let insertApplication: RawStatement
    private let deleteApplication: RawStatement
    private let insertToken: RawStatement
    private let updateToken: RawStatement
    private let deleteToken: RawStatement
    private let updateLastUsed: RawStatement
    private let insertAudit: [(rows: Int, statement: RawStatement)]

    init(_ connection: OpaquePointer) throws {
        func prepare(_ sql: String) throws -> RawStatement { try RawStatement(sql, on: connection) }
        self.connection = connection
        // They are two fifths of what a row of the audit costs SQLite. What a row's types leave open is asserted here instead.
        sqlite3_exec(connection, "PRAGMA ignore_check_constraints = ON", nil, nil, nil)
        beginImmediate = try prepare("BEGIN IMMEDIATE")
        commitOpen = try prepare("COMMIT")
        insertApplication = try prepare(
            "INSERT INTO application (id, name, registration_id, registered_at) VALUES (?, ?, ?, ?)")
        deleteApplication = try prepare("DELETE FROM application WHERE id = ?")
        insertToken = try prepare(
            """
            INSERT INTO token (id, application_id, project_code, digest, issued_at, expires_at, previous)
            VALUES (?, ?, ?, ?, ?, ?, ?)
            """)
        updateToken = try prepare(
            """
            UPDATE token SET digest = ?3, issued_at = ?4, expires_at = ?5, previous = ?6,
              last_used_at = CASE WHEN digest = ?3 THEN last_used_at END
            WHERE id = ?1 AND digest = ?2
            """)
        deleteToken = try prepare("DELETE FROM token WHERE id = ? AND digest = ?")
        updateLastUsed = try prepare("UPDATE token SET last_used_at = ? WHERE id = ? AND digest = ?")
        insertAudit = try Self.rowsTogether.map { ($0, try prepare(Self.insertAudit(rows: $0))) }
    }

    /// How many rows of the audit a statement of theirs inserts: each as many as are left, at the most.
    private static let rowsTogether = [16, 8, 4, 2, 1]
    private static let auditValues: Int32 = 18

    /// OR FAIL: by itself SQLite would keep what it needs to undo the rows before one that it refuses. They go with the
    /// transaction.
    private static func insertAudit(rows: Int) -> String {
        let row = "(?, ?, ?, 'success', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        return """
            INSERT OR FAIL INTO audit (sequence, time, event, outcome, registration_id, application, project, principal, uid,
              gid, pid, unit, fingerprint, ended, shortened, chain, comm, invocation_id, lapsed)
            VALUES \(Array(repeating: row, count: rows).joined(separator: ", "))
            """
    }

    func begin() throws { try beginImmediate.run() }

    /// Commits, and says what is known where that fails.
    ///
    /// sqlite.org/rescode.html: FULL, READONLY, BUSY and IOERR_WRITE come while frames are written. Frames count only
    /// with a whole commit frame behind them, and it is the last to be written, so nothing happened. Any other error
    /// (IOERR_FSYNC above all) may come after that.
    func commit() -> CommitResult {
        guard let failure = commitOpen.failureOfRun() else { return .committed }
        let (extended, error) = failure
        let isKnown: Bool
        switch extended & 0xFF {
        case SQLITE_FULL, SQLITE_READONLY, SQLITE_BUSY, SQLITE_CONSTRAINT: isKnown = true
        default: isKnown = extended == SQLITE_IOERR | (3 << 8)  // SQLITE_IOERR_WRITE, a macro that Swift cannot read
        }
        return isKnown && rollback() ? .notCommitted(error) : .unknown(error)
    }

    /// Ends a transaction that may be open; some errors have rolled it back already.
    /// - Returns: whether none is open now.
    func rollback() -> Bool {
        if sqlite3_get_autocommit(connection) == 0 { sqlite3_exec(connection, "ROLLBACK", nil, nil, nil) }
        return sqlite3_get_autocommit(connection) != 0
    }

    /// Writes the first page as it is. What an UPDATE leaves as it was, SQLite would not write at all.
    func rewriteHeader() throws {
        guard sqlite3_exec(connection, "PRAGMA user_version = 0", nil, nil, nil) == SQLITE_OK else {
            throw RawStatement.error(sqlite3_extended_errcode(connection), connection)
        }
    }

    /// What the CHECKs of `token` say and its types do not (`Schema`).
    private static func require(_ held: HeldToken) throws {
        try require(
            (0...Instant.lastWritable).contains(held.issuedAt.milliseconds) && held.expiresAt > held.issuedAt
                && (held.expiresAt.milliseconds - held.issuedAt.milliseconds) % 1_000 == 0
                && held.previous.count <= TokenLimits.maxPrevious)
    }

    private static func require(_ holds: Bool) throws {
        guard holds else { throw StoreError.sqlite(SQLITE_CONSTRAINT) }
    }

    func insert(_ application: ApplicationName, _ stored: StoredApplication, registeredAt: Instant) throws {
        insertApplication.bind(1, stored.id)
        insertApplication.bind(2, application.text)
        AuditBlobs.withBytes(stored.registrationID) { insertApplication.bind(3, $0) }
        insertApplication.bind(4, registeredAt.milliseconds)
        try insertApplication.run()
    }

    func delete(_ application: StoredApplication) throws {
        deleteApplication.bind(1, application.id)
        try deleteApplication.runChangingOneRow()
    }

    func write(_ token: PlannedChange.Token, of application: StoredApplication) throws {
        guard let before = token.before else {
            if let after = token.after { try insert(after, application: application, project: token.project) }
            return
        }
        if let after = token.after { try update(before, to: after.held) } else { try delete(before) }
    }

    func insert(_ token: StoredToken, application: StoredApplication, project: ProjectCode) throws {
        try Self.require(token.held)
        insertToken.bind(1, token.id)
        insertToken.bind(2, application.id)
        insertToken.bind(3, project.text)
        insertToken.bind(4, token.held.digest)
        insertToken.bind(5, token.held.issuedAt.milliseconds)
        insertToken.bind(6, token.held.expiresAt.milliseconds)
        AuditBlobs.withBytes(token.held.previous) { insertToken.bind(7, $0) }
        try insertToken.run()
    }

    func update(_ before: StoredToken, to held: HeldToken) throws {
        try Self.require(held)
        updateToken.bind(1, before.id)
        updateToken.bind(2, before.held.digest)
        updateToken.bind(3, held.digest)
        updateToken.bind(4, held.issuedAt.milliseconds)
        updateToken.bind(5, held.expiresAt.milliseconds)
        AuditBlobs.withBytes(held.previous) { updateToken.bind(6, $0) }
        try updateToken.runChangingOneRow()
    }

    func delete(_ token: StoredToken) throws {
        deleteToken.bind(1, token.id)
        deleteToken.bind(2, token.held.digest)
        try deleteToken.runChangingOneRow()
    }

    func setLastUsed(_ moment: Instant, id: Int64, digest: TokenDigest) throws {
        updateLastUsed.bind(1, moment.milliseconds)
        updateLastUsed.bind(2, id)
        updateLastUsed.bind(3, digest)
        try updateLastUsed.runChangingOneRow()
    }

    /// Inserts rows of the audit, as many with each statement as it takes.
    func insert(_ records: ArraySlice<AuditRecord>) throws {
        var next = records.startIndex
        for (rows, statement) in insertAudit {
            while records.endIndex - next >= rows {
                for row in 0..<rows {
                    try Self.bind(records[next + row], to: statement, after: Int32(row) * Self.auditValues)
                }
                try statement.run()
                next += rows
            }
        }
    }

    private static func bind(_ record: AuditRecord, to statement: RawStatement, after bound: Int32) throws {
        try require(
            (record.project == nil) == (record.event == .unregistered)
                && (record.fingerprint == nil) == (record.event == .unregistered || record.event == .revoked))
        statement.bind(bound + 1, record.sequence)
        statement.bind(bound + 2, record.time.milliseconds)
        statement.bind(bound + 3, record.event.rawValue)
        AuditBlobs.withBytes(record.registrationID) { statement.bind(bound + 4, $0) }
        statement.bind(bound + 5, record.application.text)
        statement.bind(bound + 6, record.project?.text)
        statement.bind(bound + 7, record.principal.text)
        statement.bind(bound + 8, Int64(record.uid))
        statement.bind(bound + 9, Int64(record.gid))
        statement.bind(bound + 10, Int64(record.process.pid))
        statement.bind(bound + 11, record.process.unit)
        if let fingerprint = record.fingerprint {
            AuditBlobs.withBytes(fingerprint) { statement.bind(bound + 12, $0) }
        } else {
            statement.bindNull(bound + 12)
        }
        AuditBlobs.withBytes(record.ended) { statement.bind(bound + 13, $0) }
        AuditBlobs.withBytes(record.shortened) { statement.bind(bound + 14, $0) }
        statement.bind(bound + 15, record.chain)
        statement.bind(bound + 16, record.process.comm)
        statement.bind(bound + 17, record.process.invocationID)
        if record.lapsed.isEmpty {
            statement.bindNull(bound + 18)
        } else {
            AuditBlobs.withBytes(record.lapsed) { statement.bind(bound + 18, $0) }
        }
    }
}
