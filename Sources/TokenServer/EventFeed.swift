import Synchronization
import TokenModel

/// How far the committed changes have come, and which loops have somebody who watches them.
///
/// A watcher misses nothing and gets nothing twice because of one order: the writer first notes the sequence number, then
/// looks who watches; a loop first notes that it has a watcher, then reads the sequence number. So a change that the
/// loop did not see in the number is one that the writer sends it.
final class EventFeed: Sendable {
    private let last: Atomic<Int64>
    private let watchersByLoop: [WatcherCount]

    private final class WatcherCount: Sendable {
        let count = Atomic<Int>(0)
    }

    init(loops: Int, lastSequence: Int64) {
        last = Atomic(lastSequence)
        watchersByLoop = (0..<loops).map { _ in WatcherCount() }
    }

    /// The sequence number of the last committed change that was handed over.
    var lastSequence: Int64 { last.load(ordering: .sequentiallyConsistent) }

    func note(_ records: [AuditRecord]) {
        if let sequence = records.last?.sequence { last.store(sequence, ordering: .sequentiallyConsistent) }
    }

    func isWatched(loop: Int) -> Bool {
        watchersByLoop[loop].count.load(ordering: .sequentiallyConsistent) > 0
    }

    func addWatcher(loop: Int) { watchersByLoop[loop].count.add(1, ordering: .sequentiallyConsistent) }

    func removeWatcher(loop: Int) { watchersByLoop[loop].count.subtract(1, ordering: .sequentiallyConsistent) }
}
