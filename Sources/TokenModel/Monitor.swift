public import Glibc

/// A lock and what its holders wait for, with waits that the wall clock does not lengthen.
public final class Monitor: @unchecked Sendable {
    // @unchecked: mutex and condition are made for many threads, and neither moves.
    @usableFromInline let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    @usableFromInline let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    /// An open lock.
    public init() {
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(changed, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(changed)
        pthread_mutex_destroy(mutex)
        changed.deallocate()
        mutex.deallocate()
    }

    /// Runs `body` with the lock held.
    @inlinable
    public func locked<Result>(_ body: () throws -> Result) rethrows -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body()
    }

    /// With the lock held: wakes all who wait.
    public func wake() { pthread_cond_broadcast(changed) }

    /// With the lock held: lets go of it until somebody wakes. May also return without that.
    public func wait() { pthread_cond_wait(changed, mutex) }

    /// With the lock held: the same, but not beyond a time of `MonotonicClock`.
    /// - Returns: false once that has passed.
    public func wait(until milliseconds: Int64) -> Bool {
        var deadline = timespec(
            tv_sec: Int(milliseconds / 1_000), tv_nsec: Int(milliseconds % 1_000) * 1_000_000)
        return pthread_cond_timedwait(changed, mutex, &deadline) != ETIMEDOUT
    }
}

/// CLOCK_MONOTONIC, for what is measured within a run.
public enum MonotonicClock {
    /// Since some moment before the process began.
    public static var milliseconds: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000
    }
}
