internal import Synchronization
internal import TokenModel

/// Whether the writer still goes round, for whoever watches over it: questions that it answers between two batches, and
/// since when it has been inside a call that only the disk can end.
final class WriterPulse: Sendable {
    private let asked = Atomic<UInt64>(0)
    private let answered = Atomic<UInt64>(0)
    /// CLOCK_BOOTTIME's milliseconds; 0 while the writer is not in the disk.
    private let inDiskSince = Atomic<Int64>(0)
    /// The same of the sync that was left to another thread, beside which the writer may be in the disk, too.
    private let inSyncSince = Atomic<Int64>(0)

    /// Any thread.
    func ask() { asked.add(1, ordering: .releasing) }

    /// The writer: whether somebody waits for an answer.
    var isAsked: Bool { answered.load(ordering: .relaxed) != asked.load(ordering: .acquiring) }

    /// The writer, wherever it holds nothing and waits for nobody.
    func answer() { answered.store(asked.load(ordering: .acquiring), ordering: .releasing) }

    /// The writer: runs what may wait for the disk for as long as the disk likes. A read of the database is that, too.
    func inDisk<Result>(_ clock: any Clock, _ body: () throws -> Result) rethrows -> Result {
        inDiskSince.store(clock.bootMilliseconds(), ordering: .releasing)
        defer { inDiskSince.store(0, ordering: .releasing) }
        return try body()
    }

    /// The thread of the syncs that are left to it: the same.
    func inSync<Result>(_ clock: any Clock, _ body: () throws -> Result) rethrows -> Result {
        inSyncSince.store(clock.bootMilliseconds(), ordering: .releasing)
        defer { inSyncSince.store(0, ordering: .releasing) }
        return try body()
    }

    /// Any thread.
    func state(_ clock: any Clock) -> WriterState {
        let since = [inDiskSince.load(ordering: .acquiring), inSyncSince.load(ordering: .acquiring)].filter { $0 != 0 }
            .min()
        return WriterState(
            hasAnswered: answered.load(ordering: .acquiring) == asked.load(ordering: .acquiring),
            inDiskMilliseconds: since.map { max(0, clock.bootMilliseconds() - $0) })
    }
}
