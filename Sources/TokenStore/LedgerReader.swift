internal import GRDB
internal import GRDBSQLite
internal import TokenModel

/// Reads that go to the tables, each in one short transaction on a connection of GRDB's pool.
enum LedgerReader {
    /// A row of `list` as it stands in the tables.
    struct Stored {
        let registrationID: RegistrationID
        let application: ApplicationName
        let project: ProjectCode
        let lastUsedAt: Instant?
        let held: HeldToken

        /// With what only the index knows: the newest use, and by CLOCK_BOOTTIME whether a grace is over.
        func row(_ index: TokenIndex, at now: Moment) -> ListRow {
            var lastUsed = lastUsedAt
            let entry = index.find(held.digest)
            if entry.raw != 0 && !entry.isPrevious {
                let seconds = Int64(index.tokens[entry.slot].pointee.lastUsedSeconds)
                if seconds > lastUsed?.seconds ?? 0 { lastUsed = Instant(milliseconds: seconds * 1_000) }
            }
            // Whole seconds are noted of a use: it was not before the token was made.
            lastUsed = lastUsed.map { max($0, held.issuedAt) }
            let alive = held.previous.filter { token in
                let entry = index.find(token.digest)
                let known = entry.raw != 0 && entry.isPrevious ? index.previous[entry.slot].pointee.model : token
                return known.isAlive(at: now)
            }
            return ListRow(
                registrationID: registrationID, application: application, project: project, issuedAt: held.issuedAt,
                expiration: held.expiresAt, lastUsedAt: lastUsed, isActive: held.isAlive(at: now),
                fingerprint: held.digest.fingerprint,
                previous: alive.map { ShortenedToken(fingerprint: $0.digest.fingerprint, expiration: $0.expiresAt) })
        }
    }

    /// A query with what is bound to it, in order.
    struct Selection {
        var sql: String
        var arguments: [(RawStatement, Int32) -> Void] = []

        mutating func and(_ condition: String, _ texts: String...) {
            sql += " AND " + condition
            for text in texts { arguments.append { $0.bind($1, text) } }
        }

        mutating func bind(_ number: Int64) { arguments.append { $0.bind($1, number) } }
    }

    /// One page. What is looked for may be rare: so at most so many rows are walked, whatever they hold, and the page says
    /// how far that came.
    static func list(
        _ query: ListQuery, walking most: Int, pool: DatabasePool?
    ) throws -> (rows: [Stored], walkedTo: ListQuery.Position?) {
        let selection = selection(query, walking: most)
        var rows: [Stored] = []
        var walked = 0
        var walkedTo: ListQuery.Position?
        try read(walking: pool, selection.sql, selection.arguments) { row in
            walked += 1
            if matches(row, query) { rows.append(try stored(row)) }
            if walked == most { walkedTo = try position(row) }
            return rows.count < query.limit
        }
        return (rows, walkedTo)
    }

    private static func matches(_ row: RawRow, _ query: ListQuery) -> Bool {
        if let project = query.project, !row.bytes(2).elementsEqual(project.text.utf8) { return false }
        if let before = query.expiresBefore, row.integer(5) >= before.milliseconds { return false }
        return true
    }

    private static func position(_ row: RawRow) throws -> ListQuery.Position {
        guard let application = ApplicationName(bytes: row.bytes(0)), let project = ProjectCode(bytes: row.bytes(2))
        else { throw StoreError.sqlite(SQLITE_CORRUPT) }
        return ListQuery.Position(application: application, project: project)
    }

