import GRDBSQLite
import Glibc
import Synchronization
import TokenModel

/// SQLite's own way to the disk, but for what it is asked to fail at, for the files under one path: tests run beside each
/// other. It stands before the usual one for the whole test process.
enum FaultyDisk {
    enum Fault: Hashable {
        case logCannotBeSynced
        case databaseCannotBeSynced
        /// For the log.
        case noRoom
        /// For what is made ahead of the log's frames.
        case noRoomAhead
    }

    private struct Place: Hashable {
        var fault: Fault
        /// The beginning of the files' paths.
        var path: String
    }

    /// How often each was met; those that are mended are not here.
    private static let faults = Mutex<[Place: Int]>([:])
    /// The beginnings of the paths whose logs, and whose databases, are synced only while nobody holds them.
    static let held = Mutex<[String: SyncHold]>([:])
    static let heldDatabases = Mutex<[String: SyncHold]>([:])

    static func fail(_ fault: Fault, under path: String) {
        faults.withLock { $0[Place(fault: fault, path: path)] = 0 }
    }

    static func mend(_ fault: Fault, under path: String) {
        _ = faults.withLock { $0.removeValue(forKey: Place(fault: fault, path: path)) }
    }

    /// - Returns: how often it was met since it was asked for; zero where it is mended.
    static func count(_ fault: Fault, under path: String) -> Int {
        faults.withLock { $0[Place(fault: fault, path: path)] ?? 0 }
    }

    private static func meets(_ fault: Fault, _ path: String) -> Bool {
        faults.withLock { faults in
            let met = faults.keys.first { $0.fault == fault && path.hasPrefix($0.path) }
            if let met { faults[met, default: 0] += 1 }
            return met != nil
        }
    }

    private static func pass(_ holds: borrowing Mutex<[String: SyncHold]>, _ path: String) {
        holds.withLock { holds in holds.first { path.hasPrefix($0.key) }?.value }?.pass()
    }

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
        if !isLog { methods.pointee.xUnfetch = unfetch }
        file.pointee.pMethods = UnsafePointer(methods)
        logs.withLock { $0[UInt(bitPattern: file)] = String(cString: path) }
        return result
    }

    /// Logs whose header was written since their last sync, and how often each was written elsewhere then.
    static let besideHeader = Mutex<[String: (isUnsynced: Bool, writes: Int)]>([:])

    private static let write: Write = { file, bytes, count, offset in
        let path = logs.withLock { $0[UInt(bitPattern: file)] } ?? ""
        besideHeader.withLock {
            if offset == 0 {
                $0[path, default: (false, 0)].isUnsynced = true
            } else if $0[path]?.isUnsynced == true {
                $0[path]?.writes += 1
            }
        }
        if meets(.noRoom, path) { return SQLITE_FULL }
        // No frame begins with zeros: it has a page's number.
        if bytes?.loadUnaligned(as: UInt64.self) == 0, meets(.noRoomAhead, path) { return SQLITE_FULL }
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

    /// Of each database, what is done once a checkpoint has read how far the log goes, before it asks how much of that is copied:
    /// it says then that what is mapped of the file (nothing) may be old.
    static let atCheckpoint = Mutex<[String: @Sendable () -> Void]>([:])

    private static let unfetch:
        @convention(c) (UnsafeMutablePointer<sqlite3_file>?, Int64, UnsafeMutableRawPointer?) -> Int32 = { file, _, _ in
            let path = logs.withLock { $0[UInt(bitPattern: file)] } ?? ""
            atCheckpoint.withLock { $0[path] }?()
            return SQLITE_OK
        }

    private static let syncDatabase: Sync = { file, flags in
        let path = logs.withLock { $0[UInt(bitPattern: file)] } ?? ""
        pass(heldDatabases, path)
        let written = unsynced.withLock { $0.removeValue(forKey: path) } ?? []
        if meets(.databaseCannotBeSynced, path) {
            dropped.withLock { $0[path, default: []].formUnion(written) }
            return SQLITE_IOERR | (4 << 8)  // SQLITE_IOERR_FSYNC
        }
        return original.withLock { $0.sync }?(file, flags) ?? SQLITE_ERROR
    }

    private static let sync: Sync = { file, flags in
        let path = logs.withLock { $0[UInt(bitPattern: file)] } ?? ""
        pass(held, path)
        if meets(.logCannotBeSynced, path) {
            return SQLITE_IOERR | (4 << 8)  // SQLITE_IOERR_FSYNC
        }
        besideHeader.withLock { $0[path]?.isUnsynced = false }
        return original.withLock { $0.sync }?(file, flags) ?? SQLITE_ERROR
    }
}

/// Holds the syncs of a file, or lets each wait a while.
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

    /// Whether a sync waits, or passes.
    var isAwaited: Bool { monitor.locked { waiting > 0 } }

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
