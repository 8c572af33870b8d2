internal import TokenModel

/// The rows of the audit's oldest end, within the writer's transaction. Rare: its statements are prepared each time.
struct AuditRows {
    private let connection: OpaquePointer

    init(_ statements: WriterStatements) { connection = statements.connection }

    /// The first row that is kept, 0 where there is none, how many numbers after it no change was ever given, and the first
    /// of these.
    typealias Oldest = (sequence: Int64, skipped: Int64, gap: Int64)

    func oldest() throws -> Oldest {
        var found = Oldest(0, 0, .max)
        let query = try RawStatement(
            """
            SELECT oldest, (SELECT ifnull(sum(sequence - first + 1), 0) FROM audit_mark WHERE first > oldest),
              (SELECT ifnull(min(first), 9223372036854775807) FROM audit_mark WHERE first > oldest)
            FROM (SELECT ifnull(min(sequence), 0) AS oldest FROM audit)
            """, on: connection)
        try query.forEachRow { found = ($0.integer(0), $0.integer(1), $0.integer(2)) }
        return found
    }

    /// The last row before a number.
    func last(before sequence: Int64) throws -> (sequence: Int64, time: Int64, chain: TokenDigest)? {
        var found: (Int64, Int64, TokenDigest)?
        let query = try RawStatement(
            "SELECT sequence, time, chain FROM audit WHERE sequence < ? ORDER BY sequence DESC LIMIT 1",
            on: connection)
        query.bind(1, sequence)
        try query.forEachRow { row in
            guard let chain = TokenDigest(bytes: row.bytes(2)) else {
                throw StoreError(.damaged, "An audit row is damaged; stop the daemon and restore a backup.")
            }
            found = (row.integer(0), row.integer(1), chain)
        }
        return found
    }

    /// Whether one up to a number is of a time in this range: the clock may have been wrong for a while.
    func holdsAny(through sequence: Int64, of milliseconds: ClosedRange<Int64>) throws -> Bool {
        var holds = false
        let query = try RawStatement(
            "SELECT 1 FROM audit WHERE sequence <= ? AND time BETWEEN ? AND ? LIMIT 1", on: connection)
        query.bind(1, sequence)
        query.bind(2, milliseconds.lowerBound)
        query.bind(3, milliseconds.upperBound)
        try query.forEachRow { _ in holds = true }
        return holds
    }

    /// Removes rows and puts a mark in their place; it grows where one of the same reason ends just before.
    func remove(
        _ range: ClosedRange<Int64>, chain: TokenDigest, at time: Instant, because reason: AuditMark.Reason
    ) throws -> AuditMark {
        var first = range.lowerBound
        let before = try RawStatement(
            "DELETE FROM audit_mark WHERE sequence = ? AND reason = ? RETURNING first", on: connection)
        before.bind(1, range.lowerBound - 1)
        before.bind(2, reason.rawValue)
        try before.forEachRow { first = $0.integer(0) }
        let delete = try RawStatement("DELETE FROM audit WHERE sequence <= ?", on: connection)
        delete.bind(1, range.upperBound)
        try delete.run()
        let mark = AuditMark(first: first, last: range.upperBound, chain: chain, time: time, reason: reason)
        try insert(mark)
        return AuditMark(first: range.lowerBound, last: mark.last, chain: chain, time: time, reason: reason)
    }

    func insert(_ mark: AuditMark) throws {
        let insert = try RawStatement(
            "INSERT INTO audit_mark (first, sequence, chain, time, reason) VALUES (?, ?, ?, ?, ?)", on: connection)
        insert.bind(1, mark.first)
        insert.bind(2, mark.last)
        insert.bind(3, mark.chain)
        insert.bind(4, mark.time.milliseconds)
        insert.bind(5, mark.reason.rawValue)
        try insert.run()
    }

    func insert(_ presented: EndedPresentation) throws {
        let insert = try RawStatement(
            """
            INSERT INTO ended_presented (time, fingerprint, principal, uid, gid, pid, unit, count, comm, invocation_id)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """, on: connection)
        insert.bind(1, presented.time.milliseconds)
        AuditBlobs.withBytes(presented.fingerprint) { insert.bind(2, $0) }
        insert.bind(3, presented.principal.text)
        insert.bind(4, Int64(presented.uid))
        insert.bind(5, Int64(presented.gid))
        insert.bind(6, Int64(presented.process.pid))
        insert.bind(7, presented.process.unit)
        insert.bind(8, presented.count)
        insert.bind(9, presented.process.comm)
        insert.bind(10, presented.process.invocationID)
        try insert.run()
    }

    /// Alarms are kept as long as tokens are remembered, and so many at most.
    static let presentedMax = 100_000

    func trimPresented(olderThan milliseconds: Int64) throws {
        let delete = try RawStatement(
            "DELETE FROM ended_presented WHERE time < ?1 OR id <= (SELECT max(id) FROM ended_presented) - ?2",
            on: connection)
        delete.bind(1, milliseconds)
        delete.bind(2, Int64(Self.presentedMax))
        try delete.run()
    }

    func setJournal(sent: Int64, confirmed: Int64) throws {
        let update = try RawStatement("UPDATE audit_journal SET sent = ?, confirmed = ?", on: connection)
        update.bind(1, sent)
        update.bind(2, confirmed)
        try update.runChangingOneRow()
    }
}