    static func selection(_ query: ListQuery, walking most: Int) -> Selection {
        // Both orders are those of unique indexes with the applications outside: no sort, and a page ends early.
        // CROSS JOIN keeps SQLite from turning the loops round (sqlite.org/optoverview.html#crossjoin).
        var selection = Selection(
            sql: """
                SELECT application.name, registration_id, project_code, digest, issued_at, expires_at, last_used_at,
                  previous
                FROM application CROSS JOIN token ON token.application_id = application.id WHERE true
                """)
        switch query.scope {
        case .all: break
        case .application(let name): selection.and("application.name = ?", name.text)
        case .owner(let principal):
            // All that begins with `alice/` lies between `alice/` and `alice0`, the byte after the slash; `alice`
            // itself stands before names like `alice-x` that are not hers.
            selection.and(
                "(application.name = ? OR (application.name > ? AND application.name < ?))", principal.text,
                principal.text + "/", principal.text + "0")
            selection.and("application.name >= ? AND application.name < ?", principal.text, principal.text + "0")
        }
        if let after = query.after {
            selection.and("application.name >= ?", after.application.text)
            selection.and("(application.name > ? OR project_code > ?)", after.application.text, after.project.text)
        }
        // One application and one project are one row of an index; else the rows are walked, and `matches` looks at them.
        if let project = query.project, case .application = query.scope {
            selection.and("project_code = ?", project.text)
        }
        selection.sql += " ORDER BY application.name, project_code LIMIT ?"
        selection.bind(Int64(most))
        return selection
    }

    /// What the tokens that ended may take of a page of records before it ends early: some 8,000 of them. An `unregister`
    /// ends thousands at once.
    private static let endedBytes = 65_536

    /// The next records, one at least where there is one.
    static func records(after sequence: Int64, limit: Int, pool: DatabasePool?) throws -> [AuditRecord] {
        var records: [AuditRecord] = []
        var room = endedBytes
        try read(
            walking: pool,
            recordColumns + " FROM audit WHERE sequence > ? ORDER BY sequence LIMIT ?",
            [{ $0.bind($1, sequence) }, { $0.bind($1, Int64(max(0, limit))) }]
        ) { row in
            records.append(try record(row))
            room -= row.bytes(12).count
            return room > 0
        }
        return records
    }

    /// What `record` reads, in its order.
    static let recordColumns = columns("comm, invocation_id, lapsed")

    /// The same of a backup of before there were the last three.
    static let recordColumnsOfVersion2 = columns("NULL, NULL, NULL")

    private static func columns(_ later: String) -> String {
        """
        SELECT sequence, time, event, registration_id, application, project, principal, uid, gid, pid, unit,
          fingerprint, ended, shortened, chain, \(later)
        """
    }

    /// A caller's process, from the columns of these numbers.
    static func process(_ row: RawRow, pid: Int32, unit: Int32, comm: Int32, invocationID: Int32) -> PeerProcess {
        func text(_ column: Int32) -> String? { row.isNull(column) ? nil : row.text(column) }
        return PeerProcess(
            pid: Int32(truncatingIfNeeded: row.integer(pid)), unit: text(unit), invocationID: text(invocationID),
            comm: text(comm))
    }

    /// Nothing before the last mark can be followed without a gap: rows went there, or a backup was restored.
    static func recordBounds(pool: DatabasePool?) throws -> (oldest: Int64, last: Int64) {
        let bounds = try read(
            pool,
            """
            SELECT max(ifnull((SELECT min(sequence) FROM audit), 1), ifnull((SELECT max(sequence) FROM audit_mark), 0) + 1),
              max(ifnull((SELECT max(sequence) FROM audit), 0), ifnull((SELECT max(sequence) FROM audit_mark), 0))
            """, []
        ) { (oldest: $0.integer(0), last: $0.integer(1)) }
        return bounds.first ?? (oldest: 1, last: 0)
    }

    /// - Throws: `LedgerReadError`.
    static func read<Element>(
        _ pool: DatabasePool?, _ sql: String, _ arguments: [(RawStatement, Int32) -> Void],
        _ element: (RawRow) throws -> Element
    ) throws -> [Element] {
        do {
            return try rows(pool, sql, arguments, element)
        } catch {
            throw LedgerReadError(sentence: error.sentence)
        }
    }

    /// The same for a start, which tells by the error whether a person is needed.
    static func rows<Element>(
        _ pool: DatabasePool?, _ sql: String, _ arguments: [(RawStatement, Int32) -> Void],
        _ element: (RawRow) throws -> Element
    ) throws(StoreError) -> [Element] {
        var elements: [Element] = []
        try walk(pool, sql, arguments) { row in
            elements.append(try element(row))
            return true
        }
        return elements
    }

