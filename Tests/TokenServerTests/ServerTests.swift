import CLinux
import Glibc
import Synchronization
import Systemd
import Testing
import TokenModel
import TokenRPC

@testable import TokenServer

/// What cannot be seen from outside without a ledger that ends when the test says so.
struct ServerTests {
    private let revoke = #"{"jsonrpc":"2.0","id":ID,"method":"revoke","params":{"project_code":"P"}}"# + "\n"
    private let ping = #"{"jsonrpc":"2.0","id":ID,"method":"ping"}"# + "\n"

    private func request(_ text: String, _ id: Int) -> String {
        text.replacing("ID", with: "\(id)", maxReplacements: 1)
    }

    @Test func answersComeInTheOrderOfTheRequests() throws {
        let harness = try Harness()
        defer { harness.stop() }
        let connection = harness.connect()
        // Two mutations share a batch; the reads between and after wait for those before them.
        connection.send(
            request(revoke, 1) + request(revoke, 2) + request(ping, 3) + request(revoke, 4) + request(ping, 5))
        harness.ledger.submitted.wait(for: 2)
        harness.ledger.finish(2) { .revoked($0 + 10) }
        #expect(connection.line() == #"{"jsonrpc":"2.0","id":1,"result":{"revoked":10}}"#)
        #expect(connection.line() == #"{"jsonrpc":"2.0","id":2,"result":{"revoked":11}}"#)
        #expect(connection.line() == #"{"jsonrpc":"2.0","id":3,"result":{}}"#)
        harness.ledger.submitted.wait(for: 3)
        harness.ledger.finish(1) { _ in .revoked(0) }
        #expect(connection.line() == #"{"jsonrpc":"2.0","id":4,"result":{"revoked":0}}"#)
        #expect(connection.line() == #"{"jsonrpc":"2.0","id":5,"result":{}}"#)
    }

