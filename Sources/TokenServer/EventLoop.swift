import CLinux
import Glibc
import Logging
import Systemd
import TokenModel
import TokenRPC

/// One thread, one epoll(7): reads requests of its connections, answers what memory can answer, hands on the rest, and
/// writes the answers in their order. Level-triggered; each wake of a connection is one read and one write.
///
/// This file is the loop itself; what it does with a connection stands in the extensions: bytes (`EventLoop+Bytes`),
/// lines and messages (`EventLoop+Requests`), what other threads send (`EventLoop+Deliveries`), watchers.
final class EventLoop: @unchecked Sendable {
    // @unchecked: all but `inbox` and `index` is touched only on the loop's own thread.
    let index: Int
    let inbox: LoopInbox
    var services: Services
    private let epoll: CInt
    /// What one epoll_wait(2) reports.
    private let events = UnsafeMutablePointer<epoll_event>.allocate(capacity: Bounds.eventsPerWait)
    private var listeners: [Listener] = []

    var connections: [UInt64: Connection] = [:]
    /// Closed in this round; an event that epoll has already reported may still name them.
    private var graveyard: [Connection] = []
    var watchers: [Connection] = []
    /// Counts the turns of the loop.
    private(set) var round: UInt64 = 0
    /// What each uid that has a connection here had of this turn.
    var turns: [UInt32: UserTurn] = [:]
    /// Those with lines that wait for their uid's next turn.
    private var postponed = FairQueue<Connection>()
    /// The credential socket's side, on the first loop only.
    private(set) var desk: CredentialDesk?

    let reader = JSONReader()
    let lookups = Lookups()
    /// Connections of this turn whose look-ups wait, and so what follows on them.
    var unsettled: [Connection] = []
    let chunk = UnsafeMutableRawBufferPointer.allocate(byteCount: Bounds.readChunkBytes, alignment: 64)
    /// Writers that no connection needs at the moment.
    var spareWriters: [ByteWriter] = []
    /// Whether there is something in this turn that the writer is to be woken for.
    var hasSubmitted = false
    var drainDeadline: Int64?
    /// Called on this thread when it runs, when it has stopped to listen, and when a drain has left no connection.
    var done: (() -> Void)?

    /// What all loops share.
    struct Services: Sendable {
        var settings: ServerSettings
        let ledger: any TokenLedger
        let names: NameService
        /// Where processes that connected are looked at.
        let processes: SerialWorker
        let accounting: Accounting
        let reads: SerialWorker
        /// Reads the configuration again; what is wrong with it, or nothing.
        let reload: @Sendable () -> [String]
        let clock: any Clock
        let logger: Logger
        let startedAt: Int64
        let feed: EventFeed
        let refusals: RefusalLog
    }

    init(index: Int, inbox: LoopInbox, services: Services) throws(SystemCallFailure) {
        self.index = index
        self.inbox = inbox
        self.services = services
        epoll = epoll_create1(CInt(EPOLL_CLOEXEC))
        guard epoll >= 0 else { throw SystemCallFailure("epoll_create1") }
        var event = epoll_event(events: EPOLLIN.rawValue, data: epoll_data_t(u64: Self.inboxMark))
        guard epoll_ctl(epoll, EPOLL_CTL_ADD, inbox.descriptor, &event) == 0 else {
            throw SystemCallFailure("epoll_ctl")
        }
    }

    /// Marks in epoll's data what is not a connection; an object's address is never that small.
    private static let inboxMark: UInt64 = 0
    private static let firstListenerMark: UInt64 = 1
    private static let largestListenerMark: UInt64 = 64
    private static let deskMark: UInt64 = 65

    /// Runs for ever, on the calling thread.
    func run() -> Never {
        while true { turn(milliseconds: timeout()) }
    }

    /// Goes round once: waits so long at most, for ever with -1, and does what there is to do.
    /// - Returns: whether there was anything.
    @discardableResult
    func turn(milliseconds: CInt) -> Bool {
        let hasPostponed = postponed.count > 0
        let wait = hasPostponed ? 0 : milliseconds
        let count = epoll_wait(epoll, events, CInt(Bounds.eventsPerWait), wait)
        round += 1
        // By turns, too, who of a uid comes first: what was postponed or what is ready, and of these another each time.
        if round % 2 == 0 { goOn() }
        let ready = max(0, Int(count))
        let first = ready == 0 ? 0 : Int(round % UInt64(ready))
        for index in first..<ready { handle(events[index]) }
        for index in 0..<first { handle(events[index]) }
        if round % 2 == 1 { goOn() }
        // Once a turn: who is woken earlier finds the first of many only, and commits it alone.
        wakeWriter()
        settleLookups()
        // What was sent may have made room for what waited.
        wakeWriter()
        expire()
        // A token that came with an escape must not stay for as long as nobody asks again.
        reader.wipe()
        graveyard.removeAll(keepingCapacity: true)
        return ready > 0 || hasPostponed
    }

