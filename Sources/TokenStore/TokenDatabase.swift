internal import CSQLite
internal import Dispatch
internal import GRDB
internal import GRDBSQLite
internal import Glibc
internal import Synchronization
internal import TokenModel

/// The open database: GRDB's pool, and on its writer connection the writer's own statements. Everything but the pool's
/// reads is called by one thread at a time: whoever opens it, then the writer.
final class TokenDatabase {
    let pool: DatabasePool
    private let path: String
    private let connection: OpaquePointer
    private var statements: WriterStatements?
    private var isClosed = false
    private let length = LogLength()
    /// The writer's log.
    let log: WriteAheadLog
    let checkpointer: Checkpointer
    /// Bytes of a page.
    let pageBytes: Int

    /// What SQLite keeps of the database for the writer: the rows of a hundred thousand tokens, so that a rotation of one
    /// of them reads nothing from the file.
    private static let writerCacheKibibytes = 16_384

    /// Pages in the write-ahead log after the last commit.
    var writeAheadLogPages: Int32 { length.pages.load(ordering: .relaxed) }

    /// Bytes of a page of a new database; one that is there keeps its own. A rotation changes a row of a hundred bytes, and
    /// the page around it goes through the log: with SQLite's usual 4,096 a commit costs the writer twice as much.
    private static let newPageBytes = 1_024

    /// What an unprivileged process may still fill of the database's disk; the most there can be where that cannot be told.
    var freeBytes: Int {
        var disk = statvfs()
        guard statvfs(path, &disk) == 0 else { return .max }
        return Int(clamping: UInt64(disk.f_bavail) * UInt64(disk.f_frsize))
    }

    /// Asks for it once, before SQLite is in use.
    private static let withoutMemoryStatistics: Void = { _ = sqlite_keep_no_memory_statistics() }()

    /// Opens, migrates and prepares.
    /// - Throws: `StoreError`.
    init(path: String) throws {
        _ = Self.withoutMemoryStatistics
        self.path = path
        do {
            var configuration = Configuration()
            configuration.maximumReaderCount = 3
            configuration.busyMode = .timeout(1)
            configuration.label = "store"
            // GRDB's own choice raises the priority of its queue's threads, which an unprivileged service may not; nobody
            // waits there but the writer.
            configuration.qos = .default
            configuration.prepareDatabase { db in
                // Before the write-ahead log is asked for: after that it cannot change.
                try db.execute(sql: "PRAGMA page_size = \(Self.newPageBytes)")
                // Readers walk few pages at a time.
                try db.execute(sql: "PRAGMA cache_size = -2000")
            }
            pool = try DatabasePool(path: path, configuration: configuration)
            try pool.writeWithoutTransaction { db in
                // sqlite.org/pragma.html#pragma_synchronous: in WAL mode a commit is durable only with FULL.
                try db.execute(sql: "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0")
                try db.execute(sql: "PRAGMA cache_size = -\(Self.writerCacheKibibytes)")
                // Where the disk fails just then, SQLite goes on with a rollback journal, whose commits are not durable
                // before the directory is synced.
                guard try String.fetchOne(db, sql: "PRAGMA journal_mode") == "wal" else {
                    throw StoreError(
                        .inputOutput, "The database could not be given its write-ahead log; look at its disk.")
                }
                try Self.checkOwner(db)
            }
            try Self.migrate(pool)
            (connection, log, pageBytes) = try pool.writeWithoutTransaction { db in
                guard try Int.fetchOne(db, sql: "PRAGMA synchronous") == 2,
                    try Int.fetchOne(db, sql: "PRAGMA foreign_keys") == 1,
                    let connection = db.sqliteConnection
                else { throw StoreError(.invariant, "SQLite did not take the settings that make commits durable.") }
                return (
                    connection, try GatheredLog.install(on: connection),
                    try Int.fetchOne(db, sql: "PRAGMA page_size") ?? Self.newPageBytes
                )
            }
            checkpointer = try Checkpointer(path: path, log: length)
        } catch {
            throw StoreError.any(error).asDiskTells(of: path)
        }
        let hook: @convention(c) (UnsafeMutableRawPointer?, OpaquePointer?, UnsafePointer<CChar>?, Int32) -> Int32 = {
            if let length = $0 {
                Unmanaged<LogLength>.fromOpaque(length).takeUnretainedValue().pages.store($3, ordering: .releasing)
            }
            return SQLITE_OK
        }
        sqlite3_wal_hook(connection, hook, Unmanaged.passUnretained(length).toOpaque())
        // GRDB's, which tell its observers of transactions and want to be called by its own queue.
        sqlite3_commit_hook(connection, nil, nil)
        sqlite3_rollback_hook(connection, nil, nil)
        statements = try WriterStatements(connection)
    }

