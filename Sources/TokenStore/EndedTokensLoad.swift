internal import GRDB
internal import GRDBSQLite
internal import Glibc
internal import Synchronization
internal import TokenModel

extension SQLiteLedger {
    /// Reads what was ended before the start, on a thread of its own: nobody waits for it.
    static func startLoadingEnded(_ state: LedgerState) {
        let loader = EndedLoader(state: state)
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
    private static let pageRows: Int64 = 2_000

    init(state: LedgerState) { self.state = state }

    func run() { state.ended.addOlder(readEnded()) }

    /// What ended last, the oldest first, however long ago: the clock of a start is not to be believed yet, and what is old
    /// goes with the records. What the disk does not give is not remembered: it is an alarm less, and the
    /// start does not fail for it. Only the fingerprints are kept meanwhile: a million records would be half a gigabyte.
    private func readEnded() -> [EndedTokens.Ended] {
        var ended: [EndedTokens.Ended] = []
        var before = Int64.max
        while ended.count < EndedTokens.tokensMax {
            let end = before
            let page = try? state.reading { pool in
                try LedgerReader.read(
                    pool,
                    """
                    SELECT sequence, time, ended, shortened, lapsed FROM audit
                    WHERE sequence < ? ORDER BY sequence DESC LIMIT ?
                    """,
                    [{ $0.bind($1, end) }, { $0.bind($1, Self.pageRows) }], Self.tokens)
            }
            guard let page, let last = page.last else { break }
            before = last.sequence
            for record in page {
                let seconds = Instant(milliseconds: record.milliseconds).seconds
                for fingerprint in record.ended.reversed() {
                    ended.append(EndedTokens.Ended(fingerprint: fingerprint.value, seconds: seconds))
                }
            }
        }
        ended.reverse()
        return ended
    }

    private static func tokens(
        _ row: RawRow
    ) throws -> (sequence: Int64, milliseconds: Int64, ended: [Fingerprint]) {
        guard let ended = AuditBlobs.fingerprints(row.bytes(2)), let shortened = AuditBlobs.shortened(row.bytes(3)),
            let lapsed = AuditBlobs.fingerprints(row.bytes(4))
        else { throw StoreError.sqlite(SQLITE_CORRUPT) }
        return (row.integer(0), row.integer(1), ended + lapsed + shortened.map(\.fingerprint))
    }
}
