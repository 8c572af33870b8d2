internal import CLinux
internal import GRDBSQLite
internal import Glibc
public import TokenModel

/// A database file that is only read: beside a daemon that serves it, or while none does.
///
/// Not for several threads at once.
public final class DatabaseFile {
    private let connection: OpaquePointer
    private let hasMarks: Bool
    private let hasProcesses: Bool
    private let owner: UInt32

    /// How long to wait for a lock that a daemon holds at its start and end.
    private static let busyMilliseconds: Int32 = 10_000

    /// Opens the database of a state directory.
    /// - Throws: `StoreError`, whose sentence says what to do.
    public convenience init(stateDirectory: String) throws { try self.init(path: stateDirectory + "/tokens.db") }

    /// Opens a database, or a backup of one.
    /// - Throws: `StoreError`.
    public init(path: String) throws {
        var status = stat()
        guard stat(path, &status) == 0 else { throw StoreError.system("\(path) cannot be read", errno: errno) }
        var opened: OpaquePointer?
        let result = sqlite3_open_v2(path, &opened, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, nil)
        guard result == SQLITE_OK, let opened else {
            sqlite3_close_v2(opened)
            throw StoreError.sqlite(result, path: path)
        }
        connection = opened
        owner = status.st_uid
        sqlite3_busy_timeout(opened, Self.busyMilliseconds)
        do {
            guard try Self.integer("PRAGMA application_id", opened) == Schema.applicationID else {
                throw StoreError(.damaged, "\(path) is no database of scaem-tokend.")
            }
            hasMarks = try Self.integer("SELECT count(*) FROM sqlite_schema WHERE name = 'audit_mark'", opened) == 1
            hasProcesses =
                try Self.integer("SELECT count(*) FROM pragma_table_info('audit') WHERE name = 'comm'", opened) == 1
        } catch {
            sqlite3_close_v2(opened)
            throw StoreError.any(error).naming(path)
        }
    }

    deinit { sqlite3_close_v2(connection) }

    /// Runs reads on one state of the database, whatever is committed meanwhile.
    public func reading<Result>(_ body: () throws -> Result) throws -> Result {
        try execute("BEGIN")
        defer { sqlite3_exec(connection, "ROLLBACK", nil, nil, nil) }
        return try body()
    }

    /// Every record and mark that is kept, in the order of their numbers.
    /// - Throws: `StoreError`, or what `body` throws.
    public func forEachAuditEntry(after sequence: Int64 = 0, _ body: (AuditEntry) throws -> Void) throws {
        var marks = try auditMarks().filter { $0.last > sequence }[...]
        let query = try RawStatement(
            (hasProcesses ? LedgerReader.recordColumns : LedgerReader.recordColumnsOfVersion2)
                + " FROM audit WHERE sequence > ? ORDER BY sequence", on: connection)
        query.bind(1, sequence)
        try query.forEachRow { row in
            let record = try LedgerReader.record(row)
            while let mark = marks.first, mark.last < record.sequence {
                marks.removeFirst()
                try body(.mark(mark))
            }
            try body(.record(record))
        }
        for mark in marks { try body(.mark(mark)) }
    }

    /// Every record of an ended token that was presented, the oldest first. They are no part of the chain.
    public func forEachPresentation(_ body: (EndedPresentation) throws -> Void) throws {
        guard hasMarks else { return }
        let query = try RawStatement(
            """
            SELECT time, fingerprint, principal, uid, gid, pid, unit, count, \(hasProcesses ? "comm, invocation_id" : "NULL, NULL")
            FROM ended_presented ORDER BY id
            """, on: connection)
        try query.forEachRow { row in
            guard let fingerprint = AuditBlobs.fingerprints(row.bytes(1))?.first else {
                throw StoreError.sqlite(SQLITE_CORRUPT)
            }
            try body(
                EndedPresentation(
                    time: Instant(milliseconds: row.integer(0)), fingerprint: fingerprint,
                    principal: .recorded(row.text(2)), uid: UInt32(truncatingIfNeeded: row.integer(3)),
                    gid: UInt32(truncatingIfNeeded: row.integer(4)),
                    process: LedgerReader.process(row, pid: 5, unit: 6, comm: 8, invocationID: 9),
                    count: row.integer(7)))
        }
    }

    /// The marks, in the order of their numbers.
    public func auditMarks() throws -> [AuditMark] {
        guard hasMarks else { return [] }
        var marks: [AuditMark] = []
        let query = try RawStatement(LedgerReader.marks, on: connection)
        try query.forEachRow { marks.append(try LedgerReader.mark($0)) }
        return marks
    }

    /// The last number that was given, and the chain value there; 0 where nothing was recorded yet.
    public func auditHead() throws -> (sequence: Int64, chain: TokenDigest) {
        var head = (sequence: Int64(0), chain: AuditChain.start)
        let query = try RawStatement("SELECT sequence, chain FROM audit ORDER BY sequence DESC LIMIT 1", on: connection)
        try query.forEachRow { row in
            guard let chain = TokenDigest(bytes: row.bytes(1)) else { throw StoreError.sqlite(SQLITE_CORRUPT) }
            head = (row.integer(0), chain)
        }
        if let mark = try auditMarks().last, mark.last > head.sequence { head = (mark.last, mark.chain) }
        return head
    }