    /// Opens the database of a state directory, so that all that it says is durable.
    convenience init(in directory: StateDirectory) throws {
        // A run before this one was ended before it could.
        if try directory.holds(StateDirectory.lostLogName) { try Self.recover(in: directory) }
        try directory.renewLog()
        try self.init(path: directory.databasePath)
        try directory.syncNames()
    }

    /// After a failed sync: reads the log from its beginning, copies all that is whole in it into the database, and empties
    /// it. Alone, without the shared memory in which others that read the database keep an account of the log
    /// (sqlite.org/wal.html#use_of_wal_without_shared_memory), for that account may name what is not there.
    /// - Throws: `StoreError`, `locked` while another program reads the database.
    static func recover(in directory: StateDirectory) throws {
        try directory.renewLog()
        var opened: OpaquePointer?
        defer { sqlite3_close_v2(opened) }
        guard sqlite3_open_v2(directory.databasePath, &opened, SQLITE_OPEN_READWRITE, nil) == SQLITE_OK, let opened,
            sqlite3_exec(opened, "PRAGMA locking_mode = EXCLUSIVE", nil, nil, nil) == SQLITE_OK,
            sqlite3_exec(opened, "SELECT count(*) FROM sqlite_schema", nil, nil, nil) == SQLITE_OK,
            sqlite3_wal_checkpoint_v2(opened, nil, SQLITE_CHECKPOINT_TRUNCATE, nil, nil) == SQLITE_OK
        else { throw StoreError.sqlite(sqlite3_extended_errcode(opened), systemErrno: sqlite3_system_errno(opened)) }
        try directory.remove(StateDirectory.lostLogName)
    }

    deinit { close() }

    /// Ends the statements and the connections, after readers that are under way. Does nothing the second time.
    func close() {
        guard !isClosed else { return }
        isClosed = true
        sqlite3_wal_hook(connection, nil, nil)
        statements = nil
        checkpointer.close()
        // What fails here is only the release of memory: no transaction is open.
        try? pool.close()
    }

    /// The writer's statements. They go past GRDB, which has no other work for this connection: its own way to it costs a
    /// thread's switch, and lets no transaction stay open from one visit to the next.
    func writing() throws -> WriterStatements {
        guard let statements else { throw StoreError(.invariant, "The database is closed.") }
        return statements
    }

    /// Copies pages from the log into the database. PASSIVE waits for nobody; TRUNCATE also empties the log.
    /// - Returns: whether all of the log was copied.
    func checkpoint(truncating: Bool) throws -> Bool {
        var logged: Int32 = 0
        var copied: Int32 = 0
        let mode = truncating ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE
        let result = sqlite3_wal_checkpoint_v2(connection, nil, mode, &logged, &copied)
        if result == SQLITE_BUSY { return false }
        guard result == SQLITE_OK else {
            throw RawStatement.error(sqlite3_extended_errcode(connection), connection)
        }
        return logged == copied
    }

    /// Another program's database is not ours to migrate. A new one is made ours before anything is in it: whoever is
    /// killed between this and the first migration finds it again.
    private static func checkOwner(_ db: Database) throws {
        let owner = try Int64.fetchOne(db, sql: "PRAGMA application_id") ?? 0
        let tables = try Int.fetchOne(
            db,
            sql: "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
        guard owner == Schema.applicationID || (owner == 0 && tables == 0) else {
            throw StoreError(
                .damaged, "The file tokens.db is another program's database; move it away and restore a backup.")
        }
        if owner == 0 { try db.execute(sql: "PRAGMA application_id = \(Schema.applicationID)") }
    }

    private static func migrate(_ pool: DatabasePool) throws {
        let migrator = Schema.migrator
        guard try !pool.read(migrator.hasBeenSuperseded) else {
            throw StoreError(
                .newerSchema, "The database was migrated by a newer scaem-tokend; install that version again.")
        }
        try migrator.migrate(pool)
    }
}
