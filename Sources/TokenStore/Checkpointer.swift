internal import GRDBSQLite
internal import Synchronization
internal import TokenModel

/// How long the log is: the writer says it after each commit, who copies beside it asks.
final class LogLength: Sendable {
    /// Pages in the log after the last commit.
    let pages = Atomic<Int32>(0)
}

/// Copies the log into the database beside the writer, on a connection of its own, until so little is left that the writer
/// can do the rest between two commits.
///
/// SQLite syncs the database only when a checkpoint has copied all there is, which beside a busy writer does not happen: so
/// each pass is synced here, and the writer's last one finds little to do.
///
/// What was copied by an earlier pass is not copied again. So where a sync fails, after which the kernel may hold as
/// written what never reached the disk, only a log that is read anew from its beginning makes good what is missing:
/// that is `lost`.
///
/// No pass is begun on a log that is copied already. The writer may start such a log over between SQLite's look at its length and
/// at what is copied of it, and before 3.51.3 SQLite then held as copied what the writer was still to write, and lost it
/// (sqlite.org/wal.html#walresetbug). A log of which something is left to copy does not start over.
final class Checkpointer: @unchecked Sendable {
    // @unchecked: used by one thread at a time: the writer's, and the one that runs it while the writer leaves it alone.
    private let connection: OpaquePointer
    private let log: LogLength

    enum Outcome {
        /// What is left is for the writer.
        case copied
        /// Nothing is lost; it may be tried again.
        case failed(StoreError)
        /// The database is to be opened anew.
        case lost(StoreError)
    }

    /// Passes at most: each copies what came during the one before, which is some tenth of it.
    private static let passesMax = 4
    /// Pages for which another pass gains nothing: a millisecond's work. At least one, so that none begins with nothing left.
    private static let fewPages: Int32 = 500

    /// - Parameter log: of the only connection that writes.
    /// - Throws: `StoreError`.
    init(path: String, log: LogLength) throws {
        var opened: OpaquePointer?
        let result = sqlite3_open_v2(path, &opened, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nil)
        guard result == SQLITE_OK, let opened else {
            sqlite3_close_v2(opened)
            throw StoreError.sqlite(result)
        }
        connection = opened
        self.log = log
        do {
            // Before it has read, a connection does not know that there is a log.
            try RawStatement("SELECT count(*) FROM sqlite_schema", on: opened).forEachRow { _ in }
            try PacedDatabase.install(on: opened)
        } catch {
            sqlite3_close_v2(opened)
            throw error
        }
    }

    /// Before the writer's connection is closed, which then is the last one.
    func close() { sqlite3_close_v2(connection) }

    /// Something is left to copy.
    func run() -> Outcome {
        var before: Int32 = 0
        for _ in 0..<Self.passesMax {
            var copied: Int32 = 0
            let result = sqlite3_wal_checkpoint_v2(connection, nil, SQLITE_CHECKPOINT_PASSIVE, nil, &copied)
            if result == SQLITE_BUSY { return .copied }
            guard result == SQLITE_OK else {
                let error = RawStatement.error(sqlite3_extended_errcode(connection), connection)
                return error.isFailedSync ? .lost(error) : .failed(error)
            }
            if let error = syncDatabase() { return .lost(error) }
            // A reader may hold back what is left.
            let (done, left) = (copied - before, log.pages.load(ordering: .acquiring) - copied)
            guard min(done, left) >= Self.fewPages else { break }
            before = copied
        }
        return .copied
    }

    private func syncDatabase() -> StoreError? {
        guard let file = try? PacedDatabase.databaseFile(of: connection),
            let sync = file.pointee.pMethods?.pointee.xSync
        else { return StoreError(.invariant, "SQLite has no database open.") }
        let result = sync(file, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY)
        return result == SQLITE_OK ? nil : RawStatement.error(result, connection)
    }
}

/// The checkpoint beside the writer, if one is under way.
final class Checkpointing: @unchecked Sendable {
    // @unchecked: `outcome` is written by the thread while one is under way, and read by the writer when it has ended.
    private let thread: SideThread
    private var outcome = Checkpointer.Outcome.copied
    /// The writer: whether one was begun and not finished.
    private(set) var isUnderWay = false

    /// - Throws: `StoreError` where the thread cannot be started.
    init() throws { thread = try SideThread("checkpoint") {} }

    /// The writer: whether one has ended and is to be finished.
    var isDone: Bool { isUnderWay && thread.isDone }

    func begin(_ checkpointer: Checkpointer) {
        isUnderWay = true
        thread.start { [self] in outcome = checkpointer.run() }
    }

    /// Waits for the end of the one that was begun, if one was.
    func finish() -> Checkpointer.Outcome {
        guard isUnderWay else { return .copied }
        thread.wait()
        isUnderWay = false
        return outcome
    }

    /// Ends the thread. None is under way.
    func end() { thread.end() }
}
