internal import CLinux
internal import GRDBSQLite
internal import Glibc

/// The first database of a state directory is made whole under another name, and only then gets its own. So there is never a
/// database without content: one that is found so has lost it, and is not taken for a new one.
extension StateDirectory {
    private static let unfinished = "tokens.db.new"

    /// Sees to it that there is a database, and makes one where there never was.
    /// - Throws: `StoreError`: `damaged` where one was lost.
    func makeFirstDatabase() throws {
        // What a start has left that ended in the middle of this.
        removeUnfinished()
        if holds("tokens.db") {
            guard size(of: "tokens.db") == 0 else { return }
            throw StoreError(
                .damaged,
                "The database \(databasePath) is empty, which it never is by itself; restore a backup, or, where no token "
                    + "was ever issued here, remove it.")
        }
        guard size(of: "tokens.db-wal") == 0 else {
            throw StoreError(
                .damaged,
                "The database \(databasePath) is missing, and its log tokens.db-wal is there; restore a backup, or, where "
                    + "no token was ever issued here, remove the log.")
        }
        try syncName()
        defer { removeUnfinished() }
        let new = "\(path)/\(Self.unfinished)"
        try makeFile(Self.unfinished)
        try fill(new)
        guard rename(new, databasePath) == 0 else {
            throw StoreError.system("\(databasePath) cannot be made", errno: errno)
        }
        try syncNames()
    }

    private func removeUnfinished() {
        for suffix in ["", "-wal", "-shm", "-journal"] { unlink("\(path)/\(Self.unfinished)\(suffix)") }
    }

    private func fill(_ new: String) throws {
        let database = try TokenDatabase(path: new)
        let isWhole: Bool
        do {
            isWhole = try database.checkpoint(truncating: true)
        } catch {
            database.close()
            throw error
        }
        database.close()
        // Its connections leave an empty log behind.
        guard isWhole, size(of: "\(Self.unfinished)-wal") == 0 else { throw StoreError.sqlite(SQLITE_BUSY) }
        let file = linux_open(new, O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0)
        guard file >= 0 else { throw StoreError.system("\(new) cannot be opened", errno: errno) }
        defer { close(file) }
        guard fsync(file) == 0 else { throw StoreError.system("\(new) cannot be synced", errno: errno) }
    }
}
