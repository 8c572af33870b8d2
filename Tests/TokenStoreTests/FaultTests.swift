import CLinux
import Glibc
import Synchronization
import Testing
import TokenModel

@testable import TokenStore

@Suite(.serialized) struct FaultTests {
    private func ledgerThatReopensAtOnce() throws -> TestLedger {
        try #require(FaultyDisk.isInstalled)
        var configuration = StoreConfiguration.overlapping
        configuration.reopenMilliseconds = 10
        return try TestLedger(configuration: configuration)
    }

    private func failToSync(_ command: Command, in test: TestLedger) throws {
        FaultyDisk.fail(.logCannotBeSynced, under: test.directory.path)
        guard case .unknown = try test.run(command) else { throw TestFault("it is known") }
    }

    private func mendAndRetry(_ command: Command, in test: TestLedger) throws -> Credentials {
        FaultyDisk.mend(.logCannotBeSynced, under: test.directory.path)
        test.clock.advance(seconds: 1)
        guard case .credentials(let credentials) = try retry({ try test.run(command) }) else {
            throw TestFault("not taken again")
        }
        return credentials
    }

    /// Such a commit is not visible, and after reopening it is there.
    @Test func aCommitThatCannotBeSyncedIsUnknownAndTheIndexIsMadeAnew() throws {
        let test = try ledgerThatReopensAtOnce()
        let first = try test.credentials(
            .register(application: app("alice"), project: project("p"), ttlSeconds: 600))
        let rotate = Command.rotate(
            application: try app("alice"), project: try project("p"), ttlSeconds: 600, graceSeconds: 0)
        try failToSync(rotate, in: test)
        guard case .storageUnavailable = try test.run(rotate) else { throw TestFault("a mutation was taken") }
        #expect(test.ledger.status().storageProblem != nil)
        #expect(test.isActive(first.token), "what was known stays known")
        let last = try mendAndRetry(rotate, in: test)
        #expect(!test.isActive(first.token) && test.isActive(last.token))
        #expect(test.ledger.status().storageProblem == nil)
        try test.ledger.expectIndexEqualsTable()
        let rows = try test.ledger.countedChainRows()
        #expect(rows == test.ledger.status().lastSequence)
        #expect(rows == 3, "the commit that nobody was told of had happened")
        #expect(test.collector.records.map(\.sequence) == [1, 2, 3], "its record came when it was found")
        #expect(test.collector.events.contains { if case .commitUnknown = $0 { true } else { false } })
        #expect(test.collector.events.contains { if case .storageRecovered = $0 { true } else { false } })
    }

    /// The log was folded and starts over. Nothing but its header is written until that is durable: were it lost with the power
    /// and what came behind it not, the old header would make the frames good that are left, of a database that has newer ones
    /// already.
    @Test func nothingIsWrittenBesideAHeaderThatIsNotDurable() throws {
        let test = try ledgerThatReopensAtOnce()
        _ = try test.credentials(.register(application: app("alice"), project: project("p"), ttlSeconds: 600))
        let rotate = Command.rotate(
            application: try app("alice"), project: try project("p"), ttlSeconds: 600, graceSeconds: 0)
        try failToSync(rotate, in: test)
        _ = try mendAndRetry(rotate, in: test)
        let headers = FaultyDisk.besideHeader.withLock { $0[test.directory.path + "/tokens.db-wal"] }
        #expect(try #require(headers).writes == 0)
    }

    /// What was not written behind yet is not lost with the index that is made anew.
    @Test func aReopenedDatabaseKeepsWhenTokensWereUsed() throws {
        let test = try ledgerThatReopensAtOnce()
        let used = try test.credentials(
            .register(application: app("alice"), project: project("p"), ttlSeconds: 600))
        try test.run(.register(application: app("bob"), project: project("p"), ttlSeconds: 600))
        #expect(test.isActive(used.token))
        let rotate = Command.rotate(
            application: try app("bob"), project: try project("p"), ttlSeconds: 600, graceSeconds: 0)
        try failToSync(rotate, in: test)
        _ = try mendAndRetry(rotate, in: test)
        #expect(try test.rows().map { $0.lastUsedAt?.seconds } == [1_748_000_000, nil])
        try test.reopen()
        #expect(try test.rows().map { $0.lastUsedAt?.seconds } == [1_748_000_000, nil], "and it is written behind")
    }