    private func wakeWriter() {
        guard hasSubmitted else { return }
        hasSubmitted = false
        services.ledger.wakeWriter()
    }

    private func handle(_ event: epoll_event) {
        switch event.data.u64 {
        case Self.inboxMark:
            for message in inbox.takeAll() { receive(message) }
        case Self.firstListenerMark...Self.largestListenerMark:
            let place = Int(event.data.u64 - Self.firstListenerMark)
            if place < listeners.count { listeners[place].accept() }
        case Self.deskMark:
            desk?.ready()
            finishDrainIfEmpty()
        default:
            guard let address = event.data.ptr else { return }
            let connection = Unmanaged<Connection>.fromOpaque(address).takeUnretainedValue()
            // Who has had its turn is reported again by the next epoll_wait(2), with all who came meanwhile.
            if hasTurn(connection) { ready(connection, event.events) }
        }
    }

    /// Whether something of this connection's uid may be worked on in this turn of the loop. Where it is the only uid here,
    /// it may: to let its connections wait for each other would make the last of them late and nobody earlier.
    func hasTurn(_ connection: Connection) -> Bool {
        if turns.count == 1 { return true }
        if connection.turn.round != round {
            connection.turn.round = round
            connection.turn.lines = 0
        }
        return connection.turn.lines < Bounds.turnLines
    }

    /// Lets the lines that a connection has sent wait for its uid's next turn.
    func postpone(_ connection: Connection) {
        guard !connection.isPostponed else { return }
        connection.isPostponed = true
        postponed.append(connection, of: connection.account)
    }

    /// Goes on with one postponed connection of each uid.
    private func goOn() {
        for _ in 0..<postponed.uids {
            guard let connection = postponed.take() else { return }
            connection.isPostponed = false
            advanceStored(connection)
            settle(connection)
        }
    }

    private func receive(_ message: LoopMessage) {
        switch message {
        case .adopt(let descriptor, let credentials, let account, let id):
            adopt(Connection(id: id, descriptor: descriptor, credentials: credentials, account: account))
        case .described(let id, let process):
            if let connection = connections[id] { described(connection, process) }
        case .identified(let id, let identity):
            if let connection = connections[id] { identified(connection, identity) }
        case .delivered(let delivery): deliver(delivery)
        case .finished(let id, let outcome, _):
            if let connection = connections[id] { finished(connection, outcome) }
        case .replayed(let id, let uid, let page):
            if let connection = connections[id] { replayed(connection, page) }
            readNextPage(of: uid)
        case .configure(let settings):
            services.settings = settings
            desk?.apply(settings)
        case .answer(let watched): watched.answer()
        case .greet: done?()
        case .stopListening:
            stopListening()
            done?()
        case .drain(let deadline): drain(deadline: deadline)
        }
    }

    /// No connection's deadline is before this; looked at anew only when it has come, for a caller with half a line must not
    /// make each round of the loop look at every connection.
    private var nextExpiry = Int64.max

    /// Until when epoll may sleep: the first line that may time out, or the end of the drain.
    private func timeout() -> CInt {
        // The desk keeps its own time: what it still has to say at the end must not make this loop spin.
        let next = min(connections.isEmpty ? .max : drainDeadline ?? .max, nextExpiry)
        guard next < Int64.max else { return -1 }
        return CInt(clamping: max(0, next - MonotonicClock.milliseconds))
    }

    private func expire() {
        guard nextExpiry < .max || drainDeadline != nil else { return }
        let now = MonotonicClock.milliseconds
        if let drainDeadline, now >= drainDeadline, !connections.isEmpty {
            services.logger.report(
                .warning, .unreadAnswers, "some callers did not read their answers before the stop")
            for connection in Array(connections.values) { close(connection) }
        }
        guard now >= nextExpiry else { return }
        nextExpiry = .max
        for connection in Array(connections.values) {
            guard let deadline = connection.deadline else { continue }
            if now >= deadline, connection.isLooking {
                cannotBeNamed(connection)
            } else if now >= deadline {
                if services.refusals.note("timeout", connection.asker) {
                    services.logger.report(
                        .notice, .slowCaller,
                        "a line was not completed, or the last answers were not read, in time; the connection is closed",
                        ["uid": "\(connection.credentials.uid)", "pid": "\(connection.credentials.pid)"])
                }
                close(connection)
            } else {
                nextExpiry = min(nextExpiry, deadline)
            }
        }
        nextExpiry = max(nextExpiry, now + Bounds.expiryMilliseconds)
    }

