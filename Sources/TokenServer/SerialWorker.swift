import Glibc
import TokenModel

/// A thread, or a few, that do jobs, the uids who asked for them in turn: for what may block (NSS, SQLite's readers) and
/// so must not run on an event loop. Its queue is bounded by its users: a connection has two jobs in it at most, a read and a
/// watch's next page.
final class SerialWorker: @unchecked Sendable {
    // @unchecked: `jobs` and `isClosed` are touched only while `lock` is held.
    private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let arrived = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var jobs = FairQueue<@Sendable () -> Void>()

    /// A worker without a thread: somebody calls `doJob`.
    init() {
        pthread_mutex_init(lock, nil)
        pthread_cond_init(arrived, nil)
    }

    convenience init(name: String, threads: Int = 1) {
        self.init()
        // A thread keeps the worker alive for as long as the process runs: it may be stuck in a look-up at exit.
        for _ in 0..<threads { startThread(name: name) { [self] in while true { doJob() } } }
    }

    func submit(for uid: UInt32, _ job: @escaping @Sendable () -> Void) {
        pthread_mutex_lock(lock)
        jobs.append(job, of: uid)
        pthread_cond_signal(arrived)
        pthread_mutex_unlock(lock)
    }

    /// Waits until there is a job, and does the one whose turn it is.
    func doJob() {
        pthread_mutex_lock(lock)
        var next = jobs.take()
        while next == nil {
            pthread_cond_wait(arrived, lock)
            next = jobs.take()
        }
        pthread_mutex_unlock(lock)
        next?()
    }
}
