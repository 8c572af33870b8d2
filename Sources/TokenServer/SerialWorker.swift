import Glibc

/// One thread that does jobs in their order: for what may block (NSS, SQLite's readers) and so must not run on an event
/// loop. Its queue is bounded by its users: a connection has one job in it at most.
final class SerialWorker: @unchecked Sendable {
    // @unchecked: `jobs` and `isClosed` are touched only while `lock` is held.
    private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let arrived = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var jobs: [@Sendable () -> Void] = []

    init(name: String) {
        pthread_mutex_init(lock, nil)
        pthread_cond_init(arrived, nil)
        // The thread keeps the worker alive for as long as the process runs: it may be stuck in a look-up at exit.
        startThread(name: name) { [self] in run() }
    }

    func submit(_ job: @escaping @Sendable () -> Void) {
        pthread_mutex_lock(lock)
        jobs.append(job)
        pthread_cond_signal(arrived)
        pthread_mutex_unlock(lock)
    }

    private func run() -> Never {
        while true {
            pthread_mutex_lock(lock)
            while jobs.isEmpty { pthread_cond_wait(arrived, lock) }
            let taken = jobs
            jobs.removeAll(keepingCapacity: true)
            pthread_mutex_unlock(lock)
            for job in taken { job() }
        }
    }
}
