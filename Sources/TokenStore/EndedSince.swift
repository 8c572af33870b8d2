public import TokenModel

/// What audits say has ended since a backup: a token that is named here is never good again, whatever database it is found
/// in.
///
/// Anybody may write what looks like a record, so one counts only where its chain value follows from the backup's last, or
/// from another that counts. An old copy of a database that was served for a while has given numbers a second time: both
/// lines follow, and both ended what they ended.
public struct EndedSince {
    private(set) var ended: Set<Fingerprint> = []
    /// With their new ends, the earliest.
    private(set) var shortened: [Fingerprint: Instant] = [:]
    private(set) var unregistered: Set<RegistrationID> = []

    /// The last number that counts: all from the backup's on are known up to it.
    public private(set) var last: Int64
    private let backup: Int64
    /// The chain values of those that count, by their numbers.
    private var chains: [Int64: [TokenDigest]]
    private var link = ChainLink()
    /// What has nothing yet that it would follow, by the number that it would follow.
    private var waiting: [Int64: [AuditEntry]] = [:]

    /// No daemon gives a number beyond: at a million changes a second it would take four years, and ids have 48 bits.
    static let numbersMax: Int64 = TokenIndex.idsMax / 2

    /// Nothing is known but the backup's last number and its chain value.
    public init(after head: (sequence: Int64, chain: TokenDigest)) {
        backup = head.sequence
        last = head.sequence
        chains = [head.sequence: [head.chain]]
    }

    /// Whether anything is known of what came after the backup.
    var isEmpty: Bool { last == backup }

    /// The highest number that a source names, believed or not.
    var highestNamed: Int64 {
        waiting.values.joined().map(\.last).max().map { max($0, last) } ?? last
    }

    /// Takes a record or mark of any source, in any order.
    public mutating func take(_ entry: AuditEntry) {
        guard entry.last > backup, entry.last < Self.numbersMax else { return }
        var next = [entry]
        while let entry = next.popLast() {
            let before = entry.first - 1
            guard let chain = chain(of: entry, after: chains[before] ?? []) else {
                waiting[before, default: []].append(entry)
                continue
            }
            guard chains[entry.last]?.contains(chain) != true else { continue }
            note(entry)
            chains[entry.last, default: []].append(chain)
            last = max(last, entry.last)
            next += waiting.removeValue(forKey: entry.last) ?? []
        }
    }

    /// The chain value behind an entry that follows from one of these; nil where it follows from none, or is no restore's mark:
    /// what went otherwise is not known here.
    private mutating func chain(of entry: AuditEntry, after heads: [TokenDigest]) -> TokenDigest? {
        switch entry {
        case .record(let record):
            for head in heads where link.follows(record, head) { return record.chain }
            return nil
        case .mark(let mark): return mark.reason == .restored && heads.contains(mark.chain) ? mark.chain : nil
        }
    }

    private mutating func note(_ entry: AuditEntry) {
        guard case .record(let record) = entry else { return }
        ended.formUnion(record.ended)
        // By the clock of that time they had ended by themselves, or were about to: another clock may not say so.
        ended.formUnion(record.lapsed)
        for token in record.shortened {
            shortened[token.fingerprint] = min(shortened[token.fingerprint] ?? token.expiration, token.expiration)
        }
        if record.event == .unregistered { unregistered.insert(record.registrationID) }
    }

    /// The numbers behind those that are known, up to `end` at most, of which the first is known of none; nil where there are
    /// none.
    func missing(through end: Int64) -> ClosedRange<Int64>? {
        guard last < end else { return nil }
        let next = waiting.values.joined().filter { $0.first > last + 1 }.map(\.first).min() ?? end + 1
        return (last + 1)...max(last + 1, min(end, next - 1))
    }

    /// Takes what follows from nothing that is known, too: who goes on over what is missing wants as much as there is to be
    /// ended.
    mutating func takeRest() {
        for entry in waiting.values.joined() { note(entry) }
        waiting = [:]
    }
}