    /// Gives a connection the contract's time to do what it has to, or NSS its own to say whose it is.
    func setDeadline(_ connection: Connection, milliseconds: Int64 = Bounds.lineTimeoutMilliseconds) {
        let deadline = MonotonicClock.milliseconds + milliseconds
        connection.deadline = deadline
        nextExpiry = min(nextExpiry, deadline)
    }

    // MARK: Descriptors

    /// Watches a listening socket from now on. On this loop's thread, or before it runs.
    func add(_ listener: Listener) throws(SystemCallFailure) {
        listeners.append(listener)
        let mark = Self.firstListenerMark + UInt64(listeners.count - 1)
        var event = epoll_event(events: EPOLLIN.rawValue, data: epoll_data_t(u64: mark))
        guard epoll_ctl(epoll, EPOLL_CTL_ADD, listener.descriptor, &event) == 0 else {
            throw SystemCallFailure("epoll_ctl")
        }
    }

    /// Serves the credential socket too. Before this loop runs.
    func add(_ desk: CredentialDesk) throws(SystemCallFailure) {
        self.desk = desk
        var event = epoll_event(events: EPOLLIN.rawValue, data: epoll_data_t(u64: Self.deskMark))
        guard epoll_ctl(epoll, EPOLL_CTL_ADD, desk.descriptor, &event) == 0 else {
            throw SystemCallFailure("epoll_ctl")
        }
    }

    /// Accepts what has connected already, then no more. The desk does the same with its units as it drains.
    func stopListening() {
        for listener in listeners {
            listener.acceptAll()
            var event = epoll_event()
            epoll_ctl(epoll, EPOLL_CTL_DEL, listener.descriptor, &event)
        }
        listeners = []
    }

    /// Tells epoll what of a connection is to be waited for now.
    func updateInterest(_ connection: Connection) {
        let isReading =
            !connection.isBlocked && !connection.inputEnded && !connection.isClosing
            && !connection.isLooking
        let isWriting = connection.backlogBytes > 0 && !connection.outputBroken
        let wanted = (isReading ? EPOLLIN.rawValue : 0) | (isWriting ? EPOLLOUT.rawValue : 0)
        // A hang-up is reported whether asked for or not, again and again: nothing to wait for then, nothing to watch.
        let isRegistered = !(connection.peerHungUp && wanted == 0)
        guard wanted != connection.interest || isRegistered != connection.isRegistered else { return }
        var event = epoll_event(
            events: wanted, data: epoll_data_t(ptr: Unmanaged.passUnretained(connection).toOpaque()))
        let operation =
            isRegistered ? (connection.isRegistered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD) : EPOLL_CTL_DEL
        guard epoll_ctl(epoll, operation, connection.descriptor, &event) == 0 else {
            services.logger.report(
                .error, .kernelRefused, "a connection cannot be waited for and is closed", ["errno": "\(errno)"])
            return close(connection)
        }
        connection.interest = wanted
        connection.isRegistered = isRegistered
    }

    /// Ends a connection at once: the one place where its descriptor is closed and its charge released.
    func close(_ connection: Connection) {
        guard !connection.isClosed else { return }
        connection.isClosed = true
        Glibc.close(connection.descriptor)
        connection.deadline = nil
        connection.held = nil
        connection.input.removeAll()
        recycle(connection)
        if connection.watch != nil { endWatch(connection) }
        connections[connection.id] = nil
        graveyard.append(connection)
        leaveTurn(connection)
        services.accounting.releaseConnection(uid: connection.account)
        finishDrainIfEmpty()
    }

    // MARK: The stop

    private func drain(deadline: Int64) {
        drainDeadline = deadline
        for connection in Array(connections.values) { drain(connection) }
        desk?.drain(deadline: deadline)
        finishDrainIfEmpty()
    }

    /// The caller can send no more (its next write fails), what it has sent is still read to the end. A watch ends when
    /// that has been answered (`settle`), for it may share its connection with requests.
    func drain(_ connection: Connection) {
        // It may have been closed as it was taken in, and its descriptor be another's by now.
        guard !connection.isClosed else { return }
        shutdown(connection.descriptor, CInt(SHUT_RD))
        settle(connection)
    }

    func finishDrainIfEmpty() {
        guard drainDeadline != nil, connections.isEmpty, desk?.isEmpty ?? true, let done else { return }
        drainDeadline = nil
        self.done = nil
        done()
    }
}
