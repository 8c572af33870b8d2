internal import TokenModel

/// Notices that somebody has set the wall clock: it moved otherwise than CLOCK_BOOTTIME, which counts a suspended
/// machine's time too. What NTP slews stays far below what counts as a jump.
struct ClockWatch {
    /// More than this between two looks was no drift.
    static let jumpMilliseconds: Int64 = 2_000

    private var difference: Int64?

    /// By how much the wall clock was set since the last look; nil where it was not.
    mutating func jump(_ clock: any Clock) -> Int64? {
        let before = clock.bootMilliseconds()
        let wall = clock.wall().milliseconds
        // Whoever was stopped between the readings has compared nothing.
        guard clock.bootMilliseconds() - before < Self.jumpMilliseconds / 2 else { return nil }
        defer { difference = wall - before }
        guard let jump = difference.map({ wall - before - $0 }) else { return nil }
        return abs(jump) >= Self.jumpMilliseconds ? jump : nil
    }
}
