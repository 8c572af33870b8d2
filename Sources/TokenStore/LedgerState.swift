internal import GRDB
internal import Synchronization
internal import TokenModel

/// What the event loops, the readers and the writer share.
final class LedgerState: @unchecked Sendable {
    // @unchecked: `index` is replaced by the writer with `lock` held, and read with it held or by the writer; who may
    // touch what inside it stands at TokenIndex.
    private let lock = Mutex<Void>(())
    private nonisolated(unsafe) var index: TokenIndex

    /// The pool that reads go through; nil while there is none.
    let pool: Mutex<DatabasePool?>
    /// The sentence that callers get while the disk refuses.
    let problem = Mutex<String?>(nil)
    /// What is committed, and what of it readers may tell.
    let gate: CommitGate
    let tokensPerOwner: Atomic<Int>
    let ended = EndedTokens()
    /// How far the journal has come, as who feeds it says; nil while nobody does.
    let journal = Mutex<JournalStatus?>(nil)

    init(index: TokenIndex, pool: DatabasePool, sequence: Int64, tokensPerOwner: Int) {
        self.index = index
        self.pool = Mutex(pool)
        gate = CommitGate(sequence: sequence)
        self.tokensPerOwner = Atomic(tokensPerOwner)
    }

    /// Reads from the database what may be told, which is what is durable.
    /// - Throws: what `read` throws, or `LedgerReadError`.
    func reading<Result>(_ read: (DatabasePool?) throws -> Result) throws -> Result {
        try gate.reading { try read(pool.withLock { $0 }) }
    }

    /// Lends the index with the lock held: keep it short, the event loops wait for it.
    @inline(__always)  // `withLock` would ask for results that nothing else refers to, and these refer to the index
    func withIndex<Result>(_ body: (TokenIndex) -> Result) -> Result {
        lock._unsafeLock()
        defer { lock._unsafeUnlock() }
        return body(index)
    }

    /// The index without the lock, for the writer alone.
    var indexOfWriter: TokenIndex { index }

    /// Puts a new index in the place of the old one. The writer alone may.
    func replaceIndex(_ new: TokenIndex) {
        withIndex { new.keepDeadlines(of: $0) }
        let old = indexOfWriter
        withIndex { _ in index = new }
        // From here on nobody marks anything in the old one; some at a time, for the event loops wait for the lock.
        var isComplete = false
        while !isComplete {
            let (slots, wasLast) = old.used.take(Self.usesCarriedAtOnce)
            withIndex { $0.keepUses(of: old, slots) }
            isComplete = wasLast
        }
    }

    /// Some hundred microseconds with the lock held.
    private static let usesCarriedAtOnce = 1_000
}
