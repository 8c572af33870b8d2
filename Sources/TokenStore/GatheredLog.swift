internal import GRDBSQLite
internal import Glibc

/// Gathers what SQLite writes to the write-ahead log and hands it on in one write before it is synced, read or measured.
///
/// SQLite writes each page of a transaction in two calls, 24 bytes and then the page: for a batch of small changes these
/// calls are a quarter of the writer's time. Frames follow each other in the file, so one call can write them all. Nothing
/// can see the difference: other connections learn of frames only when the commit has synced them, and where the one
/// write fails, the commit frame, which comes last, is not in the file, as when SQLite's own write fails.
///
/// It stands before the methods of one open file, the writer's: SQLite finds them through the file's first member, and so
/// does this find its memory, whose first member they are.
struct GatheredLog {
    private let methods: sqlite3_io_methods
    private let usual: UnsafePointer<sqlite3_io_methods>
    private let room: UnsafeMutableRawPointer
    /// Where in the file the gathered bytes belong.
    private var start: Int64 = 0
    private var count = 0

    /// Thirty pages and no more: SQLite's own method for Unix looks at 17 bits of a length only.
    private static let roomBytes = 122_880

    private typealias File = UnsafeMutablePointer<sqlite3_file>

    /// Has a connection's log gathered from now on, until the connection is closed.
    /// - Throws: `StoreError` where the connection has no log open.
    static func install(on connection: OpaquePointer) throws {
        var pointer: UnsafeMutableRawPointer?
        let result = sqlite3_file_control(connection, "main", SQLITE_FCNTL_JOURNAL_POINTER, &pointer)
        guard result == SQLITE_OK, let file = pointer?.assumingMemoryBound(to: sqlite3_file.self),
            let usual = file.pointee.pMethods
        else { throw StoreError(.invariant, "SQLite has no write-ahead log open.") }
        var methods = usual.pointee
        methods.xWrite = { file, bytes, amount, offset in GatheredLog.write(file, bytes, Int(amount), offset) }
        methods.xSync = { file, flags in
            GatheredLog.flushed(file) { $0.xSync(file, flags) }
        }
        methods.xRead = { file, bytes, amount, offset in
            GatheredLog.flushed(file) { $0.xRead(file, bytes, amount, offset) }
        }
        methods.xTruncate = { file, size in
            GatheredLog.flushed(file) { $0.xTruncate(file, size) }
        }
        methods.xFileSize = { file, size in
            GatheredLog.flushed(file) { $0.xFileSize(file, size) }
        }
        methods.xClose = { file in GatheredLog.close(file) }
        let log = UnsafeMutablePointer<GatheredLog>.allocate(capacity: 1)
        log.initialize(
            to: GatheredLog(
                methods: methods, usual: usual, room: .allocate(byteCount: roomBytes, alignment: 4_096)))
        file.pointee.pMethods = UnsafeRawPointer(log).assumingMemoryBound(to: sqlite3_io_methods.self)
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
        return log.pointee.usual.pointee.xWrite(file, log.pointee.room, Int32(count), log.pointee.start)
    }

    private static func flushed(_ file: File?, _ then: (sqlite3_io_methods) -> Int32) -> Int32 {
        guard let file else { return SQLITE_MISUSE }
        let result = flush(file)
        return result == SQLITE_OK ? then(of(file).pointee.usual.pointee) : result
    }

    private static func close(_ file: File?) -> Int32 {
        guard let file else { return SQLITE_MISUSE }
        // Of a transaction that was not committed, or it would have been synced: nobody misses it.
        let log = of(file)
        let usual = log.pointee.usual
        log.pointee.room.deallocate()
        log.deallocate()
        file.pointee.pMethods = usual
        return usual.pointee.xClose(file)
    }
}
