import CLinux
import Glibc
import Logging
import Synchronization
import Systemd
import Testing
import TokenModel

@testable import TokenServer

/// A ledger whose mutations end when, and as, the test says.
final class ScriptedLedger: TokenLedger, @unchecked Sendable {
    private struct State {
        var waiting: [Mutation] = []
        var admission = Admission.accepted
        var records: [AuditRecord] = []
        var calls: [String] = []
        /// Taken, and the writer was not woken since.
        var unheard = 0
    }

    /// What the server asked for, in its order.
    var calls: [String] { state.withLock { $0.calls } }

    private let state = Mutex(State())
    /// Counts submitted mutations as a sleeping writer sees them, when it is woken, so that a test can wait for them.
    let submitted = Counter()
    var deliver: @Sendable (Delivery) -> Void = { _ in }

    func admit(_ admission: Admission) { state.withLock { $0.admission = admission } }

    /// Ends the oldest waiting mutations in one batch.
    func finish(_ count: Int, records: [AuditRecord] = [], _ outcome: (Int) -> MutationOutcome) {
        let mutations = state.withLock { state in
            let taken = Array(state.waiting.prefix(count))
            state.waiting.removeFirst(taken.count)
            state.records += records
            return taken
        }
        for (index, mutation) in mutations.enumerated() { mutation.outcome = outcome(index) }
        deliver(Delivery(mutations: mutations, records: records))
    }

    func introspect(_ digests: UnsafeBufferPointer<TokenDigest>, answer: (Int, ActiveToken?) -> Void) {
        state.withLock { $0.calls += digests.map { _ in "introspect" } }
        for place in 0..<digests.count { answer(place, nil) }
    }

    func wakeWriter() {
        let heard = state.withLock { state in
            defer { state.unheard = 0 }
            return state.unheard
        }
        for _ in 0..<heard { submitted.increment() }
    }

    func enqueue(_ mutation: Mutation) -> Admission {
        let admission = state.withLock { state in
            state.calls.append("submit")
            if case .accepted = state.admission {
                state.waiting.append(mutation)
                state.unheard += 1
            }
            return state.admission
        }
        if case .accepted = admission {} else { submitted.increment() }
        return admission
    }

    func noteInactive(_ digest: TokenDigest, by caller: Caller) {}

    func list(_ query: ListQuery) throws -> ListPage { throw LedgerReadError(sentence: "The disk is away.") }

    func records(after sequence: Int64, limit: Int) throws -> [AuditRecord] {
        state.withLock { Array($0.records.filter { $0.sequence > sequence }.prefix(limit)) }
    }

    func recordBounds() throws -> (oldest: Int64, last: Int64) {
        state.withLock { ($0.records.first?.sequence ?? 1, $0.records.last?.sequence ?? 0) }
    }

    var journalStatus: JournalStatus? { nil }

    func status() -> LedgerStatus {
        LedgerStatus(
            applications: 0, tokens: 0, lastSequence: 0, storageProblem: nil, databaseBytes: 0,
            writeAheadLogBytes: 0, queuedMutations: 0)
    }
}

/// A count that one thread raises and another waits for.
final class Counter: @unchecked Sendable {
    private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var count = 0

    init() {
        pthread_mutex_init(lock, nil)
        pthread_cond_init(changed, nil)
    }

    func increment() {
        pthread_mutex_lock(lock)
        count += 1
        pthread_cond_broadcast(changed)
        pthread_mutex_unlock(lock)
    }

    func wait(for expected: Int) {
        pthread_mutex_lock(lock)
        while count < expected { pthread_cond_wait(changed, lock) }
        pthread_mutex_unlock(lock)
    }
}

/// Users and groups as a test wants them.
final class ScriptedDirectory: UserDirectory {
    let failing = Mutex(false)
    /// While it is held, look-ups wait.
    let gate = Mutex<Void>(())
    let name: String?
    /// Whom it knows nothing of.
    let nameless: Range<UInt32>?

