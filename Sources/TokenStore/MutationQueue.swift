internal import CLinux
internal import Glibc
internal import TokenModel

/// What waits for the writer: bounded, and a uid that is not an administrator's may hold a part of it only. Uids take turns,
/// and one gets a part of a batch only, so that who asks for one change does not wait for another's thousand.
final class MutationQueue: @unchecked Sendable {
    // @unchecked: everything below `mutex` is touched only with the mutex held.
    private let capacity: Int
    private let capacityOfUser: Int
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let arrived: UnsafeMutablePointer<pthread_cond_t>
    private var waiting = FairQueue<Mutation>()
    private var isClosed = false
    private var isWriterWaiting = false

    /// What the writer is asked by whoever watches over it.
    let pulse = WriterPulse()

    init(capacity: Int, shareOfUser: Int) {
        self.capacity = capacity
        capacityOfUser = max(1, capacity / shareOfUser)
        mutex = .allocate(capacity: 1)
        arrived = .allocate(capacity: 1)
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        // A wait must not last longer because somebody set the wall clock.
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(arrived, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(arrived)
        pthread_mutex_destroy(mutex)
        arrived.deallocate()
        mutex.deallocate()
    }

    var count: Int { locked { waiting.count } }

    /// Adds a mutation; wakes nobody.
    func add(_ mutation: Mutation) -> Admission {
        locked {
            if isClosed { return .closed }
            if waiting.count >= capacity { return .full }
            let uid = mutation.caller.uid
            if !mutation.caller.isAdministrator && waiting.count(of: uid) >= capacityOfUser { return .full }
            waiting.append(mutation, of: uid)
            return .accepted
        }
    }

    /// Puts what a batch left back where it was taken from: those who came meanwhile have their turn with it.
    func giveBack(_ rest: ArraySlice<Mutation>) {
        guard !rest.isEmpty else { return }
        locked {
            for mutation in rest.reversed() { waiting.giveBack(mutation, of: mutation.caller.uid) }
        }
    }

    /// Wakes a writer that sleeps while something waits for it.
    func wake() {
        locked {
            guard isWriterWaiting, waiting.count > 0 else { return }
            isWriterWaiting = false
            pthread_cond_signal(arrived)
        }
    }

    enum Taken {
        case mutations([Mutation])
        /// Nothing came within the time.
        case idle
        /// Nothing came, but somebody asks whether the writer still goes round.
        case asked
        /// Nothing waits and nothing will.
        case closed
    }

    /// Waits for mutations and takes a batch of them, by turns of the uids, of each uid the oldest first.
    func take(_ bounds: StoreConfiguration, timeoutMilliseconds: Int) -> Taken {
        locked {
            let deadline = Self.deadline(timeoutMilliseconds)
            while waiting.count == 0 {
                if isClosed { return .closed }
                if pulse.isAsked { return .asked }
                // What came just as the time was over is not left for an idle moment's work.
                guard wait(until: deadline) || waiting.count > 0 else { return .idle }
            }
            let each = waiting.uids > 1 ? bounds.batchShareBesideOthers : bounds.batchShareOfUser
            return .mutations(waiting.take(bounds.batchLimit, each: each))
        }
    }

    /// Wakes the writer for an answer.
    func ask() {
        locked {
            pulse.ask()
            pthread_cond_signal(arrived)
        }
    }

    /// Takes no more; what waits is still handed out.
    func close() {
        locked {
            isClosed = true
            pthread_cond_signal(arrived)
        }
    }

    /// - Returns: false when the deadline has passed.
    private func wait(until deadline: timespec) -> Bool {
        var deadline = deadline
        isWriterWaiting = true
        let result = pthread_cond_timedwait(arrived, mutex, &deadline)
        isWriterWaiting = false
        return result != ETIMEDOUT
    }

    private func locked<Result>(_ body: () -> Result) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body()
    }

    private static func deadline(_ milliseconds: Int) -> timespec {
        var time = timespec()
        // CLOCK_MONOTONIC exists and the pointer is good: no other error is possible.
        _ = clock_gettime(CLOCK_MONOTONIC, &time)
        let nanoseconds = time.tv_nsec + milliseconds % 1_000 * 1_000_000
        return timespec(
            tv_sec: time.tv_sec + milliseconds / 1_000 + nanoseconds / 1_000_000_000,
            tv_nsec: nanoseconds % 1_000_000_000)
    }
}
