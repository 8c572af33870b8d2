import Foundation
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
    private func full(
        _ log: LogLength = LogLength()
    ) throws -> (TemporaryDirectory, DatabaseQueue, Checkpointer) {
        try #require(FaultyDisk.isInstalled)
        let directory = try TemporaryDirectory()
        let path = directory.path + "/tokens.db"
        let queue = try DatabaseQueue(path: path)
        try queue.writeWithoutTransaction {
            try $0.execute(sql: "PRAGMA page_size = \(Self.pageBytes)")
            _ = try String.fetchOne($0, sql: "PRAGMA journal_mode = WAL")
            try $0.execute(sql: "PRAGMA wal_autocheckpoint = 0; CREATE TABLE held (bytes BLOB)")
        }
        let checkpointer = try Checkpointer(path: path, log: log)
        try queue.write { try Self.insert(Self.pages, $0) }
        FaultyDisk.mostUnsynced.withLock { $0[path] = 0 }
        return (directory, queue, checkpointer)
    }

    private static func insert(_ pages: Int, _ db: Database) throws {
        try db.execute(
            sql: """
                WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < \(pages))
                INSERT INTO held SELECT randomblob(900) FROM n
                """)
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

    /// SQLite before 3.51.3 loses a commit that starts the log over while a checkpoint of the copied log begins
    /// (sqlite.org/wal.html#walresetbug).
    @Test func nothingIsLostWhereTheLogStartsOverAsItIsLookedAt() throws {
        let (directory, queue, checkpointer) = try full()
        let path = directory.path + "/tokens.db"
        let change: @Sendable () -> Void = {
            #expect(throws: Never.self) {
                try queue.write { try $0.execute(sql: "UPDATE held SET bytes = 'kept' WHERE rowid = 1") }
            }
        }
        let looks = Atomic<Int>(0)
        FaultyDisk.atCheckpoint.withLock {
            $0[path] = { if looks.add(1, ordering: .relaxed).newValue == 2 { change() } }
        }
        guard case .copied = checkpointer.run() else { throw TestFault("not copied") }
        FaultyDisk.atCheckpoint.withLock { $0[path] = nil }
        if looks.load(ordering: .relaxed) < 2 { change() }
        // Past where the log ended.
        try queue.write { try Self.insert(2 * Self.pages, $0) }
        guard case .copied = checkpointer.run() else { throw TestFault("not copied") }
        checkpointer.close()
        try queue.close()
        let again = try DatabaseQueue(path: path)
        let found = try again.read { try Data.fetchOne($0, sql: "SELECT bytes FROM held WHERE rowid = 1") }
        #expect(found == Data("kept".utf8))
        #expect(try again.read { try String.fetchAll($0, sql: "PRAGMA integrity_check") } == ["ok"])
        try again.close()
    }

    /// Beside a busy writer the log grows during each pass. What has come is copied too, but not for ever, and not where it is
    /// little.
    @Test(arguments: [(600, 4), (100, 1)])
    func whatCameMeanwhileIsCopiedByAnotherPass(_ pages: Int, _ passes: Int) throws {
        let log = LogLength()
        let (directory, queue, checkpointer) = try full(log)
        defer { checkpointer.close() }
        let path = directory.path + "/tokens.db"
        let looks = Atomic<Int>(0)
        FaultyDisk.atCheckpoint.withLock {
            $0[path] = {
                looks.add(1, ordering: .relaxed)
                #expect(throws: Never.self) { try queue.write { try Self.insert(pages, $0) } }
                var file = stat()
                #expect(stat(path + "-wal", &file) == 0)
                let frame = off_t(24 + Self.pageBytes)
                log.pages.store(Int32((file.st_size - 32) / frame), ordering: .releasing)
            }
        }
        guard case .copied = checkpointer.run() else { throw TestFault("not copied") }
        FaultyDisk.atCheckpoint.withLock { $0[path] = nil }
        #expect(looks.load(ordering: .relaxed) == passes)
        try queue.close()
    }
}
