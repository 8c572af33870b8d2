internal import TokenModel

/// What audits say has ended: a token that is named here is never good again, whatever database it is found in.
public struct EndedSince: Sendable {
    private(set) var ended: Set<Fingerprint> = []
    /// With their new ends, the earliest.
    private(set) var shortened: [Fingerprint: Instant] = [:]
    private(set) var unregistered: Set<RegistrationID> = []
    /// The numbers that are known, in no order.
    private var ranges: [ClosedRange<Int64>] = []

    /// Nothing is known.
    public init() {}

    /// The highest number that is known; 0 where none is.
    public var last: Int64 { ranges.map(\.upperBound).max() ?? 0 }

    /// Takes a record or mark of any source, in any order.
    public mutating func take(_ entry: AuditEntry) {
        switch entry {
        case .record(let record):
            ended.formUnion(record.ended)
            for token in record.shortened {
                shortened[token.fingerprint] = min(shortened[token.fingerprint] ?? token.expiration, token.expiration)
            }
            if record.event == .unregistered { unregistered.insert(record.registrationID) }
            note(record.sequence...record.sequence)
        // The numbers of a restore were given to no change; what went otherwise is not known here.
        case .mark(let mark): if mark.reason == .restored { note(mark.first...mark.last) }
        }
    }

    private mutating func note(_ range: ClosedRange<Int64>) {
        if let last = ranges.last, last.upperBound + 1 == range.lowerBound {
            ranges[ranges.count - 1] = last.lowerBound...range.upperBound
        } else {
            ranges.append(range)
        }
    }

    /// The first numbers after `sequence`, up to `end`, that nothing is known of; nil where all are known.
    public func missing(after sequence: Int64, through end: Int64) -> ClosedRange<Int64>? {
        var next = sequence + 1
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) where range.upperBound >= next {
            if range.lowerBound > next { break }
            next = range.upperBound + 1
        }
        guard next <= end else { return nil }
        let following = ranges.map(\.lowerBound).filter { $0 > next }.min() ?? end + 1
        return next...min(end, following - 1)
    }
}
