import CLinux
import Glibc
import Logging
import Systemd
import TokenModel

/// The credential socket's side of an event loop: a peer connects, is given its unit's token, and the connection is
/// closed. Nothing is read from it. It has an epoll(7) of its own, which its loop watches like one more descriptor.
///
/// The consumer takes whatever it has read at the end of the stream for the credential. So a connection that was accepted
/// is answered whole or with a refusal, by this instance or by the next:
///
///     accept, FDSTORE, decide, commit, mark the socket, send, shut down, close, FDSTOREREMOVE
///
/// Up to the mark a killed daemon's successor does it all again; after it, `CredentialStream` says what is left to do.
final class CredentialDesk {
    /// What its loop watches for reading.
    let descriptor: CInt
    let services: EventLoop.Services
    let loopIndex: Int
    let store: DescriptorStore?
    let keeper: CredentialKeeper?
    private let timer: CInt
    private var listeners: [CInt] = []
    private var isListening = false
    private var nextDescriptorReport: Int64 = 0
    /// A stop has taken the last one.
    private var isClosed = false

    var grants: [CredentialGrant]
    var ttlSeconds: Int64
    var starts = CredentialStarts()
    var connections: [UInt64: CredentialConnection] = [:]
    /// Names that the service manager had no room to hear of. It drops what has ended by itself, too.
    var removals: [String] = []
    private var lastID = CredentialConnection.firstID
    /// When what still waits for the writer is refused; set by a stop.
    var drainDeadline: Int64?

    private static let timerMark: UInt64 = 0
    private static let listenerMark: UInt64 = 1

    init(
        loopIndex: Int, services: EventLoop.Services, store: DescriptorStore?, keeper: CredentialKeeper?
    ) throws(SystemCallFailure) {
        self.loopIndex = loopIndex
        self.services = services
        self.store = store
        self.keeper = keeper
        grants = services.settings.credentials
        ttlSeconds = services.settings.defaultTTLSeconds
        descriptor = epoll_create1(CInt(EPOLL_CLOEXEC))
        guard descriptor >= 0 else { throw SystemCallFailure("epoll_create1") }
        timer = timerfd_create(CLOCK_MONOTONIC, CInt(TFD_CLOEXEC | TFD_NONBLOCK))
        guard timer >= 0 else { throw SystemCallFailure("timerfd_create") }
        try watch(timer, Self.timerMark)
    }

    /// Takes over what systemd kept for us, and accepts from now on. Before the loop runs.
    func start(listeners: [CInt], stored: [StoredConnection]) throws(SystemCallFailure) {
        self.listeners = listeners
        try resumeListening()
        for connection in stored { adopt(connection.descriptor, name: connection.name, isStored: true) }
    }

    /// Puts other settings in force, for who asks from now on.
    func apply(_ settings: ServerSettings) {
        grants = settings.credentials
        ttlSeconds = settings.defaultTTLSeconds
        starts.forgetFull(now: MonotonicClock.milliseconds)
    }

    /// Does what is due, without waiting.
    func ready() {
        var events = [epoll_event](repeating: epoll_event(), count: Bounds.eventsPerWait)
        let count = epoll_wait(descriptor, &events, CInt(events.count), 0)
        for event in events.prefix(max(0, Int(count))) {
            switch event.data.u64 {
            case Self.timerMark: tick()
            case Self.listenerMark: accept()
            default: if let connection = connections[event.data.u64] { ready(connection, event.events) }
            }
        }
    }

    private func ready(_ connection: CredentialConnection, _ events: UInt32) {
        if events & (EPOLLHUP.rawValue | EPOLLERR.rawValue) != 0 {
            // The peer waits no more. What it was to get stays in the ledger, and its next start replaces it.
            return finish(connection)
        }
        if case .refusing(let left) = connection.state { sendRefusal(connection, left) }
    }

    // MARK: Accepting

    private func accept() {
        let waiting = listeners.filter { !acceptSome(of: $0) }
        if drainDeadline != nil, waiting.isEmpty { closeListening() }
    }

    /// - Returns: whether nobody waits there any more.
    private func acceptSome(of listener: CInt) -> Bool {
        // The next wake accepts the others: callers get their turn between.
        for _ in 0..<Bounds.credentialAcceptsPerWake where isListening {
            guard connections.count < Bounds.pendingCredentials else {
                pauseListening()
                return false
            }
            let connection = linux_accept(listener)
            if connection >= 0 {
                adopt(connection)
            } else if errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS {
                // Not accepted and closed, as elsewhere: that would be an empty credential. Who waits in the backlog is
                // safe there.
                reportNoDescriptors()
                pauseListening()
                return false
            } else if errno != EINTR && errno != ECONNABORTED {
                return true
            }
        }
        return false
    }

    private func reportNoDescriptors() {
        let now = MonotonicClock.milliseconds
        guard now >= nextDescriptorReport else { return }
        nextDescriptorReport = now + Bounds.descriptorReportMilliseconds
        services.logger.report(
            .error, .noDescriptors, "no file descriptors are left for units that wait for credentials")
    }

