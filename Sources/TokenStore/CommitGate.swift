internal import Synchronization
internal import TokenModel

/// Holds readers back who may have seen a commit that is in the log, but not yet durable: after a loss of power it would
/// not have been.
final class CommitGate: @unchecked Sendable {
    // @unchecked: atomics, and a monitor for who waits.
    private let monitor = Monitor()
    /// The last number that a reader of the database may find.
    private let shown: Atomic<Int64>
    /// The last one that is durable and in the index.
    private let durable: Atomic<Int64>
    /// How often the database was lost to its readers.
    private let losses = Atomic<Int>(0)
    private let held = Atomic<Int>(0)

    init(sequence: Int64) {
        shown = Atomic(sequence)
        durable = Atomic(sequence)
    }

    /// The last committed sequence number.
    var sequence: Int64 { durable.load(ordering: .acquiring) }

    /// Readers that wait.
    var readersHeld: Int { held.load(ordering: .acquiring) }

    /// The writer, before a commit whose sync is left.
    func show(upTo sequence: Int64) { shown.store(sequence, ordering: .sequentiallyConsistent) }

    /// The writer, when such a commit did not happen.
    func hide() {
        monitor.locked {
            shown.store(sequence, ordering: .sequentiallyConsistent)
            monitor.wake()
        }
    }

    /// The writer, when all up to there is durable and in the index.
    func open(upTo sequence: Int64) {
        monitor.locked {
            durable.store(sequence, ordering: .releasing)
            monitor.wake()
        }
    }

    /// The writer, when the database is to be opened anew: who has read from it knows nothing.
    func lose() {
        monitor.locked {
            losses.add(1, ordering: .releasing)
            monitor.wake()
        }
    }

    /// How long a reader waits for a sync: longer than a healthy disk takes, and others wait behind it.
    private static let patienceMilliseconds: Int64 = 1_000

    /// Reads from the database, and waits until all that may have been seen there is durable.
    /// - Throws: what `read` throws, or `LedgerReadError` where the database was lost meanwhile, or the disk takes too long.
    func reading<Result>(_ read: () throws -> Result) throws -> Result {
        let before = losses.load(ordering: .acquiring)
        let result = try read()
        let last = shown.load(ordering: .sequentiallyConsistent)
        if sequence < last {
            let deadline = MonotonicClock.milliseconds + Self.patienceMilliseconds
            let isSlow = monitor.locked {
                held.add(1, ordering: .releasing)
                defer { held.subtract(1, ordering: .releasing) }
                while sequence < min(last, shown.load(ordering: .relaxed)), losses.load(ordering: .acquiring) == before
                {
                    guard monitor.wait(until: deadline) else { return true }
                }
                return false
            }
            guard !isSlow else {
                throw LedgerReadError(sentence: "The disk has not taken the last change for a second; try again later.")
            }
        }
        guard losses.load(ordering: .acquiring) == before else {
            throw LedgerReadError(sentence: StoreError.reopening.sentence)
        }
        return result
    }
}
