import GRDBSQLite
import Synchronization

/// SQLite's own way to the disk, but for two things: the write-ahead logs under one path cannot be synced, or find no
/// room, while that is asked for. It stands before the usual one for the whole test process.
enum FaultyDisk {
    /// The beginning of the paths whose logs cannot be synced, or nil.
    static let unsyncable = Mutex<String?>(nil)
    /// The beginning of the paths whose logs find no room, or nil.
    static let unwritable = Mutex<String?>(nil)
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
    /// Which open files are logs that may be told to fail.
    private static let logs = Mutex<[UInt: String]>([:])

    private static let open: Open = { vfs, path, file, flags, outFlags in
        guard let open = original.withLock({ $0.open }) else { return SQLITE_ERROR }
        let result = open(vfs, path, file, flags, outFlags)
        guard result == SQLITE_OK, flags & SQLITE_OPEN_WAL != 0, let path, let file,
            let usual = file.pointee.pMethods
        else { return result }
        original.withLock {
            $0.sync = usual.pointee.xSync
            $0.write = usual.pointee.xWrite
        }
        let methods = UnsafeMutablePointer<sqlite3_io_methods>.allocate(capacity: 1)  // lives as long as the test
        methods.initialize(to: usual.pointee)
        methods.pointee.xSync = sync
        methods.pointee.xWrite = write
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
        return original.withLock { $0.write }?(file, bytes, count, offset) ?? SQLITE_ERROR
    }

    private static let sync: Sync = { file, flags in
        let path = logs.withLock { $0[UInt(bitPattern: file)] } ?? ""
        if let broken = unsyncable.withLock({ $0 }), path.hasPrefix(broken) {
            return SQLITE_IOERR | (4 << 8)  // SQLITE_IOERR_FSYNC
        }
        return original.withLock { $0.sync }?(file, flags) ?? SQLITE_ERROR
    }
}
