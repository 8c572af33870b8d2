import TokenModel
import TokenStore

/// Holds a journal against the audit it was fed from: what is missing, changed, repeated or unknown, each by its number.
///
/// What the audit has let go, over a cut, is held against the cut's mark: the journal's own records follow each other by
/// their chain, up to the chain value that the mark names.
struct JournalComparison {
    private struct Held {
        let content: TokenDigest
        let chain: TokenDigest
    }

    /// What fails a verification.
    private(set) var problems: [AuditProblem] = []
    /// What is worth saying and proves nothing.
    private(set) var notes: [String] = []
    private let uid: UInt32?
    private let database: String?
    private var held: [Int64: Held] = [:]
    /// Those that do not follow from the one before, which stands in the journal too.
    private var broken: Set<Int64> = []
    /// Those whose predecessor had not come when they did: mostly the first alone.
    private var unlinked: [Int64: AuditRecord] = [:]
    private var chain = ChainLink()
    private var first: Int64 = .max
    private var last: Int64 = 0
    private var foreign = 0
    /// The oldest by its time of those that lie behind the journal's end.
    private var unsent: AuditRecord?
    private var matched = 0
    private var matchedOverCuts = 0

    /// - Parameters:
    ///   - uid: the daemon's; another's records are foreign.
    ///   - database: whose records count; another database's are passed over.
    init(uid: UInt32?, database: String?) {
        self.uid = uid
        self.database = database
    }

    /// Takes the journal's next entry.
    mutating func take(_ entry: JournalRecord) {
        guard isOurs(entry), entry.mark == nil else { return }
        guard let sequence = entry.sequence, sequence > 0 else {
            return problem(0, "a record in the journal has no number")
        }
        guard let record = entry.record else {
            return problem(sequence, "record \(sequence) was changed in the journal: a field is missing or malformed")
        }
        let content = ChainVerifier.content(of: record)
        if let known = held[sequence] {
            if known.content == content {
                // Sent twice, as after a crash before it was read back.
                notes.append("record \(sequence) is repeated in the journal")
            } else {
                problem(sequence, "record \(sequence) is in the journal twice, and the two differ")
            }
            return
        }
        if sequence < last, held[sequence + 1] != nil, held[sequence - 1] == nil {
            notes.append("record \(sequence) stands behind record \(last) in the journal")
        }
        if let before = held[sequence - 1] {
            if !chain.follows(record, before.chain) { broken.insert(sequence) }
        } else {
            unlinked[sequence] = record
        }
        held[sequence] = Held(content: content, chain: record.chain)
        first = min(first, sequence)
        last = max(last, sequence)
    }

    /// Whether it is the daemon's, of this database.
    private mutating func isOurs(_ entry: JournalRecord) -> Bool {
        guard uid == nil || entry.uid == uid else {
            foreign += 1
            if foreign <= ChainVerifier.problemsMax {
                let who = entry.uid.map { "uid \($0)" } ?? "somebody whom journald does not name"
                let name = entry.sequence.map(String.init) ?? "without a number"
                notes.append("record \(name) is foreign: \(who) wrote it, not the daemon")
            }
            return false
        }
        guard let database, let other = entry.database else { return true }
        return other == database
    }

    /// Takes the audit's next entry. What lies before the journal's beginning is not asked for: the journal has bounds
    /// of its own; nor what lies behind its end, unless it was known to be there.
    mutating func compare(_ entry: AuditEntry, knownThrough confirmed: Int64) {
        switch entry {
        case .mark(let mark): compare(mark)
        case .record(let record):
            if let found = held.removeValue(forKey: record.sequence) {
                matched += 1
                if found.content != ChainVerifier.content(of: record) {
                    problem(record.sequence, "record \(record.sequence) was changed: journal and audit differ")
                }
            } else if record.sequence >= first, record.sequence <= max(last, confirmed) {
                problem(record.sequence, "record \(record.sequence) is missing in the journal")
            } else if record.sequence > max(last, confirmed), unsent.map({ record.time < $0.time }) ?? true {
                unsent = record
            }
        }
    }

    private mutating func compare(_ mark: AuditMark) {
        guard first <= last, max(mark.first, first) <= min(mark.last, last) else { return }
        let range = max(mark.first, first)...min(mark.last, last)
        for sequence in range {
            guard let found = held[sequence] else {
                // What went over the cap may never have been sent, and a restore gave its numbers to no change.
                if mark.reason == .pruned { problem(sequence, "record \(sequence) is missing in the journal") }
                continue
            }
            matchedOverCuts += 1
            if let record = unlinked[sequence] {
                // What a restore lost follows from what it kept.
                let isNext = mark.reason == .restored && sequence == mark.first
                let before = isNext ? mark.chain : held[sequence - 1]?.chain
                if let before, !chain.follows(record, before) { broken.insert(sequence) }
            }
            if mark.reason != .restored, sequence == mark.last, found.chain != mark.chain { broken.insert(sequence) }
            if broken.contains(sequence) {
                problem(
                    sequence,
                    "record \(sequence) was changed in the journal, or the one before it: the chain breaks here")
            }
        }
        for sequence in range { held[sequence] = nil }
    }

    /// How long a record may take to the journal before a verification fails: a storm's lag is minutes.
    private static let lagMillisecondsMax: Int64 = 3_600_000

    /// What is in the journal and not in the audit, and what should be in the journal by `now`.
    /// - Parameter firstKept: the audit's first record; where it has none, what follows its last number.
    mutating func finish(firstKept: Int64, now: Instant?) {
        if let unsent, let now, now.milliseconds - unsent.time.milliseconds > Self.lagMillisecondsMax {
            problem(
                unsent.sequence,
                "record \(unsent.sequence), of \(unsent.time), has not reached the journal: scaem-token status says how "
                    + "far it is fed")
        }
        for sequence in held.keys.sorted() where sequence >= firstKept {
            problem(sequence, "record \(sequence) is in the journal and unknown to the audit")
        }
        guard first <= last else { return notes.append("the journal holds no record of this audit") }
        notes.append("the journal holds records \(first) to \(last), \(matched) of them as in the audit")
        if matchedOverCuts > 0 {
            notes.append("\(matchedOverCuts) of them are older than the audit: they were held against its cuts")
        }
        if foreign > 0 { notes.append("\(foreign) records are foreign: other users can write such fields") }
    }

    private mutating func problem(_ sequence: Int64, _ sentence: String) {
        if problems.count < ChainVerifier.problemsMax { problems.append(AuditProblem(sequence, sentence)) }
    }
}
