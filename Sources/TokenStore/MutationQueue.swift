internal import TokenModel

/// What waits for the writer: bounded, and a uid that is not an administrator's may hold a part of it only. Uids take turns,
/// and one gets a part of a batch only, so that who asks for one change does not wait for another's thousand.
final class MutationQueue: @unchecked Sendable {
    // @unchecked: everything below `monitor` is touched only while it is locked.
    private let capacity: Int
    private let capacityOfUser: Int
    private let monitor = Monitor()
    private var waiting = FairQueue<Mutation>()
    private var isClosed = false
    private var isWriterWaiting = false

    /// What the writer is asked by whoever watches over it.
    let pulse = WriterPulse()

    init(capacity: Int, shareOfUser: Int) {
        self.capacity = capacity
        capacityOfUser = max(1, capacity / shareOfUser)
    }

    var count: Int { monitor.locked { waiting.count } }

    /// Adds a mutation; wakes nobody.
    func add(_ mutation: Mutation) -> Admission {
        monitor.locked {
            if isClosed { return .closed }
            if waiting.count >= capacity { return .full }
            let uid = mutation.caller.account
            if !mutation.caller.isAdministrator && waiting.count(of: uid) >= capacityOfUser { return .full }
            waiting.append(mutation, of: uid)
            return .accepted
        }
    }

    /// Puts what a batch left back where it was taken from: those who came meanwhile have their turn with it.
    func giveBack(_ rest: ArraySlice<Mutation>) {
        guard !rest.isEmpty else { return }
        monitor.locked {
            for mutation in rest.reversed() { waiting.giveBack(mutation, of: mutation.caller.account) }
        }
    }

    /// Wakes a writer that sleeps while something waits for it.
    func wake() {
        monitor.locked {
            guard isWriterWaiting, waiting.count > 0 else { return }
            isWriterWaiting = false
            monitor.wake()
        }
    }

    enum Taken {
        case mutations([Mutation])
        /// Nothing came within the time.
        case idle
        /// Nothing came, but somebody asks whether the writer still goes round.
        case asked
        /// The sync that was under way has ended.
        case synced
        /// Nothing waits and nothing will.
        case closed
    }

    /// Waits for mutations and takes a batch of them, by turns of the uids, of each uid the oldest first. While a sync is
    /// under way, only for that besides: who asks after the writer is answered when it has ended.
    func take(_ bounds: StoreConfiguration, timeoutMilliseconds: Int, beside sync: LogSync?) -> Taken {
        monitor.locked {
            let deadline = MonotonicClock.milliseconds + Int64(timeoutMilliseconds)
            while waiting.count == 0 {
                if let sync {
                    if sync.isDone { return .synced }
                } else {
                    if isClosed { return .closed }
                    if pulse.isAsked { return .asked }
                }
                // What came just as the time was over is not left for an idle moment's work.
                guard wait(until: deadline) || waiting.count > 0 else { return .idle }
            }
            let each = waiting.uids > 1 ? bounds.batchShareBesideOthers : bounds.batchShareOfUser
            return .mutations(waiting.take(bounds.batchLimit, each: each))
        }
    }

    /// Wakes the writer for an answer.
    func ask() {
        monitor.locked {
            pulse.ask()
            monitor.wake()
        }
    }

    /// Wakes the writer, for what it has started on another thread has ended.
    func wakeForWork() { monitor.locked { monitor.wake() } }

    /// Takes no more; what waits is still handed out.
    func close() {
        monitor.locked {
            isClosed = true
            monitor.wake()
        }
    }

    /// - Returns: false when the deadline has passed.
    private func wait(until deadline: Int64) -> Bool {
        isWriterWaiting = true
        defer { isWriterWaiting = false }
        return monitor.wait(until: deadline)
    }
}
