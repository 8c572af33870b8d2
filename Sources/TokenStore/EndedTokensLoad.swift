internal import GRDB
internal import Glibc
internal import Synchronization
internal import TokenModel

extension SQLiteLedger {
    /// Reads what was ended before the start, on a thread of its own: nobody waits for it.
    static func startLoadingEnded(_ state: LedgerState, at wall: Instant) {
        let loader = EndedLoader(state: state, oldest: wall.milliseconds - EndedTokens.keepSeconds * 1_000)
        var thread = pthread_t()
        let argument = Unmanaged.passRetained(loader)
        let result = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                Unmanaged<EndedLoader>.fromOpaque(argument).takeRetainedValue().run()
                return nil
            }, argument.toOpaque())
        guard result == 0 else { return argument.release() }
        pthread_detach(thread)
    }
}

private final class EndedLoader {
    private let state: LedgerState
    private let oldest: Int64
    private static let pageRows: Int64 = 2_000

    init(state: LedgerState, oldest: Int64) {
        self.state = state
        self.oldest = oldest
    }

    func run() { state.ended.addOlder(readEnded()) }

    /// The last records that ended tokens, the oldest first. What the disk does not give is not remembered: it is an
    /// alarm less, and the start does not fail for it.
    private func readEnded() -> [AuditRecord] {
        var pages: [[AuditRecord]] = []
        var before = Int64.max
        var count = 0
        while count < EndedTokens.tokensMax {
            let page = try? LedgerReader.read(
                state.pool.withLock { $0 },
                LedgerReader.recordColumns + " FROM audit WHERE sequence < ? ORDER BY sequence DESC LIMIT ?",
                [{ $0.bind($1, before) }, { $0.bind($1, Self.pageRows) }], LedgerReader.record)
            guard let page, let last = page.last else { break }
            before = last.sequence
            let ending = page.filter { !$0.ended.isEmpty || !$0.lapsed.isEmpty || !$0.shortened.isEmpty }
            count += ending.reduce(0) { $0 + $1.ended.count + $1.lapsed.count + $1.shortened.count }
            pages.append(ending.reversed())
            if last.time.milliseconds < oldest { break }
        }
        return pages.reversed().flatMap { $0 }.filter { $0.time.milliseconds >= oldest }
    }
}
