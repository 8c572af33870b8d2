internal import GRDBSQLite
internal import TokenModel

/// One of SQLite's prepared statements, used again and again by one thread. GRDB's own would do the same at a fifth
/// less speed. Bound values are copied into a room of the statement's own: SQLite would ask for memory for each of them.
final class RawStatement {
    private let connection: OpaquePointer
    private let statement: OpaquePointer
    private let room = UnsafeMutableRawPointer.allocate(byteCount: roomBytes, alignment: 8)
    private var used = 0

    /// More than sixteen rows of the audit of the longest names take; what finds no room, like the tokens of an application that
    /// ended, is copied by SQLite.
    private static let roomBytes = 16_384

    private static let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)

    /// - Throws: `StoreError` as `StoreError.sqlite` maps it.
    init(_ sql: String, on connection: OpaquePointer) throws {
        var statement: OpaquePointer?
        let result = sqlite3_prepare_v3(
            connection, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil)
        guard result == SQLITE_OK, let statement else { throw Self.error(result, connection) }
        self.connection = connection
        self.statement = statement
    }

    deinit {
        sqlite3_finalize(statement)
        room.deallocate()
    }

    func bind(_ index: Int32, _ value: Int64) { sqlite3_bind_int64(statement, index, value) }

    func bind(_ index: Int32, _ text: String?) {
        guard var text else {
            sqlite3_bind_null(statement, index)
            return
        }
        text.withUTF8 { bytes in
            let (start, destructor) = keep(UnsafeRawBufferPointer(bytes))
            sqlite3_bind_text(
                statement, index, start.assumingMemoryBound(to: CChar.self), Int32(bytes.count), destructor)
        }
    }

    func bind(_ index: Int32, _ bytes: UnsafeRawBufferPointer) {
        let (start, destructor) = keep(bytes)
        sqlite3_bind_blob(statement, index, start, Int32(bytes.count), destructor)
    }

    /// Where the bytes stand until the statement has run, and what SQLite has to do about them. Never nil, which SQLite
    /// would take for NULL.
    private func keep(_ bytes: UnsafeRawBufferPointer) -> (UnsafeRawPointer, sqlite3_destructor_type?) {
        guard let start = bytes.baseAddress else { return (UnsafeRawPointer(room), nil) }
        guard used + bytes.count <= Self.roomBytes else { return (start, Self.transient) }
        let place = room + used
        place.copyMemory(from: start, byteCount: bytes.count)
        used += bytes.count
        return (UnsafeRawPointer(place), nil)
    }

    private func reset() {
        sqlite3_reset(statement)
        used = 0
    }

    func bind(_ index: Int32, _ digest: TokenDigest) { digest.withBytes { bind(index, $0) } }

    func bindNull(_ index: Int32) { sqlite3_bind_null(statement, index) }

    /// Runs a statement that gives no row.
    /// - Throws: `StoreError`; then nothing of it happened, or the transaction was rolled back.
    func run() throws {
        if let failure = failureOfRun() { throw failure.error }
    }

    /// Runs a statement that gives no row; what SQLite says where it fails, and nil where it does not.
    func failureOfRun() -> (extended: Int32, error: StoreError)? {
        defer { reset() }
        guard sqlite3_step(statement) != SQLITE_DONE else { return nil }
        let extended = sqlite3_extended_errcode(connection)
        return (extended, Self.error(extended, connection))
    }

    /// Runs a statement that must change exactly one row.
    /// - Throws: `StoreError`, `invariant` where it changed another number of rows.
    func runChangingOneRow() throws {
        try run()
        guard sqlite3_changes(connection) == 1 else {
            throw StoreError(.invariant, "A row that the index holds is not in its table as it should be.")
        }
    }

    /// Runs a query to its end; the row is good within the closure.
    func forEachRow(_ body: (RawRow) throws -> Void) throws {
        try walk {
            try body($0)
            return true
        }
    }

    /// Runs a query for as long as the closure says that it wants more.
    func walk(_ wantsMore: (RawRow) throws -> Bool) throws {
        defer { reset() }
        while true {
            let result = sqlite3_step(statement)
            if result == SQLITE_DONE { return }
            guard result == SQLITE_ROW else {
                throw Self.error(sqlite3_extended_errcode(connection), connection)
            }
            guard try wantsMore(RawRow(statement: statement)) else { return }
        }
    }

    static func error(_ result: Int32, _ connection: OpaquePointer) -> StoreError {
        .sqlite(result, systemErrno: sqlite3_system_errno(connection))
    }
}

/// The row that a query stands at.
struct RawRow {
    fileprivate let statement: OpaquePointer

    func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(statement, column) }

    func isNull(_ column: Int32) -> Bool { sqlite3_column_type(statement, column) == SQLITE_NULL }

    /// The bytes of a blob or a text, good until the next step.
    func bytes(_ column: Int32) -> UnsafeRawBufferPointer {
        let start = sqlite3_column_blob(statement, column)
        return UnsafeRawBufferPointer(start: start, count: Int(sqlite3_column_bytes(statement, column)))
    }

    func text(_ column: Int32) -> String { String(decoding: bytes(column), as: UTF8.self) }
}
