import GRDBSQLite
import Glibc
import Synchronization
import TokenModel

/// SQLite's own way to the disk, but for two things: the write-ahead logs under one path cannot be synced, or find no
/// room, while that is asked for. It stands before the usual one for the whole test process.
enum FaultyDisk {
    /// The beginning of the paths whose logs cannot be synced, or nil.
    static let unsyncable = Mutex<String?>(nil)
    /// The beginnings of the paths whose databases cannot be synced.
    static let unsyncableDatabases = Mutex<Set<String>>([])
    /// How many syncs of a database have failed.
    static let failedSyncs = Atomic<Int>(0)
    /// The beginning of the paths whose logs find no room, or nil.
    static let unwritable = Mutex<String?>(nil)
    /// The beginnings of the paths whose logs are synced only while nobody holds them.
    static let held = Mutex<[String: SyncHold]>([:])
    /// The beginnings of the paths whose logs find no room for what is made ahead of their frames.
    static let withoutRoomAhead = Mutex<Set<String>>([])
    /// How many writes found no room.
    static let refusedWrites = Atomic<Int>(0)

    /// Stands in SQLite's list from the first use on.
    static let isInstalled: Bool = {
        guard let usual = sqlite3_vfs_find(nil) else { return false }
        original.withLock { $0 = Original(open: usual.pointee.xOpen) }
        let faulty = UnsafeMutablePointer<sqlite3_vfs>.allocate(capacity: 1)
        faulty.initialize(to: usual.pointee)
        let text = Array("faulty".utf8CString)
        let name = UnsafeMutablePointer<CChar>.allocate(capacity: text.count)
        name.initialize(from: text, count: text.count)
        faulty.pointee.zName = UnsafePointer(name)
        faulty.pointee.xOpen = open
        return sqlite3_vfs_register(faulty, 1) == SQLITE_OK
    }()

    private typealias Open =
        @convention(c) (
            UnsafeMutablePointer<sqlite3_vfs>?, UnsafePointer<CChar>?, UnsafeMutablePointer<sqlite3_file>?, Int32,
            UnsafeMutablePointer<Int32>?
        ) -> Int32
    private typealias Sync = @convention(c) (UnsafeMutablePointer<sqlite3_file>?, Int32) -> Int32

    private typealias Write =
        @convention(c) (UnsafeMutablePointer<sqlite3_file>?, UnsafeRawPointer?, Int32, Int64) -> Int32

    private struct Original {
        var open: Open?
        var sync: Sync?
        var write: Write?
    }

    private static let original = Mutex(Original())
    /// Which open files are logs or databases that may be told to fail.
    private static let logs = Mutex<[UInt: String]>([:])