    /// The store comes first: a daemon that is killed from here on leaves the connection to the next one.
    private func adopt(_ descriptor: CInt) {
        guard let store else { return adopt(descriptor, name: nil, isStored: false) }
        let name = StoredConnection.freshName()
        adopt(descriptor, name: name, isStored: store.put(descriptor, name: name))
    }

    private func adopt(_ descriptor: CInt, name: String?, isStored: Bool) {
        lastID += 1
        let connection = CredentialConnection(id: lastID, descriptor: descriptor, name: name, isStored: isStored)
        connections[connection.id] = connection
        if isStored {
            keeper?.note(descriptor, isStored: true)
        } else if name != nil {
            // The service manager is behind with its reading; who waits in the backlog is safer there.
            pauseListening()
        }
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
        var event = epoll_event(events: 0, data: epoll_data_t(u64: connection.id))
        // Without epoll it cannot be waited for; what can be sent at once still is.
        if epoll_ctl(self.descriptor, EPOLL_CTL_ADD, descriptor, &event) != 0 {
            services.logger.report(
                .error, .kernelRefused, "a unit's connection cannot be waited for", ["errno": "\(errno)"])
        }
        resume(connection)
    }

    private func watch(_ descriptor: CInt, _ mark: UInt64) throws(SystemCallFailure) {
        var event = epoll_event(events: EPOLLIN.rawValue, data: epoll_data_t(u64: mark))
        guard epoll_ctl(self.descriptor, EPOLL_CTL_ADD, descriptor, &event) == 0 else {
            throw SystemCallFailure("epoll_ctl")
        }
    }

    private func resumeListening() throws(SystemCallFailure) {
        guard !isListening, !isClosed else { return }
        for listener in listeners { try watch(listener, Self.listenerMark) }
        isListening = true
    }

    /// Until the next tick.
    private func pauseListening() {
        stopListening()
        armTimer()
    }

    private func stopListening() {
        guard isListening else { return }
        isListening = false
        var event = epoll_event()
        for listener in listeners { epoll_ctl(descriptor, EPOLL_CTL_DEL, listener, &event) }
    }

    /// Accepts no more. Who connects from now on is left to the next instance.
    private func closeListening() {
        stopListening()
        isClosed = true
    }

    // MARK: Time

    /// Wakes `ready` once, shortly.
    func armTimer() {
        var time = itimerspec()
        time.it_value.tv_nsec = Bounds.credentialTickMilliseconds * 1_000_000
        timerfd_settime(timer, 0, &time, nil)
    }

    func armTimerIfPaused() {
        if !isListening, !isClosed { armTimer() }
    }

    private func tick() {
        var expirations: UInt64 = 0
        _ = read(timer, &expirations, 8)
        let now = MonotonicClock.milliseconds
        if let store { removals.removeAll { store.remove(name: $0) } }
        if !removals.isEmpty { armTimer() }
        for connection in Array(connections.values) { tick(connection, now) }
        if let drainDeadline {
            drain(now, drainDeadline)
        } else if connections.count < Bounds.pendingCredentials, !isListening {
            do { try resumeListening() } catch { armTimer() }
        }
    }

    /// What the service manager had no room for in its queue.
    private func store(_ connection: CredentialConnection) {
        guard let store, let name = connection.name, !connection.isStored else { return }
        connection.isStored = store.put(connection.descriptor, name: name)
        if connection.isStored { keeper?.note(connection.descriptor, isStored: true) } else { armTimer() }
    }

    private func tick(_ connection: CredentialConnection, _ now: Int64) {
        store(connection)
        if let patienceEnds = connection.patienceEnds {
            guard now < patienceEnds else { return finish(connection) }
            armTimer()
        }
        switch connection.state {
        case .waiting(let steps, let command, let until):
            if now < until { act(connection, steps, command, until: until) } else { refuse(connection, .busy) }
        case .refusing(let left):
            // Where the kernel had no memory, no event says that it has some again.
            sendRefusal(connection, left)
        case .asked, .new: break
        }
    }

    /// What the writer has not done by the deadline is refused. A refusal has some time more to be read.
    private func drain(_ now: Int64, _ deadline: Int64) {
        if !isClosed, now >= deadline { closeListening() }
        if !isClosed, connections.count < Bounds.pendingCredentials {
            try? resumeListening()
            accept()
        }
        guard !isEmpty else { return }
        armTimer()
        guard now >= deadline else { return }
        for connection in Array(connections.values) {
            switch connection.state {
            case .asked, .waiting, .new: refuse(connection, .shuttingDown)
            case .refusing: break
            }
        }
        guard now >= deadline + Bounds.credentialLastWordMilliseconds, !connections.isEmpty else { return }
        services.logger.report(
            .error, .refusalsUnread,
            "some units did not read their refusals before the stop; where systemd keeps them, the next start goes on",
            ["connections": "\(connections.count)"])
        for connection in Array(connections.values) { finish(connection, keepStored: true) }
    }

    /// What is pending is answered or refused, and so is who waits in the backlog: were a unit left there and the socket's
    /// unit stopped with the service, systemd would accept its connection and close it, which is an empty credential.
    func drain(deadline: Int64) {
        drainDeadline = deadline
        accept()
        if !isEmpty { armTimer() }
    }

    /// Whether a stop has nothing left to do here.
    var isEmpty: Bool { connections.isEmpty && isClosed }
}
