import CLinux
import Glibc
import Logging
import TokenModel

@testable import TokenServer

/// Who may be at the other end of a connection.
enum Who: CaseIterable {
    case root, alice, verifier, nobody

    var credentials: PeerCredentials {
        // No process has this number, so that nothing is read of one.
        let pid = pid_t.max
        return switch self {
        case .root: PeerCredentials(pid: pid, uid: 0, gid: 0, groups: [0])
        case .alice: PeerCredentials(pid: pid, uid: 1_000, gid: 1_000, groups: [1_000])
        case .verifier: PeerCredentials(pid: pid, uid: 1_001, gid: 1_001, groups: [Directory.verifiers])
        // A number that is recycled, without a name: it may own nothing.
        case .nobody: PeerCredentials(pid: pid, uid: 61_200, gid: 61_200, groups: [])
        }
    }

    var principal: Principal { Principal.user(name: Directory.names[credentials.uid], uid: credentials.uid) }

    struct Directory: UserDirectory {
        static let names: [UInt32: String] = [0: "root", 1_000: "alice", 1_001: "bob"]
        static let verifiers: UInt32 = 901

        func userName(_ uid: UInt32) -> String? { Self.names[uid] }
        func groupID(_ name: String) -> UInt32? { name == "scaem-verifier" ? Self.verifiers : nil }
    }
}

/// The server's own event loop on this thread, which goes round only when it is told to, and a ledger that answers the
/// same question always alike: so what comes out of a connection depends on nothing but what was sent.
final class SteppedLoop {
    let ledger: FixedLedger
    private let loop: EventLoop
    private let accounting: Accounting
    /// What the daemon does on threads of their own.
    private let (processes, reads) = (SerialWorker(), SerialWorker())
    private var lastID: UInt64 = 0

    init() throws {
        let settings = ServerSettings()
        ledger = try FixedLedger()
        accounting = Accounting(settings)
        let inbox = try LoopInbox()
        loop = try EventLoop(
            index: 0, inbox: inbox,
            services: EventLoop.Services(
                settings: settings, ledger: ledger, names: NameService(directory: Who.Directory()),
                processes: processes, accounting: accounting, reads: reads, reload: { ["line 1 is wrong"] },
                clock: SystemClock(), logger: Logger(label: "fuzz") { _ in SwiftLogNoOpLogHandler() },
                startedAt: 0, feed: EventFeed(loops: 1, lastSequence: FixedLedger.lastSequence),
                refusals: RefusalLog { 0 }))
    }

    /// Sends pieces, each when the one before has been worked on, and gives all that was answered until the daemon
    /// closed or nothing was left to answer.
    func converse(_ pieces: [[UInt8]], as who: Who) -> [UInt8] {
        var ends: [CInt] = [0, 0]
        let kind = CInt(SOCK_STREAM.rawValue) | CInt(SOCK_NONBLOCK.rawValue) | CInt(SOCK_CLOEXEC.rawValue)
        check(socketpair(AF_UNIX, kind, 0, &ends) == 0, "socketpair: \(errno)")
        let peer = Peer(descriptor: ends[1])
        lastID += 1
        _ = accounting.admitConnection(uid: who.credentials.account, isPrivileged: true)
        loop.inbox.put(
            .adopt(
                descriptor: ends[0], credentials: who.credentials, account: who.credentials.account,
                id: lastID))
        loop.turn(milliseconds: 0)
        processes.doJob()
        loop.turn(milliseconds: 0)
        while loop.connections[lastID]?.isLooking == true { loop.turn(milliseconds: -1) }
        for piece in pieces where !piece.isEmpty {
            var sent = 0
            while sent < piece.count, loop.connections[lastID] != nil {
                sent += peer.send(piece[sent...])
                settle(peer)
            }
        }
        peer.endInput()
        settle(peer)
        // Only a watch outlives the end of what is asked, until its caller hangs up.
        check(loop.connections[lastID]?.watch != nil || loop.connections.isEmpty, "a connection stays open")
        peer.hangUp()
        if !loop.connections.isEmpty { loop.turn(milliseconds: 0) }
        check(loop.connections.isEmpty, "a connection outlives its caller")
        check(accounting.connections == 0, "a connection is still charged")
        return peer.received
    }

    /// Lets the loop, the ledger and the reads go on until all of them wait for the caller.
    private func settle(_ peer: Peer) {
        var isMoving = true
        while isMoving {
            let wasReady = loop.turn(milliseconds: 0)
            isMoving = peer.receive() || wasReady
            if let delivery = ledger.finish() {
                loop.inbox.put(.delivered(delivery))
                isMoving = true
            }
            if let connection = loop.connections[lastID], connection.isReading {
                reads.doJob()
                isMoving = true
            }
        }
    }
}

extension Connection {
    /// Something is being read for it.
    fileprivate var isReading: Bool { blockingRead != nil || watch?.isReading ?? false }
}

/// The caller's end of a connection.
private final class Peer {
    private var descriptor: CInt
    private(set) var received: [UInt8] = []
    private static let roomBytes = 65_536
    // One thread has all of these.
    nonisolated(unsafe) private static let room = UnsafeMutableRawBufferPointer.allocate(
        byteCount: roomBytes, alignment: 1)

    init(descriptor: CInt) { self.descriptor = descriptor }

    func send(_ bytes: ArraySlice<UInt8>) -> Int {
        max(0, bytes.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL)) })
    }

    /// Takes what is there. Returns whether there was anything.
    func receive() -> Bool {
        let before = received.count
        while true {
            let count = read(descriptor, Self.room.baseAddress, Self.roomBytes)
            guard count > 0 else { return received.count > before }
            received += Self.room[..<count]
        }
    }

    func endInput() { shutdown(descriptor, CInt(SHUT_WR)) }

    func hangUp() {
        _ = receive()
        close(descriptor)
    }
}
