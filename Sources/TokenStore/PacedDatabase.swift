internal import GRDBSQLite

/// Syncs the database while a checkpoint copies into it, a little at a time. SQLite would have all of it written at once at
/// the end, some tens of megabytes: the disk is busy with that for many milliseconds, in which the syncs of the log, for
/// which callers wait, take ten times as long.
///
/// It stands before the methods of one open file, the checkpointer's, as `GatheredLog` does before the log's.
struct PacedDatabase {
    private let methods: sqlite3_io_methods
    private let usual: UnsafePointer<sqlite3_io_methods>
    private var unsyncedBytes = 0

    /// What a disk takes in the time of a sync or two of the log. With a mebibyte the slowest answers take nearly twice as long.
    private static let stepBytes = 262_144

    /// Has what a connection writes to its database paced from now on, until it is closed.
    /// - Throws: `StoreError` where the connection has no database open.
    static func install(on connection: OpaquePointer) throws {
        let file = try databaseFile(of: connection)
        guard let usual = file.pointee.pMethods else { throw StoreError(.invariant, "SQLite has no database open.") }
        var methods = usual.pointee
        methods.xWrite = { file, bytes, amount, offset in PacedDatabase.write(file, bytes, amount, offset) }
        methods.xClose = { file in PacedDatabase.close(file) }
        let paced = UnsafeMutablePointer<PacedDatabase>.allocate(capacity: 1)
        paced.initialize(to: PacedDatabase(methods: methods, usual: usual))
        file.pointee.pMethods = UnsafeRawPointer(paced).assumingMemoryBound(to: sqlite3_io_methods.self)
    }

    /// A connection's open database file.
    /// - Throws: `StoreError` where there is none.
    static func databaseFile(of connection: OpaquePointer) throws -> UnsafeMutablePointer<sqlite3_file> {
        var pointer: UnsafeMutableRawPointer?
        let found = sqlite3_file_control(connection, "main", SQLITE_FCNTL_FILE_POINTER, &pointer)
        guard found == SQLITE_OK, let file = pointer?.assumingMemoryBound(to: sqlite3_file.self) else {
            throw StoreError(.invariant, "SQLite has no database open.")
        }
        return file
    }

    private static func of(_ file: UnsafeMutablePointer<sqlite3_file>) -> UnsafeMutablePointer<PacedDatabase> {
        UnsafeMutableRawPointer(mutating: file.pointee.pMethods).assumingMemoryBound(to: PacedDatabase.self)
    }

    private static func write(
        _ file: UnsafeMutablePointer<sqlite3_file>?, _ bytes: UnsafeRawPointer?, _ amount: Int32, _ offset: Int64
    ) -> Int32 {
        guard let file else { return SQLITE_MISUSE }
        let paced = of(file)
        let result = paced.pointee.usual.pointee.xWrite(file, bytes, amount, offset)
        guard result == SQLITE_OK else { return result }
        paced.pointee.unsyncedBytes += Int(amount)
        guard paced.pointee.unsyncedBytes >= stepBytes, let sync = paced.pointee.usual.pointee.xSync
        else { return result }
        paced.pointee.unsyncedBytes = 0
        return sync(file, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY)
    }

    private static func close(_ file: UnsafeMutablePointer<sqlite3_file>?) -> Int32 {
        guard let file else { return SQLITE_MISUSE }
        let paced = of(file)
        let usual = paced.pointee.usual
        paced.deallocate()
        file.pointee.pMethods = usual
        return usual.pointee.xClose(file)
    }
}
