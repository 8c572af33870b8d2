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
        try removeUnfinished()
        if try isDatabaseThere() { return }
        try syncName()
        let new = "\(path)/\(Self.unfinished)"
        do {
            try makeFile(Self.unfinished)
            try fill(new)
            // An older program has left it that was ended as it made its first database: it would be rolled back into this one.
            try remove("tokens.db-journal")
            guard rename(new, databasePath) == 0 else {
                throw StoreError.system("\(databasePath) cannot be made", errno: errno)
            }
        } catch {
            try? removeUnfinished()
            throw error
        }
        try removeUnfinished()
        try syncNames()
    }

    /// - Returns: false where there never was one.
    /// - Throws: `StoreError`: `damaged` where there was one and its content is gone.
    func isDatabaseThere() throws -> Bool {
        if try holds("tokens.db") {
            guard size(of: "tokens.db") == 0 else { return true }
            throw StoreError(
                .damaged,
                "The database \(databasePath) is empty, which it never is by itself; restore a backup, or, where no token "
                    + "was ever issued here, remove it.")
        }
        guard try holds("tokens.db-wal"), size(of: "tokens.db-wal") > 0 else { return false }
        throw StoreError(
            .damaged,
            "The database \(databasePath) is missing, and its log tokens.db-wal is there; restore a backup, or, where no "
                + "token was ever issued here, remove the log.")
    }

    private func removeUnfinished() throws {
        for suffix in ["", "-wal", "-shm", "-journal"] { try remove(Self.unfinished + suffix) }
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
