import Testing

@testable import TokenStore

/// When the log is copied into the database.
@Suite struct UpkeepTests {
    @Test func aDiskThatRefusesHasItsLogCopiedEarly() throws {
        let directory = try TemporaryDirectory()
        let configuration = StoreConfiguration()
        let database = try TokenDatabase(path: directory.path + "/tokens.db")
        defer { database.close() }
        var upkeep = Upkeep(configuration: configuration, database: database, bootMilliseconds: 0)
        let pages = Int32(configuration.idleCheckpointBytes / database.pageBytes)

        #expect(!upkeep.wantsCheckpoint(pages: pages, isIdle: false))
        #expect(upkeep.wantsCheckpoint(pages: pages, isIdle: true))
        upkeep.diskRefused(at: 0)
        #expect(upkeep.wantsCheckpoint(pages: pages, isIdle: false))
        #expect(!upkeep.wantsCheckpoint(pages: pages - 1, isIdle: false))
        upkeep.diskTookChanges()
        #expect(!upkeep.wantsCheckpoint(pages: pages, isIdle: false))
    }

    /// A reader may be in the log: then it does not start over, and another copy of the same is for nothing.
    @Test func aLogThatDoesNotStartOverIsCopiedAgainOnlyWhenItHasGrown() throws {
        let directory = try TemporaryDirectory()
        let configuration = StoreConfiguration()
        let database = try TokenDatabase(path: directory.path + "/tokens.db")
        defer { database.close() }
        var upkeep = Upkeep(configuration: configuration, database: database, bootMilliseconds: 0)
        let step = Int32(configuration.idleCheckpointBytes / database.pageBytes)

        upkeep.checkpointed(pages: 3 * step, freeBytes: .max)
        upkeep.committed(pages: 3 * step)
        #expect(!upkeep.wantsCheckpoint(pages: 4 * step - 1, isIdle: true))
        #expect(upkeep.wantsCheckpoint(pages: 4 * step, isIdle: true))
        upkeep.committed(pages: 1)
        #expect(upkeep.wantsCheckpoint(pages: step, isIdle: true))
    }

    /// On a small disk an eighth of what is free, and of that the log's own room, which it uses again.
    @Test func theBusyLimitFollowsWhatIsFree() throws {
        let directory = try TemporaryDirectory()
        let configuration = StoreConfiguration()
        let database = try TokenDatabase(path: directory.path + "/tokens.db")
        defer { database.close() }
        var upkeep = Upkeep(configuration: configuration, database: database, bootMilliseconds: 0)
        let mebibyte = Int32((1 << 20) / database.pageBytes)

        upkeep.checkpointed(pages: 8 * mebibyte, freeBytes: 72 << 20)
        upkeep.committed(pages: 0)
        #expect(!upkeep.wantsCheckpoint(pages: 10 * mebibyte - 1, isIdle: false))
        #expect(upkeep.wantsCheckpoint(pages: 10 * mebibyte, isIdle: false))
        upkeep.checkpointed(pages: 0, freeBytes: 0)
        #expect(upkeep.wantsCheckpoint(pages: mebibyte, isIdle: false))
    }
}