    @Test func aFullDiskRefusesAndChangesNothing() throws {
        try #require(geteuid() == 0, "run the tests as root: this one mounts a small tmpfs")
        let mountPoint = try TemporaryDirectory()
        try #require(mount("tmpfs", mountPoint.path, "tmpfs", 0, "size=600k,mode=0700") == 0)
        defer { umount2(mountPoint.path, Int32(MNT_DETACH)) }
        let test = try TestLedger(directory: mountPoint)
        defer { test.ledger.close() }
        let first = try test.credentials(
            .register(application: app("alice"), project: project("p"), ttlSeconds: 600))
        let rotate = Command.rotate(
            application: try app("alice"), project: try project("p"), ttlSeconds: 600, graceSeconds: 0)
        try fill(mountPoint.path + "/ballast")
        var refusals = 0
        var token = first.token
        for _ in 0..<400 {
            switch try test.run(rotate) {
            case .credentials(let credentials): token = credentials.token
            case .storageUnavailable(let sentence):
                #expect(sentence.contains("full"))
                refusals += 1
            case .unknown: throw TestFault("a full disk is known")
            default: throw TestFault("something else")
            }
            if refusals == 3 { break }
        }
        #expect(refusals == 3)
        #expect(test.isActive(token), "the refused rotations left the token alone")
        #expect(test.ledger.status().storageProblem?.contains("full") == true)
        guard case .refused(.notRegistered) = try test.run(.unregister(application: app("bob"))) else {
            throw TestFault("a refusal needs no disk")
        }
        #expect(try test.rows().first?.fingerprint == token.digest.fingerprint)
        unlink(mountPoint.path + "/ballast")
        let last = try test.credentials(rotate)
        #expect(!test.isActive(token) && test.isActive(last.token))
        #expect(test.ledger.status().storageProblem == nil)
        try test.ledger.expectIndexEqualsTable()
        #expect(try test.ledger.countedChainRows() == test.ledger.status().lastSequence)
        let said = test.collector.events.filter { if case .storageRefuses = $0 { true } else { false } }
        #expect(said.count == 1, "said once, not at each refusal")
    }

    /// Nobody sends a mutation while the daemon says that it is not ready: it has to find out by itself.
    @Test func aDiskThatHasRoomAgainIsNoticedWithoutAMutation() throws {
        let test = try ledgerThatReopensAtOnce()
        let register = Command.register(application: try app("alice"), project: try project("p"), ttlSeconds: 600)
        FaultyDisk.fail(.noRoom, under: test.directory.path)
        guard case .storageUnavailable = try test.run(register) else { throw TestFault("it was written") }
        for _ in 0..<3 {
            let tries = FaultyDisk.count(.noRoom, under: test.directory.path)
            try passTime(test) { FaultyDisk.count(.noRoom, under: test.directory.path) > tries }
            #expect(test.ledger.status().storageProblem?.contains("full") == true, "it is full still")
        }
        FaultyDisk.mend(.noRoom, under: test.directory.path)
        try passTime(test) { test.ledger.status().storageProblem == nil }
        #expect(test.collector.events.filter { if case .storageRefuses = $0 { true } else { false } }.count == 1)
        #expect(test.collector.events.filter { if case .storageRecovered = $0 { true } else { false } }.count == 1)
        _ = try test.credentials(register)
        try test.ledger.expectIndexEqualsTable()
    }

    /// Lets the clock go on until the writer, which paces itself by it, has done something.
    private func passTime(_ test: TestLedger, until isDone: () -> Bool) throws {
        for _ in 0..<10_000_000 {
            if isDone() { return }
            test.clock.advance(seconds: 1)
            sched_yield()
        }
        throw TestFault("it never came")
    }

    private func fill(_ path: String) throws {
        let file = linux_open(path, O_WRONLY | O_CREAT, 0o600)
        try #require(file >= 0)
        defer { close(file) }
        let block = [UInt8](repeating: 1, count: 4_096)
        while write(file, block, block.count) > 0 {}
        try #require(errno == ENOSPC)
    }

    /// Until the writer has reopened the database, it answers that it cannot.
    private func retry(_ body: () throws -> MutationOutcome) throws -> MutationOutcome {
        for _ in 0..<100_000 {
            let outcome = try body()
            if case .storageUnavailable = outcome { continue }
            return outcome
        }
        throw TestFault("never taken again")
    }
}