    /// As it is usually written, which is compared, and with a space, which is read.
    @Test(arguments: ["", " "])
    func aReadSeesNoChangeThatWasAskedAfterIt(_ space: String) throws {
        let harness = try Harness()
        defer { harness.stop() }
        let connection = harness.connect()
        let introspect = #"{"jsonrpc":"2.0","id":ID,"method":"introspect","params":{"token":"x"}}"# + space + "\n"
        connection.send(request(introspect, 1) + request(introspect, 2) + request(revoke, 3) + request(introspect, 4))
        harness.ledger.submitted.wait(for: 1)
        #expect(harness.ledger.calls == ["introspect", "introspect", "submit"])
        harness.ledger.finish(1) { _ in .revoked(1) }
        for id in 1...4 { #expect(connection.line()?.contains(#""id":\#(id),"#) == true) }
        #expect(harness.ledger.calls == ["introspect", "introspect", "submit", "introspect"])
    }

    /// Look-ups of several connections are answered together; each gets its own, in its place, whatever its id.
    @Test func lookUpsOfManyConnectionsKeepTheirPlaces() throws {
        let harness = try Harness()
        defer { harness.stop() }
        let connections = (0..<20).map { _ in harness.connect() }
        let long = String(repeating: "7", count: 33)  // Longer than what is kept beside a look-up.
        for (number, connection) in connections.enumerated() {
            let ids = ["\(number)", "\"\(long)-\(number)\"", "\"\(number)b\"", "\(long)\(number)"]
            let lookUps = ids.map {
                #"{"jsonrpc":"2.0","id":\#($0),"method":"introspect","params":{"token":"x"}}"# + "\n"
            }
            let batch = "[" + lookUps.joined(separator: ",").replacing("\n", with: "") + "]\n"
            connection.send(lookUps.joined() + request(ping, 1) + lookUps[0] + batch)
        }
        for (number, connection) in connections.enumerated() {
            func answer(_ id: String) -> String { #"{"jsonrpc":"2.0","id":\#(id),"result":{"active":false}}"# }
            let answers = ["\(number)", "\"\(long)-\(number)\"", "\"\(number)b\"", "\(long)\(number)"].map(answer)
            for expected in answers { #expect(connection.line() == expected) }
            #expect(connection.line() == #"{"jsonrpc":"2.0","id":1,"result":{}}"#)
            #expect(connection.line() == answers[0])
            #expect(connection.line() == "[" + answers.joined(separator: ",") + "]")
        }
    }

    /// A line has ten seconds, in which the daemon reads; while NSS is asked again it does not.
    @Test func aLookUpIsNotCountedAgainstALine() throws {
        let directory = ScriptedDirectory()
        directory.failing.withLock { $0 = true }
        let harness = try Harness(directory: directory)
        defer { harness.stop() }
        let connection = harness.connect()
        let half = #"{"jsonrpc":"2.0","id":2,"#
        connection.send(request(ping, 1) + half)
        #expect(connection.line() == #"{"jsonrpc":"2.0","id":1,"result":{}}"#)
        directory.gate.withLock { _ in
            connection.send(#""method":"#)
            #expect(!connection.hasNews(within: 11_000), "closed while nothing was read from it")
        }
        connection.send(#""ping"}"# + "\n")
        #expect(connection.line() == #"{"jsonrpc":"2.0","id":2,"result":{}}"#)
    }

    @Test func anUnknownCommitIsNotAnswered() throws {
        let harness = try Harness()
        defer { harness.stop() }
        let (hit, other) = (harness.connect(), harness.connect())
        hit.send(request(revoke, 1))
        harness.ledger.submitted.wait(for: 1)
        harness.ledger.finish(1) { _ in .unknown }
        #expect(hit.line() == nil)
        other.send(request(ping, 2))
        #expect(other.line() == #"{"jsonrpc":"2.0","id":2,"result":{}}"#)
    }

    @Test(arguments: [
        (MutationOutcome.storageUnavailable("Full."), "-32007", "storage_unavailable"),
        (.shuttingDown, "-32008", "shutting_down"), (.internalError, "-32603", "internal_error"),
        (.refused(.notRegistered), "-32001", "not_registered"),
    ])
    func outcomes(outcome: MutationOutcome, code: String, reason: String) throws {
        let harness = try Harness()
        defer { harness.stop() }
        let connection = harness.connect()
        connection.send(request(revoke, 7))
        harness.ledger.submitted.wait(for: 1)
        harness.ledger.finish(1) { _ in outcome }
        let line = try #require(connection.line())
        #expect(line.contains(#""id":7,"error":{"code":\#(code),"#))
        #expect(line.contains(#""reason":"\#(reason)""#))
    }

    @Test func aFullQueueIsBusyAndAClosedOneShuttingDown() throws {
        let harness = try Harness()
        defer { harness.stop() }
        let connection = harness.connect()
        harness.ledger.admit(.full)
        connection.send(request(revoke, 1))
        #expect(connection.line()?.contains(#""code":-32006"#) == true)
        harness.ledger.admit(.closed)
        connection.send(request(revoke, 2))
        #expect(connection.line()?.contains(#""code":-32008"#) == true)
    }

    @Test func aSilentNameServiceIsBusyUntilItSpeaks() throws {
        let directory = ScriptedDirectory()
        directory.failing.withLock { $0 = true }
        let harness = try Harness(directory: directory)
        defer { harness.stop() }
        let connection = harness.connect()
        let whoami = #"{"jsonrpc":"2.0","id":1,"method":"whoami"}"# + "\n"
        connection.send(whoami)
        #expect(connection.line()?.contains(#""code":-32006"#) == true)
        // Who asks does not matter to these.
        connection.send(request(ping, 2))
        #expect(connection.line() == #"{"jsonrpc":"2.0","id":2,"result":{}}"#)
        directory.failing.withLock { $0 = false }
        connection.send(whoami)
        #expect(connection.line()?.contains(#""principal":"tester""#) == true)
    }

    @Test func theStopAnswersWhatWasAsked() throws {
        let harness = try Harness()
        let connection = harness.connect()
        connection.send(request(ping, 0))
        #expect(connection.line() != nil)
        connection.send(request(revoke, 1) + request(ping, 2))
        harness.ledger.submitted.wait(for: 1)
        let stopped = Counter()
        let server = harness.server
        startThread(name: "stop") {
            server.drain()
            stopped.increment()
        }
        // The drain shuts the caller's sending side before anything is answered.
        while send(connection.descriptor, "\n", 1, CInt(MSG_NOSIGNAL)) == 1 { sched_yield() }
        harness.ledger.finish(1) { _ in .revoked(3) }
        #expect(connection.line() == #"{"jsonrpc":"2.0","id":1,"result":{"revoked":3}}"#)
        #expect(connection.line() == #"{"jsonrpc":"2.0","id":2,"result":{}}"#)
        #expect(connection.line() == nil)
        stopped.wait(for: 1)
    }

    @Test func overTheLimitOfConnectionsIsOneLineAndTheClose() throws {
        var settings = ServerSettings()
        settings.ownUID = 4_294_967_294
        settings.connections = 1
        let harness = try Harness(settings: settings)
        defer { harness.stop() }
        let first = harness.connect()
        first.send(request(ping, 1))
        #expect(first.line() != nil)
        let second = harness.connect()
        let line = second.line()
        #expect(line?.contains(#""id":null,"error":{"code":-32006"#) == true)
        #expect(second.line() == nil)
    }

    @Test func everyMethodHasItsRow() {
        #expect(MethodRow.table.map(\.method) == Method.allCases)
    }

    /// Whatever one caller does, as often as it can: its lines of the log are as few as its records, and all are counted.
    @Test(arguments: [MessageID.notificationDropped, .tooManyConnections, .lookupFailed])
    func noCallerFloodsTheLog(with id: MessageID) throws {
        var settings = ServerSettings()
        let (directory, log, count) = (ScriptedDirectory(), KeptLog(), 2_000)
        if id == .tooManyConnections { settings.connections = 1 }
        directory.failing.withLock { $0 = id == .lookupFailed }
        let harness = try Harness(settings: settings, directory: directory, log: log)
        defer { harness.stop() }
        let records = Mutex(0)
        harness.server.refusals.send { _ in records.withLock { $0 += 1 } }
        let begun = MonotonicClock.milliseconds
        switch id {
        case .notificationDropped:
            let connection = harness.connect()
            let rotate = #"{"jsonrpc":"2.0","method":"rotate"}"# + "\n"
            connection.send(String(repeating: rotate, count: count) + request(ping, 1))
            #expect(connection.line() != nil)
        case .tooManyConnections:
            let first = harness.connect()
            first.send(request(ping, 1))
            #expect(first.line() != nil)
            for _ in 0..<count { #expect(harness.connect().line()?.contains(#""code":-32006"#) == true) }
        default:
            for number in 0..<count {
                let connection = harness.connect()
                connection.send(request(ping, number))
                #expect(connection.line() != nil)
            }
        }
        let seconds = Int((MonotonicClock.milliseconds - begun) / 1_000) + 1
        let lines = log.count(of: id)
        #expect(lines > 0 && lines <= Int(RefusalLog.burst) + seconds)
        #expect(lines == records.withLock { $0 })
        // A user is looked up when it connects and again when it asks.
        let times = id == .lookupFailed ? 2 * count : count
        #expect(lines + harness.server.refusals.takeHeldBack().reduce(0) { $0 + Int($1.count) } == times)
    }
}
