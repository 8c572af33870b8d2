import GRDB
import Glibc
import Synchronization
import TokenModel

@testable import TokenStore

/// A clock that moves when it is told to.
final class ManualClock: TokenModel.Clock {
    private let times = Mutex<(wall: Int64, boot: Int64)>((1_748_000_000_000, 5_000_000))

    func wall() -> Instant { Instant(milliseconds: times.withLock { $0.wall }) }
    func bootMilliseconds() -> Int64 { times.withLock { $0.boot } }

    func advance(seconds: Int64) {
        times.withLock {
            $0.wall += seconds * 1_000
            $0.boot += seconds * 1_000
        }
    }

    func setWallBack(seconds: Int64) { times.withLock { $0.wall -= seconds * 1_000 } }
}

/// Randomness that can be switched off.
final class FaultyRandom: RandomSource {
    let isBroken = Atomic<Bool>(false)

    func fill(_ buffer: UnsafeMutableRawBufferPointer) throws {
        if isBroken.load(ordering: .relaxed) { throw RandomError(errno: EIO) }
        try SystemRandom().fill(buffer)
    }
}

/// A generator whose seed is printed, so that a failure can be repeated (splitmix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}

/// A directory of its own, removed with everything in it.
final class TemporaryDirectory: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/store-test-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw TestFault("mkdtemp: errno \(errno)") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        guard let directory = opendir(path) else { return }
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." { unlink(path + "/" + name) }
        }
        closedir(directory)
        rmdir(path)
    }
}

struct TestFault: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// Gathers what a ledger delivers and logs.
final class Collector: Sendable {
    private struct State {
        var deliveries: [Delivery] = []
        var events: [StoreEvent] = []
        /// Deliveries that have begun.
        var entered = 0
    }

    private let state = Mutex(State())
    private let delivered = DeliverySignal()
    /// While it is held, deliveries wait, and with them the writer.
    let gate = Mutex<Void>(())

    var deliver: @Sendable (Delivery) -> Void {
        { delivery in
            self.state.withLock { $0.entered += 1 }
            self.delivered.raise()
            self.gate.withLock { _ in }
            self.state.withLock { $0.deliveries.append(delivery) }
            self.delivered.raise()
        }
    }

    var log: @Sendable (StoreEvent) -> Void {
        { event in self.state.withLock { $0.events.append(event) } }
    }

    var deliveries: [Delivery] { state.withLock { $0.deliveries } }
    var events: [StoreEvent] { state.withLock { $0.events } }
    var records: [AuditRecord] { deliveries.flatMap(\.records) }

    /// Deliveries that have begun; with the gate held, the last of them stands at it.
    var entered: Int { state.withLock { $0.entered } }

    func wait(for isDone: () -> Bool) throws { try delivered.wait(for: isDone) }

    /// Waits until the mutation has come back; a minute means that it never will.
    func outcome(of mutation: Mutation) throws -> MutationOutcome {
        try delivered.wait {
            self.deliveries.contains { $0.mutations.contains { $0 === mutation } }
        }
        guard let outcome = mutation.outcome else { throw TestFault("delivered without an outcome") }
        return outcome
    }
}

/// A condition variable with a limit of a minute.
final class DeliverySignal: @unchecked Sendable {
    // @unchecked: both live on the heap, unmoved, and are made to be shared.
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    init() {
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(condition, nil)
    }

    func raise() {
        pthread_mutex_lock(mutex)
        pthread_cond_broadcast(condition)
        pthread_mutex_unlock(mutex)
    }

    func wait(for isDone: () -> Bool) throws {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        var deadline = timespec(tv_sec: time(nil) + 60, tv_nsec: 0)
        while !isDone() {
            if pthread_cond_timedwait(condition, mutex, &deadline) == ETIMEDOUT {
                throw TestFault("nothing was delivered within a minute")
            }
        }
    }
}

extension StoreConfiguration {
    /// The defaults, but that the sync of each commit is left to the other thread, save a lone mutation's: a test's few take
    /// the way on which more can go wrong.
    static var overlapping: StoreConfiguration {
        var configuration = StoreConfiguration()
        configuration.leftSyncMutations = 2
        return configuration
    }
}

