import Synchronization
import Testing

@testable import TokenServer

@Suite struct RefusalLogTests {
    private final class Bench: Sendable {
        let time = Mutex<Int64>(0)
        let records = Mutex<[RefusedRequest]>([])

        func log() -> RefusalLog {
            let log = RefusalLog { self.time.withLock { $0 } }
            log.send { record in self.records.withLock { $0.append(record) } }
            return log
        }

        var count: Int { records.withLock { $0.count } }
    }

    private static func credentials(_ uid: UInt32) -> PeerCredentials {
        PeerCredentials(pid: 1, uid: uid, gid: uid, groups: [])
    }

    @Test func aStormIsLimitedAndCounted() {
        let bench = Bench()
        let log = bench.log()
        for _ in 0..<100 { log.note("permission_denied", nil, Self.credentials(1)) }
        #expect(bench.count == Int(RefusalLog.burst))
        log.note("permission_denied", nil, Self.credentials(2))
        #expect(bench.count == Int(RefusalLog.burst) + 1, "another user's are his own")
        bench.time.withLock { $0 = RefusalLog.millisecondsEach }
        log.note("permission_denied", nil, Self.credentials(1))
        #expect(bench.records.withLock { $0.last?.heldBack } == 100 - RefusalLog.burst)
        #expect(log.takeHeldBack().isEmpty)
    }

    @Test func whatWasHeldBackIsCountedAlsoWhenNothingFollows() {
        let bench = Bench()
        let log = bench.log()
        for _ in 0..<30 { log.note("permission_denied", nil, Self.credentials(1)) }
        bench.time.withLock { $0 = 5_000 }
        let held = log.takeHeldBack()
        #expect(held.map(\.uid) == [1] && held.map(\.count) == [30 - RefusalLog.burst])
        #expect(log.takeHeldBack().isEmpty)
    }

    @Test func manyUsersShareWhatIsLeft() {
        let bench = Bench()
        let log = bench.log()
        for uid in 0..<UInt32(RefusalLog.uidsMax) + 500 { log.note("busy", nil, Self.credentials(uid)) }
        #expect(bench.count == RefusalLog.uidsMax + Int(RefusalLog.burst))
    }
}
