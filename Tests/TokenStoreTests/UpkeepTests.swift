import Testing

@testable import TokenStore

/// When the log is copied into the database.
@Suite struct UpkeepTests {
    /// The upkeep of a new database, and the pages of a log that is long enough for an idle moment.
    private func withUpkeep(_ body: (inout Upkeep, Int32) -> Void) throws {
        let directory = try TemporaryDirectory()
        let configuration = StoreConfiguration.overlapping
        let database = try TokenDatabase(path: directory.path + "/tokens.db")
        defer { database.close() }
        var upkeep = Upkeep(configuration: configuration, database: database, bootMilliseconds: 0)
        body(&upkeep, Int32(configuration.idleCheckpointBytes / database.pageBytes))
    }

    @Test func aDiskThatRefusesHasItsLogCopiedEarly() throws {
        try withUpkeep { upkeep, pages in
            #expect(!upkeep.wantsCheckpoint(pages: pages, isIdle: false))
            #expect(upkeep.wantsCheckpoint(pages: pages, isIdle: true))
            upkeep.diskRefused(at: 0)
            #expect(upkeep.wantsCheckpoint(pages: pages, isIdle: false))
            #expect(!upkeep.wantsCheckpoint(pages: pages - 1, isIdle: false))
            upkeep.diskTookChanges()
            #expect(!upkeep.wantsCheckpoint(pages: pages, isIdle: false))
        }
    }

    /// A reader may be in the log: then it does not start over, and another copy of the same is for nothing.
    @Test func aLogThatDoesNotStartOverIsCopiedAgainOnlyWhenItHasGrown() throws {
        try withUpkeep { upkeep, pages in
            upkeep.checkpointed(pages: 3 * pages, freeBytes: .max)
            upkeep.committed(pages: 3 * pages)
            #expect(!upkeep.wantsCheckpoint(pages: 4 * pages - 1, isIdle: true))
            #expect(upkeep.wantsCheckpoint(pages: 4 * pages, isIdle: true))
            upkeep.committed(pages: 1)
            #expect(upkeep.wantsCheckpoint(pages: pages, isIdle: true))
        }
    }

    /// An eighth of what is free and of the log's own room, which it uses again: 10 MiB of 72 and 8.
    @Test func theBusyLimitFollowsWhatIsFree() throws {
        try withUpkeep { upkeep, mebibyte in
            upkeep.checkpointed(pages: 8 * mebibyte, freeBytes: 72 << 20)
            upkeep.committed(pages: 0)
            #expect(!upkeep.wantsCheckpoint(pages: 10 * mebibyte - 1, isIdle: false))
            #expect(upkeep.wantsCheckpoint(pages: 10 * mebibyte, isIdle: false))
            upkeep.checkpointed(pages: 0, freeBytes: 0)
            #expect(upkeep.wantsCheckpoint(pages: mebibyte, isIdle: false))
        }
    }
}