/// A ledger in a directory of its own, asked one thing at a time.
final class TestLedger {
    let directory: TemporaryDirectory
    let clock: ManualClock
    let random = FaultyRandom()
    let collector = Collector()
    private(set) var ledger: SQLiteLedger
    private let configuration: StoreConfiguration

    init(
        directory: TemporaryDirectory? = nil, clock: ManualClock = ManualClock(),
        configuration: StoreConfiguration = .overlapping
    ) throws {
        let directory = try directory ?? TemporaryDirectory()
        self.directory = directory
        self.clock = clock
        self.configuration = configuration
        ledger = try SQLiteLedger(
            stateDirectory: directory.path, clock: clock, random: random, configuration: configuration,
            log: collector.log, deliver: collector.deliver)
    }

    func reopen() throws {
        ledger.close()
        ledger = try SQLiteLedger(
            stateDirectory: directory.path, clock: clock, random: random, configuration: configuration,
            log: collector.log, deliver: collector.deliver)
    }

    static func caller(
        _ name: String = "alice", uid: UInt32 = 1_000, account: UInt32? = nil, isAdministrator: Bool = false
    ) -> Caller {
        Caller(
            principal: .user(name: name, uid: uid), uid: uid, gid: uid, account: account,
            process: PeerProcess(
                pid: 4_242, unit: "app.service", invocationID: String(repeating: "ab", count: 16), comm: "app"),
            isAdministrator: isAdministrator)
    }

    @discardableResult
    func submit(_ command: Command, by caller: Caller = caller()) throws -> Mutation {
        let mutation = Mutation(
            command: command, caller: caller, ticket: .init(loop: 0, connection: 1, position: 0))
        guard case .accepted = ledger.submit(mutation) else { throw TestFault("not accepted") }
        return mutation
    }

    @discardableResult
    func run(_ command: Command, by caller: Caller = caller()) throws -> MutationOutcome {
        try collector.outcome(of: submit(command, by: caller))
    }

    func credentials(_ command: Command, by caller: Caller = caller()) throws -> Credentials {
        guard case .credentials(let credentials) = try run(command, by: caller) else {
            throw TestFault("no credentials")
        }
        return credentials
    }

    func revoked(_ command: Command, by caller: Caller = caller()) throws -> Int {
        guard case .revoked(let count) = try run(command, by: caller) else { throw TestFault("not revoked") }
        return count
    }

    func refusal(_ command: Command, by caller: Caller = caller()) throws -> Refusal {
        guard case .refused(let refusal) = try run(command, by: caller) else { throw TestFault("not refused") }
        return refusal
    }

    func isActive(_ token: TokenSecret) -> Bool { ledger.introspect(token.digest) { _ in } }

    /// The application of each, or nil where it is not active, looked up together.
    func applications(_ digests: [TokenDigest]) -> [String?] {
        var found: [String?] = []
        digests.withUnsafeBufferPointer { digests in
            ledger.introspect(digests) { _, token in
                found.append(token.map { String(decoding: $0.application, as: UTF8.self) })
            }
        }
        return found
    }

    func rows(_ scope: ListQuery.Scope = .all, limit: Int = 100) throws -> [ListRow] {
        try ledger.list(ListQuery(scope: scope, project: nil, expiresBefore: nil, limit: limit, after: nil)).rows
    }
}

func app(_ name: String) throws -> ApplicationName {
    guard let name = ApplicationName(name) else { throw TestFault("\(name) is no name") }
    return name
}

func project(_ code: String) throws -> ProjectCode {
    guard let code = ProjectCode(code) else { throw TestFault("\(code) is no code") }
    return code
}

extension DatabaseQueue {
    /// Another program's connection to a database that a ledger may be writing to at the moment: waits for its turn.
    static func beside(_ path: String) throws -> DatabaseQueue {
        var configuration = Configuration()
        configuration.busyMode = .timeout(10)
        return try DatabaseQueue(path: path, configuration: configuration)
    }
}