    init(name: String? = "tester", nameless: Range<UInt32>? = nil) {
        self.name = name
        self.nameless = nameless
    }

    func userName(_ uid: UInt32) throws(LookupFailure) -> String? {
        gate.withLock { _ in }
        if failing.withLock({ $0 }) { throw LookupFailure(errno: EIO) }
        return nameless?.contains(uid) == true ? nil : name
    }

    func groupID(_ name: String) throws(LookupFailure) -> UInt32? { nil }
}

/// A server on a socket of its own in a folder of its own.
struct Harness {
    let server: Server
    let ledger = ScriptedLedger()
    let path: String
    private let socket: ListeningSocket

    init(
        settings: ServerSettings = ServerSettings(), directory: ScriptedDirectory = ScriptedDirectory(),
        log: KeptLog? = nil
    ) throws {
        var template = Array("/tmp/scaem-server-test-XXXXXX".utf8CString)
        let folder = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
        path = folder + "/s"
        server = try Server(
            settings: settings, clock: SystemClock(), directory: directory,
            logger: Logger(label: "test") { _ in log ?? SwiftLogNoOpLogHandler() as any LogHandler })
        socket = try ListeningSocket(path: path, mode: 0o600, group: nil)
        ledger.deliver = { [server] in server.deliver($0) }
        try server.start(ledger: ledger, sockets: [socket], reload: { ["no"] })
    }

    func connect() -> TestConnection { TestConnection(path: path) }

    func stop() {
        server.drain()
        socket.remove()
        unlink(path + ".lock")
        rmdir(String(path.dropLast(2)))
    }
}

/// A log whose lines a test counts.
struct KeptLog: LogHandler {
    private final class Lines: Sendable {
        let ids = Mutex<[String]>([])
    }

    private let lines = Lines()
    var metadata = Logger.Metadata()
    var logLevel = Logger.Level.trace

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        lines.ids.withLock { $0.append("\(event.metadata?[MessageID.key] ?? "")") }
    }

    func count(of id: MessageID) -> Int { lines.ids.withLock { $0.count { $0 == id.rawValue } } }
}

/// A blocking client that reads and writes lines.
final class TestConnection {
    let descriptor: CInt
    private var received: [UInt8] = []

    init(descriptor: CInt) { self.descriptor = descriptor }

    init(path: String) {
        descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        // An answer that never comes fails the test instead of hanging it.
        var patience = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        #expect(result == 0, "connect: \(errno)")
    }

    func send(_ text: String) {
        let bytes = Array(text.utf8)
        #expect(Glibc.send(descriptor, bytes, bytes.count, CInt(MSG_NOSIGNAL)) == bytes.count)
    }

    /// The next line without its LF, or nil at the end of file.
    func line() -> String? {
        while true {
            if let end = received.firstIndex(of: 0x0A) {
                let line = String(decoding: received[..<end], as: UTF8.self)
                received.removeSubrange(...end)
                return line
            }
            var chunk = [UInt8](repeating: 0, count: 65_536)
            let count = read(descriptor, &chunk, chunk.count)
            guard count > 0 else {
                #expect(count == 0, "read: \(errno)")
                return nil
            }
            received += chunk[..<count]
        }
    }

    /// All that has come, without waiting.
    func arrived() -> String {
        while true {
            var chunk = [UInt8](repeating: 0, count: 65_536)
            let count = recv(descriptor, &chunk, chunk.count, CInt(MSG_DONTWAIT))
            guard count > 0 else { break }
            received += chunk[..<count]
        }
        defer { received = [] }
        return String(decoding: received, as: UTF8.self)
    }

    /// Whether something comes, or the end, within so many milliseconds.
    func hasNews(within milliseconds: CInt) -> Bool {
        var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&waiting, 1, milliseconds) != 0
    }

    deinit { close(descriptor) }
}
