internal import GRDBSQLite
internal import Glibc

/// Gathers what SQLite writes to the write-ahead log and hands it on in one write before it is synced, read or measured;
/// makes room for what comes; and leaves the sync of a commit to another thread, where that is asked for.
///
/// SQLite writes each page of a transaction in two calls, 24 bytes and then the page: for a batch of small changes these
/// calls are a quarter of the writer's time. Frames follow each other in the file, so one call can write them all. Nothing
/// can see the difference: other connections learn of frames only when the commit has synced them, and where the one
/// write fails, the commit frame, which comes last, is not in the file, as when SQLite's own write fails.
///
/// A log that grows has new blocks for the file system to account for at each sync. So where it grows, zeros are
/// written some way ahead, as PostgreSQL makes its segments: the syncs behind it have nothing but the frames to write. SQLite ends its
/// reading at the first frame that does not continue the log (sqlite.org/fileformat2.html#walformat), as a log that starts over has
/// old ones behind its last.
///
/// It stands before the methods of one open file, the writer's: SQLite finds them through the file's first member, and so
/// does this find its memory, whose first member they are.
struct GatheredLog {
    private let methods: sqlite3_io_methods
    private let usual: UnsafePointer<sqlite3_io_methods>
    private let room: UnsafeMutableRawPointer
    private let zeros: UnsafeMutableRawPointer
    /// Where in the file the gathered bytes belong.
    private var start: Int64 = 0
    private var count = 0
    /// Handed on since the last sync.
    private var unsynced = 0
    /// Up to where the file is known to reach.
    private var end: Int64 = 0
    /// Whether a commit's sync is to be left, and the one that was.
    fileprivate var leavesSync = false
    fileprivate var left: LeftSync?
    /// Whether a sync that was left has failed. What was written before is then perhaps in the file and perhaps not, and the
    /// kernel says of it that all is well: nothing of this log may be synced, and so copied into the database, any more.
    fileprivate var isLost = false

    /// Thirty pages and no more: SQLite's own method for Unix looks at 17 bits of a length only.
    private static let roomBytes = 122_880
    /// Enough that one in fifty lone commits grows the file, and little for that one to write. With twice and eight times as much
    /// the others were no faster, and with half as much 16 callers were slower.
    private static let aheadBytes: Int64 = 131_072
    private static let zeroBytes = 65_536
    /// A commit that writes more has the cost of its blocks shared by many; the zeros would cost as much.
    private static let smallBytes = 65_536

    private typealias File = UnsafeMutablePointer<sqlite3_file>

    /// Has a connection's log gathered from now on, until the connection is closed.
    /// - Throws: `StoreError` where the connection has no log open.
    /// - Returns: the log, good for as long as the connection is open.
    static func install(on connection: OpaquePointer) throws -> WriteAheadLog {
        var pointer: UnsafeMutableRawPointer?
        let result = sqlite3_file_control(connection, "main", SQLITE_FCNTL_JOURNAL_POINTER, &pointer)
        guard result == SQLITE_OK, let file = pointer?.assumingMemoryBound(to: sqlite3_file.self),
            let usual = file.pointee.pMethods
        else { throw StoreError(.invariant, "SQLite has no write-ahead log open.") }
        var methods = usual.pointee
        methods.xWrite = { file, bytes, amount, offset in GatheredLog.write(file, bytes, Int(amount), offset) }
        methods.xSync = { file, flags in GatheredLog.sync(file, flags) }
        methods.xRead = { file, bytes, amount, offset in
            GatheredLog.flushed(file) { $0.xRead(file, bytes, amount, offset) }
        }
        methods.xTruncate = { file, size in
            GatheredLog.flushed(file) { methods in
                if let file { GatheredLog.of(file).pointee.end = 0 }
                return methods.xTruncate(file, size)
            }
        }
        methods.xFileSize = { file, size in
            GatheredLog.flushed(file) { $0.xFileSize(file, size) }
        }
        methods.xClose = { file in GatheredLog.close(file) }
        let log = UnsafeMutablePointer<GatheredLog>.allocate(capacity: 1)
        log.initialize(
            to: GatheredLog(
                methods: methods, usual: usual, room: .allocate(byteCount: roomBytes, alignment: 4_096),
                zeros: .allocate(byteCount: zeroBytes, alignment: 4_096)))
        log.pointee.zeros.initializeMemory(as: UInt8.self, repeating: 0, count: zeroBytes)
        file.pointee.pMethods = UnsafeRawPointer(log).assumingMemoryBound(to: sqlite3_io_methods.self)
        return WriteAheadLog(log: log)
    }

    private static func of(_ file: File) -> UnsafeMutablePointer<GatheredLog> {
        UnsafeMutableRawPointer(mutating: file.pointee.pMethods).assumingMemoryBound(to: GatheredLog.self)
    }

