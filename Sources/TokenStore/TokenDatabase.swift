internal import Dispatch
internal import GRDB
internal import GRDBSQLite
internal import TokenModel

/// The open database: GRDB's pool, and on its writer connection the writer's own statements. Everything but the pool's
/// reads is called by one thread at a time: whoever opens it, then the writer.
final class TokenDatabase {
    let pool: DatabasePool
    private let connection: OpaquePointer
    private var statements: WriterStatements?
    private let pages: UnsafeMutablePointer<Int32>

    /// What SQLite keeps of the database for the writer: the rows of a hundred thousand tokens, so that a rotation of one
    /// of them reads nothing from the file.
    private static let writerCacheKibibytes = 16_384

    /// Pages in the write-ahead log after the last commit.
    var writeAheadLogPages: Int32 { pages.pointee }

    /// Opens, migrates and prepares.
    /// - Throws: `StoreError`.
    init(path: String) throws {
        do {
            var configuration = Configuration()
            configuration.maximumReaderCount = 3
            configuration.busyMode = .timeout(1)
            configuration.label = "store"
            // GRDB's own choice raises the priority of its queue's threads, which an unprivileged service may not; nobody
            // waits there but the writer.
            configuration.qos = .default
            configuration.prepareDatabase { db in
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
            connection = try pool.writeWithoutTransaction { db in
                guard try Int.fetchOne(db, sql: "PRAGMA synchronous") == 2,
                    try Int.fetchOne(db, sql: "PRAGMA foreign_keys") == 1,
                    let connection = db.sqliteConnection
                else { throw StoreError(.invariant, "SQLite did not take the settings that make commits durable.") }
                try GatheredLog.install(on: connection)
                return connection
            }
            pages = .allocate(capacity: 1)
            pages.initialize(to: 0)
        } catch {
            throw StoreError.any(error)
        }
        let hook: @convention(c) (UnsafeMutableRawPointer?, OpaquePointer?, UnsafePointer<CChar>?, Int32) -> Int32 = {
            $0?.assumingMemoryBound(to: Int32.self).pointee = $3
            return SQLITE_OK
        }
        sqlite3_wal_hook(connection, hook, pages)
        statements = try perform { try WriterStatements(connection) }
    }

    /// Opens the database of a state directory, so that all that it says is durable.
    convenience init(in directory: StateDirectory) throws {
        try directory.renewLog()
        try self.init(path: directory.databasePath)
        try directory.syncNames()
    }

    deinit {
        close()
        pages.deallocate()
    }

    /// Ends the statements and the connections, after readers that are under way. Does nothing the second time.
    func close() {
        guard statements != nil else { return }
        sqlite3_wal_hook(connection, nil, nil)
        statements = nil
        // What fails here is only the release of memory: no transaction is open.
        try? pool.close()
    }

    /// Runs the writer's work on its connection.
    func perform<Result>(_ body: () throws -> Result) throws -> Result {
        try pool.writeWithoutTransaction { _ in try body() }
    }

    /// The writer's statements.
    func writing() throws -> WriterStatements {
        guard let statements else { throw StoreError(.invariant, "The database is closed.") }
        return statements
    }

    /// Copies pages from the log into the database. PASSIVE waits for nobody; TRUNCATE also empties the log.
    /// - Returns: whether all of the log was copied.
    func checkpoint(truncating: Bool) throws -> Bool {
        try perform {
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
