import Glibc
import Synchronization
import Testing
import TokenModel

@testable import TokenStore

/// The room that is made ahead of the frames of a log that grows.
struct LogRoomTests {
    private static let aheadBytes = 131_072

    @Test func theLogGrowsSeldomAndIsReadToItsLastCommit() throws {
        let test = try TestLedger()
        let (sizes, last) = try Self.rotate(test, times: 200)
        #expect(sizes.allSatisfy { $0 % Self.aheadBytes == 0 }, "\(sizes)")
        let grown = zip(sizes, sizes.dropFirst()).count { $0 != $1 }
        #expect((1...sizes.count / 10).contains(grown), "\(grown) of \(sizes.count) commits made the file longer")

        // As a kill leaves them.
        let copy = try TemporaryDirectory()
        for name in ["tokens.db", "tokens.db-wal"] { try Self.copy(name, from: test.directory, to: copy) }
        let found = try TestLedger(directory: copy, clock: test.clock)
        #expect(found.isActive(last))
        #expect(try found.ledger.countedChainRows() == sizes.count)
        try found.ledger.expectIndexEqualsTable()
    }

    /// A disk that has room for a commit and for no more takes the commit.
    @Test func roomThatCannotBeMadeIsDoneWithout() throws {
        try #require(FaultyDisk.isInstalled)
        let test = try TestLedger()
        FaultyDisk.fail(.noRoomAhead, under: test.directory.path)
        let (sizes, last) = try Self.rotate(test, times: 200)
        #expect(FaultyDisk.count(.noRoomAhead, under: test.directory.path) > 0)
        #expect(sizes.count { $0 % Self.aheadBytes != 0 } > sizes.count / 2, "\(sizes)")
        #expect(test.ledger.status().storageProblem == nil && test.isActive(last))
        #expect(sizes.last ?? 0 > Self.aheadBytes, "more than was there before the disk was full")
        try test.ledger.expectIndexEqualsTable()
    }

    /// - Returns: the log's size after each commit, and the last token.
    private static func rotate(_ test: TestLedger, times: Int) throws -> (sizes: [Int], last: TokenSecret) {
        var last = try test.credentials(
            .register(application: app("alice"), project: project("p"), ttlSeconds: 600)
        ).token
        var sizes = [try size(test)]
        for _ in 0..<times {
            last = try test.credentials(
                .rotate(application: app("alice"), project: project("p"), ttlSeconds: 600, graceSeconds: 0)
            ).token
            sizes.append(try size(test))
        }
        return (sizes, last)
    }

    private static func size(_ test: TestLedger) throws -> Int {
        var found = stat()
        guard stat(test.directory.path + "/tokens.db-wal", &found) == 0 else { throw TestFault("no log: \(errno)") }
        return found.st_size
    }

    private static func copy(_ name: String, from: TemporaryDirectory, to: TemporaryDirectory) throws {
        let source = open("\(from.path)/\(name)", O_RDONLY)
        let target = open("\(to.path)/\(name)", O_WRONLY | O_CREAT | O_EXCL, 0o600)
        defer {
            close(source)
            close(target)
        }
        guard source >= 0, target >= 0 else { throw TestFault("\(name) cannot be copied: errno \(errno)") }
        var bytes = [UInt8](repeating: 0, count: 65_536)
        while case let count = read(source, &bytes, bytes.count), count != 0 {
            guard count > 0, write(target, bytes, count) == count else { throw TestFault("\(name): errno \(errno)") }
        }
    }
}