    /// Which database the journal's records are of, all up to which number are known to be in it, and the user whose
    /// records they are: the file's owner.
    public func journalPosition() throws -> (database: String, confirmed: Int64, uid: UInt32)? {
        guard hasMarks else { return nil }
        var position: (String, Int64, UInt32)?
        let query = try RawStatement("SELECT database, confirmed FROM audit_journal", on: connection)
        try query.forEachRow { position = ($0.text(0), $0.integer(1), owner) }
        return position
    }

    // MARK: Checks

    /// What is wrong with the database: its pages, its references, its rows, its audit. Empty where nothing is.
    /// - Throws: `StoreError` where the disk does not let it be read.
    public func check() throws -> (problems: [String], records: Int64, tokens: Int64) {
        try reading {
            var problems: [String] = []
            try texts("PRAGMA integrity_check(20)").filter { $0 != "ok" }.forEach { problems.append("the file: \($0)") }
            // Rows of a file that is broken may send a reader anywhere.
            guard problems.isEmpty else { return (problems, 0, 0) }
            try texts("PRAGMA foreign_key_check").forEach { problems.append("a row of \($0) refers to none") }
            try texts("SELECT CAST(sequence AS TEXT) FROM audit WHERE outcome <> 'success'").forEach {
                problems.append("the audit: record \($0) says another outcome than success, which alone is recorded")
            }
            var verifier = ChainVerifier(isOneAudit: true)
            var told = AuditTold()
            try forEachAuditEntry { entry in
                verifier.follow(entry)
                if let problem = told.follow(entry) { problems.append("the audit: \(problem)") }
            }
            try checkApplications(&told, &problems)
            let tokens = try checkTokens(told, &problems)
            problems += verifier.problems.map { "the audit: \($0)" }
            return (problems, verifier.rows, tokens)
        }
    }

    /// Whether each application's row can be loaded as the index loads it, and is as the audit says.
    private func checkApplications(_ told: inout AuditTold, _ problems: inout [String]) throws {
        let query = try RawStatement("SELECT id, name, registration_id FROM application", on: connection)
        try query.forEachRow { row in
            guard let name = ApplicationName(bytes: row.bytes(1)),
                let id = AuditBlobs.registrationID(row.bytes(2)), (1..<TokenIndex.idsMax).contains(row.integer(0))
            else { return problems.append("row \(row.integer(0)) of application is malformed") }
            if let problem = told.check(id, name) {
                problems.append("row \(row.integer(0)) of application \(problem)")
            }
        }
        problems += told.withoutApplication()
    }

    /// Whether each token's row can be loaded as the index loads it, and is as the audit says.
    private func checkTokens(_ told: AuditTold, _ problems: inout [String]) throws -> Int64 {
        let moment = Moment(wall: Instant(milliseconds: 0), bootMilliseconds: 0)
        var told = told
        var count: Int64 = 0
        var seen = Set<TokenDigest>()
        let query = try RawStatement(
            """
            SELECT token.id, digest, previous, project_code, registration_id, issued_at, expires_at FROM token
            JOIN application ON application.id = application_id
            """, on: connection)
        try query.forEachRow { row in
            count += 1
            guard let digest = TokenDigest(bytes: row.bytes(1)),
                let previous = AuditBlobs.previous(row.bytes(2), asOf: moment),
                let project = ProjectCode(bytes: row.bytes(3)), let id = AuditBlobs.registrationID(row.bytes(4)),
                (1..<TokenIndex.idsMax).contains(row.integer(0)),
                TokenIndex.holds(issuedAt: row.integer(5), expiresAt: row.integer(6))
            else { return problems.append("row \(row.integer(0)) of token is malformed") }
            for digest in [digest] + previous.map(\.digest) where !seen.insert(digest).inserted {
                problems.append("row \(row.integer(0)) of token holds a token that another row holds too")
            }
            problems += told.check(
                id, project, [digest.fingerprint] + previous.map(\.digest.fingerprint)
            ).map { "row \(row.integer(0)) of token \($0)" }
        }
        problems += told.withoutRow()
        return count
    }

    // MARK: Copies

    /// Writes a consistent copy, compacted, into an empty file. Changes go on meanwhile; what is committed after the
    /// first page was read is not in it.
    /// - Throws: `StoreError`.
    func copy(into path: String) throws {
        let statement = try RawStatement("VACUUM INTO ?", on: connection)
        statement.bind(1, path)
        try statement.run()
    }

    // MARK: Inside

    private func execute(_ sql: String) throws {
        guard sqlite3_exec(connection, sql, nil, nil, nil) == SQLITE_OK else {
            throw RawStatement.error(sqlite3_extended_errcode(connection), connection)
        }
    }

    private func texts(_ sql: String) throws -> [String] {
        var texts: [String] = []
        let query = try RawStatement(sql, on: connection)
        try query.forEachRow { texts.append($0.text(0)) }
        return texts
    }

    private static func integer(_ sql: String, _ connection: OpaquePointer) throws -> Int64 {
        var value: Int64 = 0
        let query = try RawStatement(sql, on: connection)
        try query.forEachRow { value = $0.integer(0) }
        return value
    }
}

extension StoreError {
    /// The same error of a file that is not the database that is served.
    func naming(_ path: String) -> StoreError {
        code == .damaged && sqliteCode != 0
            ? StoreError(.damaged, "\(path) is damaged, or no database.", sqliteCode: sqliteCode, errno: errno) : self
    }

    static func sqlite(_ result: Int32, path: String) -> StoreError {
        StoreError.sqlite(result).naming(path)
    }
}
