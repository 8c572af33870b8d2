import TokenModel
import TokenStore

/// Holds a journal against the audit it was fed from: what is missing, changed, repeated or unknown, each by its number.
struct JournalComparison {
    private struct Held {
        let content: TokenDigest
        /// The place in the journal, from 1.
        let place: Int
    }

    /// What fails a verification.
    private(set) var problems: [AuditProblem] = []
    /// What is worth saying and proves nothing.
    private(set) var notes: [String] = []
    private let uid: UInt32?
    private let database: String?
    private var held: [Int64: Held] = [:]
    private var places = 0
    private var first: Int64 = .max
    private var last: Int64 = 0
    private var foreign = 0
    private var matched = 0

    /// - Parameters:
    ///   - uid: the daemon's; another's records are foreign.
    ///   - database: whose records count; another database's are passed over.
    init(uid: UInt32?, database: String?) {
        self.uid = uid
        self.database = database
    }

    /// Takes the journal's next entry.
    mutating func take(_ entry: JournalRecord) {
        let name = entry.sequence.map(String.init) ?? "without a number"
        guard uid == nil || entry.uid == uid else {
            foreign += 1
            if foreign <= ChainVerifier.problemsMax {
                let who = entry.uid.map { "uid \($0)" } ?? "somebody whom journald does not name"
                notes.append("record \(name) is foreign: \(who) wrote it, not the daemon")
            }
            return
        }
        if let database, let other = entry.database, other != database { return }
        guard let sequence = entry.sequence, sequence > 0 else {
            return problem(0, "a record in the journal has no number")
        }
        guard let record = entry.record else {
            return problem(sequence, "record \(sequence) was changed in the journal: a field is missing or malformed")
        }
        places += 1
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
        if sequence < last, places > 1, held[sequence + 1] != nil, held[sequence - 1] == nil {
            notes.append("record \(sequence) stands behind record \(last) in the journal")
        }
        held[sequence] = Held(content: content, place: places)
        first = min(first, sequence)
        last = max(last, sequence)
    }

    /// Takes the audit's next entry. What lies before the journal's beginning is not asked for: the journal has bounds
    /// of its own; nor what lies behind its end, unless it was known to be there.
    mutating func compare(_ entry: AuditEntry, knownThrough confirmed: Int64) {
        switch entry {
        case .mark(let mark):
            for sequence in mark.first...min(mark.last, mark.first + 10_000_000) { held[sequence] = nil }
        case .record(let record):
            if let found = held.removeValue(forKey: record.sequence) {
                matched += 1
                if found.content != ChainVerifier.content(of: record) {
                    problem(record.sequence, "record \(record.sequence) was changed: journal and audit differ")
                }
            } else if record.sequence >= first, record.sequence <= max(last, confirmed) {
                problem(record.sequence, "record \(record.sequence) is missing in the journal")
            }
        }
    }

    /// What is in the journal and not in the audit.
    mutating func finish(firstKept: Int64) {
        for sequence in held.keys.sorted() where sequence >= firstKept {
            problem(sequence, "record \(sequence) is in the journal and unknown to the audit")
        }
        guard first <= last else { return notes.append("the journal holds no record of this audit") }
        notes.append("the journal holds records \(first) to \(last), \(matched) of them as in the audit")
        if foreign > 0 { notes.append("\(foreign) records are foreign: other users can write such fields") }
    }

    private mutating func problem(_ sequence: Int64, _ sentence: String) {
        if problems.count < ChainVerifier.problemsMax { problems.append(AuditProblem(sequence, sentence)) }
    }
}
