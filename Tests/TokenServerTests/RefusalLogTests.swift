import Synchronization
import Testing
import TokenModel
import TokenRPC

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

    /// One whose name is not known.
    private static func stranger(_ uid: UInt32) -> Asker {
        Asker(nil, PeerCredentials(pid: 1, uid: uid, gid: uid, groups: []))
    }

    private static func unit(_ name: String) -> Asker {
        Asker(
            unit: Caller(
                principal: .unit(name), uid: 0, gid: 0, process: PeerProcess(pid: 1, unit: name),
                isAdministrator: false))
    }

    @Test func aStormIsLimitedAndCounted() {
        let bench = Bench()
        let log = bench.log()
        for _ in 0..<100 { log.note("permission_denied", Self.stranger(1)) }
        #expect(bench.count == Int(RefusalLog.burst))
        log.note("permission_denied", Self.stranger(2))
        #expect(bench.count == Int(RefusalLog.burst) + 1, "another user's are his own")
        bench.time.withLock { $0 = RefusalLog.millisecondsEach }
        log.note("permission_denied", Self.stranger(1))
        #expect(bench.count == Int(RefusalLog.burst) + 2)
        let held = log.takeHeldBack()
        #expect(held.map(\.uid) == [1] && held.map(\.count) == [100 - RefusalLog.burst])
        #expect(log.takeHeldBack().isEmpty, "each is counted once")
    }

    @Test func oneUidMayBeManyPrincipals() {
        let bench = Bench()
        let log = bench.log()
        for _ in 0..<30 { log.note("rate_limited", Self.unit("a.service")) }
        #expect(bench.count == Int(RefusalLog.burst))
        for _ in 0..<5 { log.note("rate_limited", Self.unit("b.service")) }
        #expect(bench.count == Int(RefusalLog.burst) + 5, "one unit's storm hides no other's refusals")
        let held = log.takeHeldBack()
        #expect(held.map(\.principal?.text) == ["unit:a.service"] && held.map(\.count) == [30 - RefusalLog.burst])
    }

    /// One user may have tens of thousands of these numbers, and is not to take the buckets of others with them.
    @Test func numbersThatAreDelegatedAreOneUser() {
        let bench = Bench()
        let log = bench.log()
        for uid in 100_000..<102_000 as Range<UInt32> { log.note("permission_denied", Self.stranger(uid)) }
        #expect(bench.count == Int(RefusalLog.burst))
        for uid in [1_000, 61_200] as [UInt32] { log.note("permission_denied", Self.stranger(uid)) }
        #expect(bench.count == Int(RefusalLog.burst) + 2, "others have theirs, systemd's dynamic users among them")
        let held = log.takeHeldBack()
        #expect(
            held.map(\.uid) == [nil] && held.map(\.count) == [2_000 - RefusalLog.burst], "and nobody is named for it")
    }

    @Test func manyUsersShareWhatIsLeft() {
        let bench = Bench()
        let log = bench.log()
        for uid in 0..<UInt32(RefusalLog.bucketsMax) + 500 { log.note("busy", Self.stranger(uid)) }
        #expect(bench.count == RefusalLog.bucketsMax + Int(RefusalLog.burst))
        let held = log.takeHeldBack()
        #expect(held.map(\.uid) == [nil] && held.map(\.count) == [500 - RefusalLog.burst])
    }

    /// A daemon runs for months: a call that went a little deeper each time would end it.
    @Test func aRecordTakesNoMoreOfTheStackThanThoseBeforeIt() {
        let time = Mutex<Int64>(0)
        let log = RefusalLog { time.withLock { $0 } }
        let depths = Mutex<[UInt]>([])
        log.send { _ in
            var here: UInt8 = 0
            let depth = withUnsafePointer(to: &here) { UInt(bitPattern: $0) }
            depths.withLock { $0.append(depth) }
        }
        for _ in 0..<1_000 {
            time.withLock { $0 += RefusalLog.millisecondsEach }
            log.note("permission_denied", Self.stranger(1))
        }
        depths.withLock { depths in
            #expect(depths.count == 1_000 && depths.first == depths.last)
        }
    }

    @Test func whatIsHeldBackIsNotLookedAt() {
        let bench = Bench()
        let log = bench.log()
        var asked: Int64 = 0
        for _ in 0..<100 {
            log.note("permission_denied", Self.stranger(1), .rotate) {
                asked += 1
                return (ApplicationName("a"), ProjectCode("p"))
            }
        }
        #expect(asked == RefusalLog.burst)
        #expect(bench.records.withLock { $0.allSatisfy { $0.method == "rotate" && $0.project?.text == "p" } })
    }
}