    private static let open: Open = { vfs, path, file, flags, outFlags in
        guard let open = original.withLock({ $0.open }) else { return SQLITE_ERROR }
        let result = open(vfs, path, file, flags, outFlags)
        guard result == SQLITE_OK, flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_DB) != 0, let path, let file,
            let usual = file.pointee.pMethods
        else { return result }
        let isLog = flags & SQLITE_OPEN_WAL != 0
        original.withLock {
            $0.sync = usual.pointee.xSync
            $0.write = usual.pointee.xWrite
        }
        let methods = UnsafeMutablePointer<sqlite3_io_methods>.allocate(capacity: 1)  // lives as long as the test
        methods.initialize(to: usual.pointee)
        methods.pointee.xSync = isLog ? sync : syncDatabase
        methods.pointee.xWrite = isLog ? write : writeDatabase
        file.pointee.pMethods = UnsafePointer(methods)
        logs.withLock { $0[UInt(bitPattern: file)] = String(cString: path) }
        return result
    }

    private static let write: Write = { file, bytes, count, offset in
        let path = logs.withLock { $0[UInt(bitPattern: file)] } ?? ""
        if let full = unwritable.withLock({ $0 }), path.hasPrefix(full) {
            refusedWrites.add(1, ordering: .relaxed)
            return SQLITE_FULL
        }
        // No frame begins with zeros: it has a page's number.
        if bytes?.loadUnaligned(as: UInt64.self) == 0, withoutRoomAhead.withLock({ $0.contains { path.hasPrefix($0) } })
        {
            refusedWrites.add(1, ordering: .relaxed)
            return SQLITE_FULL
        }
        return original.withLock { $0.write }?(file, bytes, count, offset) ?? SQLITE_ERROR
    }

    /// Of each database, where it was written since its last sync; and where what was written went with a sync that failed,
    /// as the kernel lets go of it, and was not written again since.
    static let unsynced = Mutex<[String: Set<Int64>]>([:])
    static let dropped = Mutex<[String: Set<Int64>]>([:])
    /// Of each database, in how many places at most.
    static let mostUnsynced = Mutex<[String: Int]>([:])

    private static let writeDatabase: Write = { file, bytes, count, offset in
        let path = logs.withLock { $0[UInt(bitPattern: file)] } ?? ""
        let places = unsynced.withLock {
            $0[path, default: []].insert(offset)
            return $0[path]?.count ?? 0
        }
        mostUnsynced.withLock { $0[path] = max($0[path] ?? 0, places) }
        _ = dropped.withLock { $0[path]?.remove(offset) }
        return original.withLock { $0.write }?(file, bytes, count, offset) ?? SQLITE_ERROR
    }

    private static let syncDatabase: Sync = { file, flags in
        let path = logs.withLock { $0[UInt(bitPattern: file)] } ?? ""
        let written = unsynced.withLock { $0.removeValue(forKey: path) } ?? []
        if unsyncableDatabases.withLock({ $0.contains { path.hasPrefix($0) } }) {
            dropped.withLock { $0[path, default: []].formUnion(written) }
            failedSyncs.add(1, ordering: .relaxed)
            return SQLITE_IOERR | (4 << 8)  // SQLITE_IOERR_FSYNC
        }
        return original.withLock { $0.sync }?(file, flags) ?? SQLITE_ERROR
    }

    private static let sync: Sync = { file, flags in
        let path = logs.withLock { $0[UInt(bitPattern: file)] } ?? ""
        held.withLock { holds in holds.first { path.hasPrefix($0.key) }?.value }?.pass()
        if let broken = unsyncable.withLock({ $0 }), path.hasPrefix(broken) {
            return SQLITE_IOERR | (4 << 8)  // SQLITE_IOERR_FSYNC
        }
        return original.withLock { $0.sync }?(file, flags) ?? SQLITE_ERROR
    }
}

/// Holds the syncs of a log, or lets each wait a while.
final class SyncHold: @unchecked Sendable {
    // @unchecked: what is below `monitor` is touched only while it is locked.
    private let monitor = Monitor()
    private var isHeld = false
    private var waiting = 0
    private var thread = ""
    private var delay: (() -> UInt32)?

    /// Holds them from now on.
    func hold() { monitor.locked { isHeld = true } }

    /// Lets those that wait go, and all that come.
    func release() {
        monitor.locked {
            isHeld = false
            monitor.wake()
        }
    }

    /// From now on each sync takes so many microseconds more.
    func slow(_ delay: @escaping () -> UInt32) { monitor.locked { self.delay = delay } }

    /// Waits until a sync waits; a minute means that none comes.
    /// - Returns: the name of the thread that syncs.
    @discardableResult
    func awaitOne() throws -> String {
        let deadline = MonotonicClock.milliseconds + 60_000
        return try monitor.locked {
            while waiting == 0 {
                guard monitor.wait(until: deadline) else { throw TestFault("no sync came within a minute") }
            }
            return thread
        }
    }

    private static var threadName: String {
        let file = Glibc.open("/proc/thread-self/comm", O_RDONLY)
        defer { close(file) }
        var name = [UInt8](repeating: 0, count: 16)
        let count = read(file, &name, name.count)
        return String(decoding: name.prefix(max(0, count - 1)), as: UTF8.self)  // without its line end
    }

    fileprivate func pass() {
        let microseconds = monitor.locked {
            waiting += 1
            thread = Self.threadName
            monitor.wake()
            while isHeld { monitor.wait() }
            waiting -= 1
            return delay?() ?? 0
        }
        if microseconds > 0 { usleep(microseconds) }
    }
}
