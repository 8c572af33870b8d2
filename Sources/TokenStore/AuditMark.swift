public import TokenModel

/// Numbers of the audit that have no row any more, or never had one, and what the row after them follows. So the chain
/// stays provable over the cut.
public struct AuditMark: Equatable, Sendable {
    /// Why rows are not there.
    public enum Reason: String, Sendable {
        /// They were in the journal, synced, and older than `audit.keep_days`.
        case pruned
        /// They went before their time, because there were more than `audit.rows_max`.
        case overCap = "over_cap"
        /// A backup was restored: no number of before is valid for `watch` any more.
        case restored
    }

    public let first: Int64
    public let last: Int64
    /// The chain value that the row after `last` follows.
    public let chain: TokenDigest
    public let time: Instant
    public let reason: Reason

    /// Names the numbers from `first` to `last`.
    public init(first: Int64, last: Int64, chain: TokenDigest, time: Instant, reason: Reason) {
        self.first = first
        self.last = last
        self.chain = chain
        self.time = time
        self.reason = reason
    }
}

/// What the audit consists of, in the order of its numbers.
public enum AuditEntry: Sendable {
    case record(AuditRecord)
    case mark(AuditMark)

    /// Its number, or the first of its numbers.
    public var first: Int64 {
        switch self {
        case .record(let record): record.sequence
        case .mark(let mark): mark.first
        }
    }

    /// Its number, or the last of its numbers.
    public var last: Int64 {
        switch self {
        case .record(let record): record.sequence
        case .mark(let mark): mark.last
        }
    }

    /// Whether it is a cut, and no record.
    public var isMark: Bool { if case .mark = self { true } else { false } }
}

/// What is wrong with an audit, and where.
public struct AuditProblem: Equatable, Sendable, CustomStringConvertible {
    public let sequence: Int64
    /// A sentence that names the number.
    public let description: String

    /// Says what is wrong at a number.
    public init(_ sequence: Int64, _ description: String) {
        self.sequence = sequence
        self.description = description
    }
}

/// Follows the chain over records and marks, wherever they come from: a database, an export, a journal.
public struct ChainVerifier {
    /// What is wrong, the first first; no more than `problemsMax`.
    public private(set) var problems: [AuditProblem] = []
    /// Records that were looked at.
    public private(set) var rows: Int64 = 0
    /// The number that comes next.
    public private(set) var next: Int64
    private var link: TokenDigest?
    private var chain = AuditChain()
    private let isOneAudit: Bool

    /// A file with more faults than this is not to be read fault by fault.
    public static let problemsMax = 1_000

    /// - Parameters:
    ///   - next: the number that is to come first. Before any but 1 there is something unknown, so that the first record's own
    ///     link is taken as it is.
    ///   - isOneAudit: what is followed is one database's, from its beginning or a number on, and not a journal or exports of
    ///     several times.
    public init(from next: Int64 = 1, isOneAudit: Bool) {
        self.next = next
        self.isOneAudit = isOneAudit
        link = next == 1 ? AuditChain.start : nil
    }

    /// Takes the next one, in the order of their numbers.
    public mutating func follow(_ entry: AuditEntry) {
        switch entry {
        case .record(let record): follow(record)
        case .mark(let mark): follow(mark)
        }
    }

    private mutating func follow(_ record: AuditRecord) {
        rows += 1
        if record.sequence > next {
            note(next, Self.missing(next...(record.sequence - 1)))
        } else if record.sequence < next {
            return note(record.sequence, "record \(record.sequence) is repeated or out of order")
        } else if let link, chain.link(record, after: link) != record.chain {
            note(record.sequence, "record \(record.sequence) was changed, or the one before it: the chain breaks here")
        }
        link = record.chain
        next = record.sequence + 1
    }

    private mutating func follow(_ mark: AuditMark) {
        // Rows go from the oldest on, and behind a record a restore alone leaves numbers out: from the next one on. A mark
        // anywhere else would excuse that rows are missing.
        if isOneAudit, rows > 0, mark.reason != .restored || mark.first != next {
            return note(
                mark.first, "records \(mark.first) to \(mark.last) were taken out behind others that are kept")
        }
        // A journal may still hold what the audit has let go.
        if mark.last < next {
            if mark.last == next - 1, mark.reason != .restored, let link, link != mark.chain {
                note(mark.last, "record \(mark.last) was changed: it is not the one that the audit was cut behind")
            }
            return
        }
        if mark.first > next { note(next, Self.missing(next...(mark.first - 1))) }
        if mark.reason == .restored, mark.first == next, let link, link != mark.chain {
            note(mark.first, "the mark at \(mark.first) was changed: it does not follow from record \(mark.first - 1)")
        }
        link = mark.chain
        next = max(next, mark.last + 1)
    }

    /// A digest of all that a record holds, its chain value too: two that differ in anything have different ones.
    public static func content(of record: AuditRecord) -> TokenDigest {
        var chain = AuditChain()
        return chain.link(record, after: record.chain)
    }

    private mutating func note(_ sequence: Int64, _ sentence: String) {
        if problems.count < Self.problemsMax { problems.append(AuditProblem(sequence, sentence)) }
    }

    static func missing(_ range: ClosedRange<Int64>) -> String {
        range.count == 1
            ? "record \(range.lowerBound) is missing"
            : "records \(range.lowerBound) to \(range.upperBound) are missing"
    }
}

/// Whether records follow each other, wherever they come from.
public struct ChainLink {
    private var chain = AuditChain()

    /// Begins with nothing.
    public init() {}

    /// Whether a record's chain value is the one that it has behind `previous`.
    public mutating func follows(_ record: AuditRecord, _ previous: TokenDigest) -> Bool {
        chain.link(record, after: previous) == record.chain
    }
}
