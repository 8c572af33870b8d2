internal import TokenModel

/// Makes a commit durable, while the writer decides and writes the next one: one sync at a time.
final class LogSync: @unchecked Sendable {
    // @unchecked: `ended` is written by the thread while a sync is under way, and read by the writer when it has ended.
    private let thread: SideThread
    private let pulse: WriterPulse
    private let clock: any Clock
    private var ended: (result: Int32, errno: Int32) = (0, 0)

    /// - Parameter whenDone: is called after each sync, on a thread of its own.
    /// - Throws: `StoreError` where that cannot be started.
    init(pulse: WriterPulse, clock: any Clock, whenDone: @escaping @Sendable () -> Void) throws {
        self.pulse = pulse
        self.clock = clock
        thread = try SideThread("sync", whenDone: whenDone)
    }

    /// Whether the sync that was started has ended.
    var isDone: Bool { thread.isDone }

    /// Starts one; the one before was finished.
    func start(_ sync: LeftSync) {
        thread.start { [self] in ended = pulse.inSync(clock) { sync.run() } }
    }

    /// Waits for the end of the one that was started.
    /// - Returns: SQLite's result code, and the operating system's.
    func finish() -> (result: Int32, errno: Int32) {
        thread.wait()
        return ended
    }

    /// Ends the thread. Nothing is under way.
    func end() { thread.end() }
}
