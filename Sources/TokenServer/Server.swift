import CLinux
import Glibc
public import Logging
import Synchronization
import Systemd
public import TokenModel

/// The daemon's socket side: loops that serve connections, and the threads for what may block.
///
/// Made before the ledger, because the ledger delivers to it; started with the ledger.
public final class Server: Sendable {
    private let settings: ServerSettings
    private let clock: any Clock
    private let logger: Logger
    private let names: NameService
    private let accounting: Accounting
    private let inboxes: [LoopInbox]
    /// The loops as a watchdog sees them, in their order.
    public let watchedLoops: [WatchedLoop]
    private let feed = Mutex<EventFeed?>(nil)
    /// What was refused.
    public let refusals = RefusalLog { MonotonicClock.milliseconds }
    /// eventfd(2) that counts the loops that have done the step of the stop they were told to do.
    private let loopsDone: CInt

    /// What a process needs beside one descriptor a connection: units that wait for their credentials, the database, the
    /// journal and the loops.
    public static let descriptorsBesideConnections = Bounds.pendingCredentials + 64

    /// Makes what a server needs before it serves.
    /// - Throws: `SystemCallFailure` where the system has no descriptors left.
    public init(
        settings: ServerSettings, clock: any Clock, directory: any UserDirectory, logger: Logger
    ) throws {
        self.settings = settings
        self.clock = clock
        self.logger = logger
        names = NameService(directory: directory)
        accounting = Accounting(settings)
        inboxes = try (0..<settings.eventLoops).map { _ in try LoopInbox() }
        watchedLoops = inboxes.enumerated().map { WatchedLoop(name: "loop-\($0)", inbox: $1) }
        loopsDone = eventfd(0, CInt(EFD_CLOEXEC | EFD_SEMAPHORE))
        guard loopsDone >= 0 else { throw SystemCallFailure("eventfd") }
    }

    /// Hands a batch of the writer over to the loops that have to do with it. Called by the ledger, on its thread.
    public func deliver(_ delivery: Delivery) {
        guard let feed = feed.withLock({ $0 }) else { return }
        feed.note(delivery.records)
        // Who watches nothing gets no records: the last who holds them frees them, and that is cheapest where they were made.
        let answers = Delivery(mutations: delivery.mutations, records: [])
        for (index, inbox) in inboxes.enumerated() {
            if !delivery.records.isEmpty, feed.isWatched(loop: index) {
                inbox.put(.delivered(delivery))
            } else if delivery.mutations.contains(where: { $0.ticket.loop == index }) {
                inbox.put(.delivered(answers))
            }
        }
    }

    /// Serves callers of these sockets from now on, on threads of its own, which run when this returns.
    /// - Parameters:
    ///   - credentialSockets: those that systemd connects to for a unit's LoadCredential=.
    ///   - stored: connections to them that an earlier instance accepted and did not answer.
    ///   - keeper: refuses those that are accepted when the daemon is killed before systemd has them.
    /// - Throws: `SystemCallFailure`.
    public func start(
        ledger: any TokenLedger, sockets: [ListeningSocket], credentialSockets: [ListeningSocket] = [],
        stored: [StoredConnection] = [], keeper: CredentialKeeper? = nil, reload: @escaping @Sendable () -> [String]
    ) throws {
        let feed = EventFeed(loops: inboxes.count, lastSequence: try ledger.recordBounds().last)
        self.feed.withLock { $0 = feed }
        // Known before the first connect, so that a place is kept free for administrators from the beginning.
        names.look(up: geteuid(), for: geteuid()) { _ in }
        let services = EventLoop.Services(
            settings: settings, ledger: ledger, names: names, processes: SerialWorker(name: "peers"),
            accounting: accounting, reads: SerialWorker(name: "reads"), reload: reload, clock: clock, logger: logger,
            startedAt: MonotonicClock.milliseconds, feed: feed, refusals: refusals)
        let loops = try inboxes.enumerated().map { index, inbox in
            try EventLoop(index: index, inbox: inbox, services: services)
        }
        // The listeners are all on the first loop, so their common count is touched on one thread only.
        var accepted: UInt64 = 0
        for socket in sockets {
            let listener = Listener(descriptor: socket.descriptor, services: services) {
                [inboxes] descriptor, credentials, account in
                accepted += 1
                inboxes[Int(accepted % UInt64(inboxes.count))].put(
                    .adopt(descriptor: descriptor, credentials: credentials, account: account, id: accepted))
            }
            try loops[0].add(listener)
        }
        if !credentialSockets.isEmpty || !stored.isEmpty {
            let desk = try CredentialDesk(loopIndex: 0, services: services, store: DescriptorStore(), keeper: keeper)
            try loops[0].add(desk)
            try desk.start(listeners: credentialSockets.map(\.descriptor), stored: stored)
        }
        for loop in loops {
            loop.done = { [loopsDone] in
                var one: UInt64 = 1
                _ = write(loopsDone, &one, 8)
            }
            startThread(name: "loop-\(loop.index)") { loop.run() }
        }
        // Who is told that the daemon is ready is answered at once: every loop goes round.
        for inbox in inboxes { inbox.put(.greet) }
        for _ in inboxes { awaitLoop() }
    }

    /// Puts other settings in force, for what is asked from now on. The number of loops stays.
    public func apply(_ settings: ServerSettings) {
        accounting.apply(settings)
        for inbox in inboxes { inbox.put(.configure(settings)) }
    }

    /// Accepts no more, answers all that was asked, and returns when every connection is closed: at the latest after
    /// `drainSeconds`, when callers that do not read their answers are cut off.
    public func drain() {
        let deadline = MonotonicClock.milliseconds + settings.drainSeconds * 1_000
        // First, so that every connection that was accepted is in its loop's inbox before the word to drain.
        inboxes[0].put(.stopListening)
        awaitLoop()
        for inbox in inboxes { inbox.put(.drain(deadline: deadline)) }
        for _ in inboxes { awaitLoop() }
    }

    /// What is served now: for a line of `systemctl status`, so it must be cheap.
    public var activity: (connections: Int, lastSequence: Int64) {
        (accounting.connections, feed.withLock { $0?.lastSequence } ?? 0)
    }

    private func awaitLoop() {
        var counter: UInt64 = 0
        while read(loopsDone, &counter, 8) < 0, errno == EINTR {}
    }
}
