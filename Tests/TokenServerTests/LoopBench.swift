import CLinux
import Glibc
import Logging
import Testing
import TokenModel

@testable import TokenServer

/// An event loop that goes round when the test says so: for what depends on the order in which things come.
struct LoopBench {
    let loop: EventLoop
    let ledger = ScriptedLedger()
    private let feed = EventFeed(loops: 1, lastSequence: 0)

    init(settings: ServerSettings = ServerSettings(), directory: ScriptedDirectory = ScriptedDirectory()) throws {
        loop = try EventLoop(
            index: 0, inbox: LoopInbox(),
            services: EventLoop.Services(
                settings: settings, ledger: ledger, names: NameService(directory: directory),
                processes: SerialWorker(name: "peers"), accounting: Accounting(settings),
                reads: SerialWorker(name: "reads"), reload: { [] }, clock: SystemClock(),
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, startedAt: 0, feed: feed,
                refusals: RefusalLog { MonotonicClock.milliseconds }))
    }

    /// A connection of this uid, and the caller's end of it.
    func connect(uid: UInt32) throws -> (Connection, TestConnection) {
        var ends: [CInt] = [0, 0]
        try #require(socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_NONBLOCK.rawValue), 0, &ends) == 0)
        let id = UInt64(loop.connections.count + 1)
        let credentials = PeerCredentials(pid: getpid(), uid: uid, gid: uid, groups: [])
        let account = credentials.firstAccount
        #expect(loop.services.accounting.admitConnection(uid: account, isPrivileged: true))
        loop.inbox.put(.adopt(descriptor: ends[0], credentials: credentials, account: account, id: id))
        turn { loop.connections[id] != nil }
        let connection = try #require(loop.connections[id])
        turn { !connection.isLooking || connection.isClosed }
        return (connection, TestConnection(descriptor: ends[1]))
    }

    /// A connection that watches from now on.
    func watch(uid: UInt32) throws -> (Connection, TestConnection) {
        let (connection, caller) = try connect(uid: uid)
        caller.send(#"{"jsonrpc":"2.0","id":1,"method":"watch"}"# + "\n")
        turn { connection.watch != nil && connection.backlogBytes == 0 }
        return (connection, caller)
    }

    /// Goes round until it is so.
    func turn(until isSo: () -> Bool) {
        let end = MonotonicClock.milliseconds + 20_000
        while !isSo() {
            guard MonotonicClock.milliseconds < end else {
                Issue.record("it never came to that")
                return
            }
            loop.turn(milliseconds: 100)
        }
    }

    /// What the writer does after a commit, without a turn of the loop before it.
    func publish(_ records: [AuditRecord], areKept: Bool = true) {
        if areKept { ledger.finish(0, records: records) { _ in .unknown } }
        feed.note(records)
        loop.deliver(Delivery(mutations: [], records: records))
    }
}
