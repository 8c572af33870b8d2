internal import Glibc

/// Where randomness comes from; tests have sources that fail.
public protocol RandomSource: Sendable {
    /// Fills the whole buffer.
    /// - Throws: where there is no randomness; the buffer is then not to be used.
    func fill(_ buffer: UnsafeMutableRawBufferPointer) throws
}

/// Randomness is missing: the operating system's call failed with this errno, or a source repeats itself (0).
public struct RandomError: Error, Sendable {
    public let errno: Int32

    /// Says why.
    public init(errno: Int32) { self.errno = errno }
}

/// The operating system's generator.
public struct SystemRandom: RandomSource {
    /// The generator needs nothing.
    public init() {}

    /// Fills by getrandom(2), which getentropy(3) calls again until the buffer, 256 bytes at a time, is full.
    public func fill(_ buffer: UnsafeMutableRawBufferPointer) throws {
        var offset = 0
        while offset < buffer.count {
            let count = min(256, buffer.count - offset)
            guard getentropy(buffer.baseAddress.map { $0 + offset }, count) == 0 else {
                throw RandomError(errno: errno)
            }
            offset += count
        }
    }
}

/// What time it is; tests have clocks that stand still.
public protocol Clock: Sendable {
    /// The wall clock, which an administrator or NTP may set.
    func wall() -> Instant
    /// Milliseconds since the boot, sleep included (CLOCK_BOOTTIME): never set, never back.
    func bootMilliseconds() -> Int64
}

/// The kernel's clocks.
public struct SystemClock: Clock {
    /// The clocks need nothing.
    public init() {}

    /// CLOCK_REALTIME, rounded down to milliseconds.
    public func wall() -> Instant { Instant(milliseconds: Self.milliseconds(CLOCK_REALTIME)) }

    /// CLOCK_BOOTTIME, rounded down to milliseconds.
    public func bootMilliseconds() -> Int64 { Self.milliseconds(CLOCK_BOOTTIME) }

    private static func milliseconds(_ clock: clockid_t) -> Int64 {
        var time = timespec()
        // Both clocks exist since Linux 2.6.39, and the pointer is good: clock_gettime(2) has no other error.
        _ = clock_gettime(clock, &time)
        return Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000
    }
}
