import CLinux
import Glibc
import Testing
import TokenModel

@testable import TokenServer

/// `watch`: nothing missed, nothing twice, and never a silent gap.
struct WatchTests {
    private func record(_ sequence: Int64, application: String = "tester") -> AuditRecord {
        AuditRecord(
            sequence: sequence, time: Instant(milliseconds: 0), event: .rotated,
            registrationID: RegistrationID(high: 0, low: 0), application: ApplicationName(application)!,
            project: ProjectCode("P")!, principal: Principal.user(name: "tester", uid: 0), uid: 0, gid: 0,
            process: PeerProcess(pid: 1), fingerprint: Fingerprint(value: UInt64(sequence)),
            ended: [Fingerprint(value: 1)], lapsed: [], shortened: [], chain: TokenDigest(words: (0, 0, 0, 0)))
    }

    private func commit(_ harness: Harness, _ sequences: ClosedRange<Int64>, application: String = "tester") {
        harness.ledger.finish(0, records: sequences.map { record($0, application: application) }) { _ in .unknown }
    }

    private func sequence(_ line: String?) -> Int64? {
        guard let line, let start = line.firstRange(of: #""sequence":"#) else { return nil }
        return Int64(line[start.upperBound...].prefix { $0.isNumber })
    }

    @Test func fromNowOn() throws {
        let harness = try Harness()
        defer { harness.stop() }
        commit(harness, 1...3)
        let connection = harness.connect()
        connection.send(#"{"jsonrpc":"2.0","id":1,"method":"watch"}"# + "\n")
        #expect(connection.line() == #"{"jsonrpc":"2.0","id":1,"result":{"sequence":3}}"#)
        commit(harness, 4...5)
        #expect(
            connection.line()
                == #"{"jsonrpc":"2.0","method":"event","params":{"sequence":4,"time":"1970-01-01T00:00:00.000Z","#
                + #""event":"rotated","registration_id":"00000000-0000-0000-0000-000000000000","#
                + #""application":"tester","project_code":"P","fingerprint":"0000000000000004","#
                + #""ended":["0000000000000001"]}}"#)
        #expect(sequence(connection.line()) == 5)
    }

    @Test func sinceReplaysAndGoesOnWhileChangesCome() throws {
        let harness = try Harness()
        defer { harness.stop() }
        commit(harness, 1...2_000)
        let connection = harness.connect()
        connection.send(#"{"jsonrpc":"2.0","id":1,"method":"watch","params":{"since":7}}"# + "\n")
        #expect(connection.line() == #"{"jsonrpc":"2.0","id":1,"result":{"sequence":7}}"#)
        // Some come while the replay is on its way, some after; the reader cannot tell.
        for start in stride(from: Int64(2_001), to: 4_001, by: 100) { commit(harness, start...(start + 99)) }
        for expected in Int64(8)...4_000 { #expect(sequence(connection.line()) == expected) }
    }

    @Test(arguments: ["6", "2001", "9223372036854775807"])
    func whatIsNotKeptIsGone(since: String) throws {
        let harness = try Harness()
        defer { harness.stop() }
        commit(harness, 8...2_000)
        let connection = harness.connect()
        connection.send(#"{"jsonrpc":"2.0","id":1,"method":"watch","params":{"since":\#(since)}}"# + "\n")
        #expect(connection.line()?.contains(#""code":-32010"#) == true)
    }

    @Test func aSlowWatcherIsToldAndClosed() throws {
        let harness = try Harness()
        defer { harness.stop() }
        let connection = harness.connect()
        connection.send(#"{"jsonrpc":"2.0","id":1,"method":"watch"}"# + "\n")
        #expect(connection.line() != nil)
        for start in stride(from: Int64(1), to: 20_001, by: 100) { commit(harness, start...(start + 99)) }
        var expected: Int64 = 1
        var last: String?
        while let line = connection.line() {
            if let sequence = sequence(line) {
                #expect(sequence == expected)
                expected += 1
            }
            last = line
        }
        #expect(expected < 20_001)
        #expect(last?.hasPrefix(#"{"jsonrpc":"2.0","method":"error","params":{"code":-32006,"#) == true)
    }

    @Test func theStopIsSaid() throws {
        let harness = try Harness()
        let connection = harness.connect()
        connection.send(#"{"jsonrpc":"2.0","id":1,"method":"watch"}"# + "\n")
        #expect(connection.line() != nil)
        harness.stop()
        #expect(connection.line()?.hasPrefix(#"{"jsonrpc":"2.0","method":"error","params":{"code":-32008,"#) == true)
        #expect(connection.line() == nil)
    }

    @Test func theStopAnswersWhatAWatcherAskedToo() throws {
        let harness = try Harness()
        let connection = harness.connect()
        let revoke = #"{"jsonrpc":"2.0","id":2,"method":"revoke","params":{"project_code":"P"}}"# + "\n"
        connection.send(#"{"jsonrpc":"2.0","id":1,"method":"watch"}"# + "\n" + revoke)
        #expect(connection.line() == #"{"jsonrpc":"2.0","id":1,"result":{"sequence":0}}"#)
        harness.ledger.submitted.wait(for: 1)
        let stopped = Counter()
        startThread(name: "stop") {
            harness.server.drain()
            stopped.increment()
        }
        // The drain shuts the caller's sending side before anything is answered.
        while send(connection.descriptor, "\n", 1, CInt(MSG_NOSIGNAL)) == 1 { sched_yield() }
        harness.ledger.finish(1) { _ in .revoked(3) }
        #expect(connection.line() == #"{"jsonrpc":"2.0","id":2,"result":{"revoked":3}}"#)
        #expect(connection.line()?.hasPrefix(#"{"jsonrpc":"2.0","method":"error","params":{"code":-32008,"#) == true)
        #expect(connection.line() == nil)
        stopped.wait(for: 1)
    }

    @Test func muchAtOnceIsReadFromTheAuditByAHealthyWatcher() throws {
        let harness = try Harness()
        defer { harness.stop() }
        let connection = harness.connect()
        connection.send(#"{"jsonrpc":"2.0","id":1,"method":"watch"}"# + "\n")
        #expect(connection.line() != nil)
        // Some six MiB of events in one batch, as when a whole project is revoked.
        commit(harness, 1...20_000)
        for expected in Int64(1)...20_000 { #expect(sequence(connection.line()) == expected) }
    }

    private func sequences(_ text: String) -> [Int64] {
        text.split(separator: "\n").compactMap { sequence(String($0)) }
    }

    /// The caller reads just before a change is sent to it: that send makes the room for which its request waits.
    @Test func aWatcherWhoseRequestWaitedForRoomIsAnswered() throws {
        let bench = try LoopBench()
        let (connection, caller) = try bench.watch(uid: 1_001)
        #expect(caller.line() != nil)
        var last: Int64 = 0
        func commit(_ count: Int64) {
            bench.publish((last + 1...last + count).map { record($0) })
            last += count
        }
        while connection.backlogBytes < Bounds.outputHighWaterBytes { commit(50) }
        caller.send(#"{"jsonrpc":"2.0","id":77,"method":"ping"}"# + "\n")
        bench.turn { connection.isBlocked }
        var received = caller.arrived()
        commit(250)
        #expect(connection.owedBytes < Bounds.outputHighWaterBytes)
        bench.turn {
            received += caller.arrived()
            return received.contains(#""id":77,"result":{}"#) || connection.isBlocked
        }
        #expect(received.contains(#""id":77,"result":{}"#))
        #expect(sequences(received) == Array(1...last))
    }

    /// What one user's many watches see is taken from that user's turns, and nobody misses anything for it.
    @Test func manyWatchesOfOneUserTakeTurns() throws {
        let bench = try LoopBench()
        let many = try (0..<100).map { _ in try bench.watch(uid: 1_001) }
        let other = try bench.watch(uid: 1_002)
        var last: Int64 = 0
        for _ in 0..<3 {
            bench.publish((last + 1...last + 40).map { record($0) })
            last += 40
            #expect(other.0.watch?.isCatchingUp == false)
            #expect(many.count { $0.0.watch?.isCatchingUp == false } == 1)
            bench.turn { many.allSatisfy { $0.0.watch?.isCatchingUp == false } }
        }
        for (_, caller) in many + [other] { #expect(sequences(caller.arrived()) == [0] + Array(1...last)) }
    }

    /// What a watch still had to read from the audit was removed there.
    @Test func whatIsRemovedBeforeItIsReadIsGone() throws {
        let bench = try LoopBench()
        let (connection, caller) = try bench.watch(uid: 1_001)
        bench.publish((1...Int64(Bounds.publishedRows) + 1).map { record($0) }, areKept: false)
        bench.turn { connection.isClosed }
        #expect(caller.arrived().contains(#""code":-32010"#))
    }

    @Test func oneWatchAConnectionAndNoneInABatch() throws {
        let harness = try Harness()
        defer { harness.stop() }
        let connection = harness.connect()
        let watch = #"{"jsonrpc":"2.0","id":1,"method":"watch"}"#
        connection.send("[\(watch)]\n")
        #expect(connection.line()?.contains(#""code":-32600"#) == true)
        connection.send(watch + "\n" + watch + "\n")
        #expect(connection.line() == #"{"jsonrpc":"2.0","id":1,"result":{"sequence":0}}"#)
        #expect(connection.line()?.contains(#""code":-32600"#) == true)
    }
}
