internal import CLinux
internal import Glibc
internal import Synchronization
internal import TokenModel

/// A thread that does one job after the other beside the writer, which starts it, goes on, and comes back for what it did.
final class SideThread: @unchecked Sendable {
    // @unchecked: what is below `monitor` is touched only while it is locked.
    private let whenDone: @Sendable () -> Void
    private let done = Atomic<Bool>(false)
    private let monitor = Monitor()
    private var job: (() -> Void)?
    private var isEnding = false
    private var thread: pthread_t?
    private let name: StaticString

    /// - Parameter whenDone: is called on the thread after each job.
    /// - Throws: `StoreError` where the thread cannot be started.
    init(_ name: StaticString, whenDone: @escaping @Sendable () -> Void) throws {
        self.name = name
        self.whenDone = whenDone
        var started = pthread_t()
        let argument = Unmanaged.passRetained(self)
        let result = pthread_create(
            &started, nil,
            { argument in
                guard let argument else { return nil }
                Unmanaged<SideThread>.fromOpaque(argument).takeRetainedValue().run()
                return nil
            }, argument.toOpaque())
        guard result == 0 else {
            argument.release()
            throw StoreError.system("The thread \(name) cannot be started", errno: result)
        }
        thread = started
    }

    /// Whether the job that was started last has ended.
    var isDone: Bool { done.load(ordering: .acquiring) }

    /// Starts a job; the one before has ended.
    func start(_ job: @escaping () -> Void) {
        done.store(false, ordering: .relaxed)
        monitor.locked {
            self.job = job
            monitor.wake()
        }
    }

    /// Waits until the job that was started last has ended.
    func wait() {
        monitor.locked { while !isDone { monitor.wait() } }
    }

    /// Ends the thread. No job is under way.
    func end() {
        monitor.locked {
            isEnding = true
            monitor.wake()
        }
        if let thread { pthread_join(thread, nil) }
        thread = nil
    }

    private func run() {
        linux_name_thread(name.description)
        while let job = next() {
            job()
            monitor.locked {
                done.store(true, ordering: .releasing)
                monitor.wake()
            }
            whenDone()
        }
    }

    private func next() -> (() -> Void)? {
        monitor.locked {
            while job == nil && !isEnding { monitor.wait() }
            defer { job = nil }
            return job
        }
    }
}