    /// The same, row by row, for as long as more are wanted.
    private static func read(
        walking pool: DatabasePool?, _ sql: String, _ arguments: [(RawStatement, Int32) -> Void],
        wantsMore: (RawRow) throws -> Bool
    ) throws {
        do {
            try walk(pool, sql, arguments, while: wantsMore)
        } catch {
            throw LedgerReadError(sentence: error.sentence)
        }
    }

    private static func walk(
        _ pool: DatabasePool?, _ sql: String, _ arguments: [(RawStatement, Int32) -> Void],
        while wantsMore: (RawRow) throws -> Bool
    ) throws(StoreError) {
        guard let pool else { throw .reopening }
        do {
            return try pool.read { db in
                guard let connection = db.sqliteConnection else { throw StoreError.sqlite(SQLITE_CANTOPEN) }
                let statement = try RawStatement(sql, on: connection)
                for (place, bind) in arguments.enumerated() { bind(statement, Int32(place + 1)) }
                try statement.walk(wantsMore)
            }
        } catch {
            throw .any(error)
        }
    }

    private static func stored(_ row: RawRow) throws -> Stored {
        // The rows' graces are judged by the index, so the moment they are read at does not matter.
        let moment = Moment(wall: Instant(milliseconds: 0), bootMilliseconds: 0)
        guard let application = ApplicationName(bytes: row.bytes(0)),
            let registrationID = AuditBlobs.registrationID(row.bytes(1)),
            let project = ProjectCode(bytes: row.bytes(2)), let digest = TokenDigest(bytes: row.bytes(3)),
            let previous = AuditBlobs.previous(row.bytes(7), asOf: moment)
        else { throw StoreError.sqlite(SQLITE_CORRUPT) }
        return Stored(
            registrationID: registrationID, application: application, project: project,
            lastUsedAt: row.isNull(6) ? nil : Instant(milliseconds: row.integer(6)),
            held: HeldToken(
                digest: digest, issuedAt: Instant(milliseconds: row.integer(4)),
                expiresAt: Instant(milliseconds: row.integer(5)), previous: previous))
    }

    /// What `mark` reads.
    static let marks = "SELECT first, sequence, chain, time, reason FROM audit_mark ORDER BY sequence"

    static func mark(_ row: RawRow) throws -> AuditMark {
        guard let chain = TokenDigest(bytes: row.bytes(2)), let reason = AuditMark.Reason(rawValue: row.text(4)) else {
            throw StoreError.sqlite(SQLITE_CORRUPT)
        }
        return AuditMark(
            first: row.integer(0), last: row.integer(1), chain: chain, time: Instant(milliseconds: row.integer(3)),
            reason: reason)
    }

    static func record(_ row: RawRow) throws -> AuditRecord {
        guard let event = AuditEvent(rawValue: row.text(2)),
            let registrationID = AuditBlobs.registrationID(row.bytes(3)),
            let application = ApplicationName(bytes: row.bytes(4)),
            let ended = AuditBlobs.fingerprints(row.bytes(12)), let shortened = AuditBlobs.shortened(row.bytes(13)),
            let chain = TokenDigest(bytes: row.bytes(14)), let lapsed = AuditBlobs.fingerprints(row.bytes(17))
        else { throw StoreError.sqlite(SQLITE_CORRUPT) }
        return AuditRecord(
            sequence: row.integer(0), time: Instant(milliseconds: row.integer(1)), event: event,
            registrationID: registrationID, application: application,
            project: row.isNull(5) ? nil : ProjectCode(bytes: row.bytes(5)), principal: .recorded(row.text(6)),
            uid: UInt32(truncatingIfNeeded: row.integer(7)), gid: UInt32(truncatingIfNeeded: row.integer(8)),
            process: process(row, pid: 9, unit: 10, comm: 15, invocationID: 16),
            fingerprint: AuditBlobs.fingerprints(row.bytes(11))?.first, ended: ended, lapsed: lapsed,
            shortened: shortened, chain: chain)
    }
}
