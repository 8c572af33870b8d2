internal import CLinux
internal import Glibc

/// A consistent copy of a database that may be served meanwhile.
public enum Backup {
    /// Writes a copy into a file of its own beside the named one, checks it, syncs it, and only then gives it its name.
    /// One read transaction: the daemon goes on, and it takes as long as reading the database once.
    ///
    /// - Parameter replacing: whether a file that is there already may go.
    /// - Throws: `StoreError`; nothing is left behind then, and a file that was there is as it was.
    /// - Returns: the last number of the audit that is in the copy, and its tokens.
    public static func write(
        stateDirectory: String, to path: String, replacing: Bool
    ) throws -> (sequence: Int64, tokens: Int64) {
        let source = try DatabaseFile(stateDirectory: stateDirectory)
        guard replacing || access(path, F_OK) != 0 else { throw exists(path) }
        let part = "\(path).\(getpid()).part"
        let descriptor = linux_open(part, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw StoreError.system("\(part) cannot be made", errno: errno) }
        defer { close(descriptor) }
        do {
            try source.copy(into: part)
            try syncLog(of: stateDirectory)
            let copy = try DatabaseFile(path: part)
            let found = try copy.check()
            guard found.problems.isEmpty else {
                throw StoreError(.damaged, "The copy is not good, so it was not kept: \(found.problems[0]).")
            }
            guard fsync(descriptor) == 0 else { throw StoreError.system("\(part) cannot be synced", errno: errno) }
            try name(part, path, replacing: replacing)
            return (try copy.auditHead().sequence, found.tokens)
        } catch {
            unlink(part)
            throw StoreError.any(error)
        }
    }

    /// The copy may hold a commit whose sync the daemon has not ended: nobody shall restore what a loss of power undid.
    private static func syncLog(of stateDirectory: String) throws {
        let name = stateDirectory + "/tokens.db-wal"
        let log = linux_open(name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0)
        guard log >= 0 else {
            if errno == ENOENT { return }
            throw StoreError.system("\(name) cannot be opened", errno: errno)
        }
        defer { close(log) }
        guard fdatasync(log) == 0 else { throw StoreError.system("\(name) cannot be synced", errno: errno) }
    }

    /// link(2), unlike rename(2), does not take the place of a file that has come meanwhile.
    private static func name(_ part: String, _ path: String, replacing: Bool) throws {
        if replacing {
            guard rename(part, path) == 0 else { throw StoreError.system("\(path) cannot be made", errno: errno) }
        } else {
            guard link(part, path) == 0 else {
                throw errno == EEXIST ? exists(path) : StoreError.system("\(path) cannot be made", errno: errno)
            }
            unlink(part)
        }
        try syncDirectory(of: path)
    }

    private static func exists(_ path: String) -> StoreError {
        StoreError(.exists, "\(path) exists already; name another file, or give --replace.", errno: EEXIST)
    }

    /// A name is durable when its directory is.
    static func syncDirectory(of path: String) throws {
        let folder = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        let directory = linux_open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
        guard directory >= 0 else { throw StoreError.system("\(folder) cannot be opened", errno: errno) }
        defer { close(directory) }
        guard fsync(directory) == 0 else { throw StoreError.system("\(folder) cannot be synced", errno: errno) }
    }
}
