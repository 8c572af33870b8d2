internal import CLinux
internal import Glibc

/// The folder of the database: ours alone, and held by one process at a time.
final class StateDirectory: Sendable {
    /// There from a failed sync until the log was read from its beginning: while another program has the database open, its
    /// account of what the database holds outlives this process. It need not outlive a power cut, which ends that program too.
    static let lostLogName = "tokens.db-lost"

    let path: String
    private let lock: Int32

    var databasePath: String { path + "/tokens.db" }

    /// Makes the directory where there is none, checks it and a database that is in it, and takes its lock.
    /// - Throws: `StoreError`: `unsafeDirectory`, `alreadyServed`, or what the disk says.
    init(path: String) throws {
        self.path = path
        let directory = try Self.openDirectory(path)
        defer { close(directory) }
        lock = try Self.takeLock(in: directory, path: path)
        do {
            if try holds("tokens.db") { close(try Self.openFile("tokens.db", in: directory, path: path)) }
        } catch {
            close(lock)
            throw error
        }
    }

    deinit { close(lock) }

    /// Makes an empty file with the mode of all that is in here: SQLite gives the files beside a database the same.
    func makeFile(_ name: String) throws {
        let directory = try Self.openDirectory(path)
        defer { close(directory) }
        close(try Self.openFile(name, in: directory, path: path))
    }

    /// Makes the directory's own name durable.
    func syncName() throws { try Self.syncName(of: path) }

    /// Lets another process serve the database. Nothing of this directory may be used after.
    func release() { flock(lock, LOCK_UN) }

    /// Writes the log of a run that was ended by force anew, byte for byte, and syncs it. Where a sync of it had failed,
    /// the kernel may hold what never reached the disk and say of it that all is well: whoever believes what was read,
    /// and puts more behind it, would lose all of that with the power.
    func renewLog() throws {
        let name = path + "/tokens.db-wal"
        let log = linux_open(name, O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0)
        guard log >= 0 else {
            if errno == ENOENT { return }
            throw StoreError.system("\(name) cannot be opened", errno: errno)
        }
        defer { close(log) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        var offset: off_t = 0
        while true {
            let count = pread(log, &bytes, bytes.count, offset)
            guard count >= 0 else { throw StoreError.system("\(name) cannot be read", errno: errno) }
            if count == 0 { break }
            guard pwrite(log, bytes, count, offset) == count else {
                throw StoreError.system("\(name) cannot be written", errno: errno)
            }
            offset += off_t(count)
        }
        guard offset == 0 || fsync(log) == 0 else { throw StoreError.system("\(name) cannot be synced", errno: errno) }
    }

    /// Makes the names of the database and its log durable. SQLite tries, and goes on where it fails.
    func syncNames() throws { try Backup.syncDirectory(of: databasePath) }

    /// The name of a directory is durable when the one above is synced. Of what is in it, SQLite sees to that.
    private static func syncName(of path: String) throws {
        do {
            try Backup.syncDirectory(of: path + "/../.")
        } catch let error as StoreError where error.errno == EACCES {
            // Who may not read the directory above has made nothing in it.
        }
    }

    /// Makes the directory where there is none, and what it stands in: the home of a new user has no `.local/state`.
    private static func make(_ path: String) -> Bool {
        if mkdir(path, 0o700) == 0 || errno == EEXIST { return true }
        guard errno == ENOENT, let slash = path.lastIndex(of: "/"), slash > path.startIndex else { return false }
        let above = String(path[..<slash])
        return make(above) && (try? syncName(of: above)) != nil && mkdir(path, 0o700) == 0
    }

    private static func openDirectory(_ path: String) throws -> Int32 {
        guard make(path) else {
            throw StoreError.system("The state directory \(path) cannot be made", errno: errno)
        }
        let directory = linux_open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0)
        guard directory >= 0 else {
            if errno == ELOOP || errno == ENOTDIR {
                throw StoreError(
                    .unsafeDirectory, "The state directory \(path) is not a directory itself; name the real one.",
                    errno: errno)
            }
            throw StoreError.system("The state directory \(path) cannot be opened", errno: errno)
        }
        var status = stat()
        guard fstat(directory, &status) == 0 else {
            let code = errno
            close(directory)
            throw StoreError.system("The state directory \(path) cannot be read", errno: code)
        }
        guard status.st_uid == geteuid() else {
            close(directory)
            throw StoreError(
                .unsafeDirectory,
                "The state directory \(path) belongs to uid \(status.st_uid); give it to uid \(geteuid()).")
        }
        guard status.st_mode & 0o077 == 0 else {
            close(directory)
            throw StoreError(
                .unsafeDirectory, "Others may enter the state directory \(path); run chmod 0700 on it.")
        }
        return directory
    }

    /// The lock is flock(2)'s: the kernel releases it when the process ends, however it ends.
    private static func takeLock(in directory: Int32, path: String) throws -> Int32 {
        let lock = try openFile("lock", in: directory, path: path)
        guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            let holder = readHolder(lock)
            close(lock)
            guard code == EWOULDBLOCK else {
                throw StoreError.system("The lock in \(path) cannot be taken", errno: code)
            }
            throw StoreError(
                .alreadyServed, "Another scaem-tokend (pid \(holder)) serves this database; stop it first.")
        }
        // Only for the sentence above: that the number could not be written harms nothing.
        var text = Array("\(getpid())\n".utf8)
        if ftruncate(lock, 0) == 0 { _ = pwrite(lock, &text, text.count, 0) }
        return lock
    }

    private static func openFile(_ name: String, in directory: Int32, path: String) throws -> Int32 {
        // Through the directory that was checked, not through its path, which may be another one by now.
        let file = linux_open("/proc/self/fd/\(directory)/\(name)", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw StoreError.system("\(path)/\(name) cannot be opened", errno: errno) }
        var status = stat()
        guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            close(file)
            throw StoreError(.unsafeDirectory, "\(path)/\(name) is not a plain file; remove it.")
        }
        guard status.st_uid == geteuid(), status.st_mode & 0o077 == 0 else {
            close(file)
            throw StoreError(
                .unsafeDirectory,
                "\(path)/\(name) is open to others; see who may have read it, then give it to uid \(geteuid()), mode 0600."
            )
        }
        return file
    }

    private static func readHolder(_ lock: Int32) -> String {
        var bytes = [UInt8](repeating: 0, count: 16)
        let count = pread(lock, &bytes, bytes.count, 0)
        guard count > 0 else { return "unknown" }
        return String(decoding: bytes[..<count].prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    }

    /// Whether there is something of that name.
    /// - Throws: `StoreError` where the disk does not say: what is not known to be missing is not made anew.
    func holds(_ name: String) throws -> Bool {
        var status = stat()
        if lstat(path + "/" + name, &status) == 0 { return true }
        guard errno == ENOENT else { throw StoreError.system("\(path)/\(name) cannot be looked at", errno: errno) }
        return false
    }

    /// Bytes of a file in the directory, for who is told of them; 0 where there is none.
    func size(of name: String) -> Int64 {
        var status = stat()
        return stat(path + "/" + name, &status) == 0 ? Int64(status.st_size) : 0
    }

    /// Removes a file, where there is one.
    func remove(_ name: String) throws {
        guard unlink(path + "/" + name) == 0 || errno == ENOENT else {
            throw StoreError.system("\(path)/\(name) cannot be removed", errno: errno)
        }
    }
}
