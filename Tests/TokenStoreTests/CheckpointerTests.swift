import GRDB
import Glibc
import Synchronization
import Testing
import TokenModel

@testable import TokenStore

/// The copying of the log into the database, without a ledger around it.
@Suite struct CheckpointerTests {
    private static let pageBytes = 1_024
    private static let pages = 4_096

    /// A database with some megabytes in its log, and a checkpointer for it. The queue keeps the log from being emptied.
    private func full() throws -> (TemporaryDirectory, DatabaseQueue, Checkpointer) {
        try #require(FaultyDisk.isInstalled)
        let directory = try TemporaryDirectory()
        let path = directory.path + "/tokens.db"
        let queue = try DatabaseQueue(path: path)
        try queue.writeWithoutTransaction {
            try $0.execute(sql: "PRAGMA page_size = \(Self.pageBytes)")
            _ = try String.fetchOne($0, sql: "PRAGMA journal_mode = WAL")
            try $0.execute(sql: "PRAGMA wal_autocheckpoint = 0; CREATE TABLE held (bytes BLOB)")
            try $0.execute(
                sql: """
                    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < \(Self.pages))
                    INSERT INTO held SELECT randomblob(900) FROM n
                    """)
        }
        FaultyDisk.mostUnsynced.withLock { $0[path] = 0 }
        return (directory, queue, try Checkpointer(path: path))
    }

    /// Callers wait for syncs of the log: the disk is never given more at once than it takes beside them.
    @Test func theDatabaseIsSyncedWhileItIsWritten() throws {
        let (directory, queue, checkpointer) = try full()
        defer { checkpointer.close() }
        guard case .copied = checkpointer.run() else { throw TestFault("not copied") }
        let path = directory.path + "/tokens.db"
        let most = FaultyDisk.mostUnsynced.withLock { $0[path] } ?? 0
        #expect(most > 0 && most <= 256, "pages at once")
        #expect(FaultyDisk.unsynced.withLock { $0[path]?.count ?? 0 } == 0)
        var file = stat()
        #expect(stat(path, &file) == 0 && Int(file.st_size) > Self.pages * Self.pageBytes, "all of it was copied")
        try queue.close()
    }

    /// What was written before it may be gone: that a later sync succeeds would say nothing.
    @Test func aSyncThatFailsMeanwhileLosesTheDatabase() throws {
        let (directory, queue, checkpointer) = try full()
        defer { checkpointer.close() }
        FaultyDisk.fail(.databaseCannotBeSynced, under: directory.path)
        guard case .lost = checkpointer.run() else { throw TestFault("not lost") }
        let dropped = FaultyDisk.dropped.withLock { $0[directory.path + "/tokens.db"]?.count } ?? 0
        #expect(dropped > 0 && dropped <= 256, "it is noticed at once")
        try queue.close()
    }
}