    private static func write(_ file: File?, _ bytes: UnsafeRawPointer?, _ amount: Int, _ offset: Int64) -> Int32 {
        guard let file, let bytes else { return SQLITE_MISUSE }
        let log = of(file)
        if log.pointee.count > 0 {
            let follows = offset == log.pointee.start + Int64(log.pointee.count)
            if !follows || log.pointee.count + amount > roomBytes {
                let result = flush(file)
                guard result == SQLITE_OK else { return result }
            }
        }
        guard amount <= roomBytes else { return log.pointee.usual.pointee.xWrite(file, bytes, Int32(amount), offset) }
        if log.pointee.count == 0 { log.pointee.start = offset }
        (log.pointee.room + log.pointee.count).copyMemory(from: bytes, byteCount: amount)
        log.pointee.count += amount
        return SQLITE_OK
    }

    /// What could not be written is gone: its transaction fails, and the next one writes in the same place.
    private static func flush(_ file: File) -> Int32 {
        let log = of(file)
        let count = log.pointee.count
        guard count > 0 else { return SQLITE_OK }
        log.pointee.count = 0
        log.pointee.unsynced += count
        return log.pointee.usual.pointee.xWrite(file, log.pointee.room, Int32(count), log.pointee.start)
    }

    /// Nothing depends on it: where there is no room, the commit that needs it will say so.
    private static func makeRoom(_ file: File, after written: Int64) {
        let log = of(file)
        let usual = log.pointee.usual.pointee
        var size: Int64 = 0
        guard usual.xFileSize(file, &size) == SQLITE_OK else { return }
        log.pointee.end = size
        guard written == size else { return }
        let end = (written / aheadBytes + 1) * aheadBytes
        while log.pointee.end < end {
            let amount = min(Int64(zeroBytes), end - log.pointee.end)
            guard usual.xWrite(file, log.pointee.zeros, Int32(amount), log.pointee.end) == SQLITE_OK else { return }
            log.pointee.end += amount
        }
    }

    private static func flushed(_ file: File?, _ then: (sqlite3_io_methods) -> Int32) -> Int32 {
        guard let file else { return SQLITE_MISUSE }
        let result = flush(file)
        return result == SQLITE_OK ? then(of(file).pointee.usual.pointee) : result
    }

    /// Of a commit the sync may be left. The header of a log that starts over has to be durable before the first frame
    /// behind it: its sync is never left.
    private static func sync(_ file: File?, _ flags: Int32) -> Int32 {
        guard let file else { return SQLITE_MISUSE }
        let log = of(file)
        guard !log.pointee.isLost else { return StoreError.failedSync }
        let isHeader = log.pointee.start == 0
        // A checkpoint syncs without SQLite's lock for writing, and has nothing gathered.
        let written = log.pointee.count > 0 ? log.pointee.start + Int64(log.pointee.count) : 0
        let result = flush(file)
        // Beside a header that is not durable yet nothing may be written: it may be lost and the zeros not, and then the old one
        // makes the frames good that they have left (sqlite.org/src/info/ff5be73dee).
        if result == SQLITE_OK, !isHeader, log.pointee.unsynced <= smallBytes, written > log.pointee.end {
            makeRoom(file, after: written)
        }
        log.pointee.unsynced = 0
        guard result == SQLITE_OK, let sync = log.pointee.usual.pointee.xSync else { return result }
        guard log.pointee.leavesSync, !isHeader else { return sync(file, flags) }
        log.pointee.left = LeftSync(file: file, flags: flags, sync: sync)
        return SQLITE_OK
    }

    private static func close(_ file: File?) -> Int32 {
        guard let file else { return SQLITE_MISUSE }
        // Of a transaction that was not committed, or it would have been synced: nobody misses it.
        let log = of(file)
        let usual = log.pointee.usual
        log.pointee.room.deallocate()
        log.pointee.zeros.deallocate()
        log.deallocate()
        file.pointee.pMethods = usual
        return usual.pointee.xClose(file)
    }
}

/// The writer's log, for who commits; used by one thread at a time, while the connection is open.
struct WriteAheadLog {
    fileprivate let log: UnsafeMutablePointer<GatheredLog>

    /// Runs a commit without its sync.
    /// - Returns: what the commit returned, and the sync that is still to be done; nil where there was none to leave.
    func leavingSync<Result>(_ commit: () -> Result) -> (Result, LeftSync?) {
        log.pointee.left = nil
        log.pointee.leavesSync = true
        defer { log.pointee.leavesSync = false }
        let result = commit()
        return (result, log.pointee.left)
    }

    /// A sync that was left has failed: from here on each sync fails, until the database was opened anew.
    func lose() { log.pointee.isLost = true }
}

/// A sync that a commit has left: until it has succeeded, the commit may be gone after a loss of power.
struct LeftSync: @unchecked Sendable {
    // @unchecked: SQLite's method for Unix reads nothing of the file but its descriptor, which stays while it is open.
    fileprivate let file: UnsafeMutablePointer<sqlite3_file>
    fileprivate let flags: Int32
    fileprivate let sync: @convention(c) (UnsafeMutablePointer<sqlite3_file>?, Int32) -> Int32

    /// Any thread, while the connection is open; others may write to the log meanwhile.
    /// - Returns: SQLite's result code, and the operating system's where that is an error.
    func run() -> (result: Int32, errno: Int32) {
        let result = sync(file, flags)
        return (result, result == SQLITE_OK ? 0 : errno)
    }
}
