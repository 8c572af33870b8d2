import ArgumentParser
import Glibc
import Systemd
import TokenModel
import TokenStore

extension AuditCommand {
    /// `audit verify`.
    struct Verify: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Verifies the chain of the audit, then holds the journal against it.",
            discussion: """
                Without FILE the database and the journal of this machine; with FILE what `audit export`, \
                `journalctl -o json` or `journalctl -o export` wrote, on any machine: a journal is held against the \
                exports, and alone its own records against their chain. Each record that is missing, changed, \
                repeated, unknown or foreign is named by its sequence number. Exit status 1 where one is missing, \
                changed or unknown.
                """)

        @Argument(help: "Exports of the audit or of the journal; `-` is standard input.")
        var files: [String] = []

        @Option(help: "The daemon's uid in an exported journal, where records of several users are in it.")
        var uid: UInt32?

        @Option(help: "The journal of this namespace, where the service has LogNamespace=.")
        var namespace: String?

        @Option(help: "The exports begin after this sequence number.")
        var since: Int64 = 0

        @OptionGroup var options: CommonOptions

        func run() throws {
            var report = VerificationReport(since: since)
            do {
                if files.isEmpty {
                    try verifyThisMachine(&report)
                } else {
                    try verifyFiles(&report)
                }
            } catch {
                throw ExitCode.report(error)
            }
            for note in report.notes { print(note) }
            guard report.problems.isEmpty else { throw ExitCode.report(problems: report.problems) }
            print("OK: \(report.rows) records, up to \(report.last)")
        }

        private func verifyThisMachine(_ report: inout VerificationReport) throws {
            let file = try DatabaseFile(stateDirectory: try options.databaseDirectory())
            let position = try file.reading { try file.journalPosition() }
            guard Journal.isPresent else {
                report.notes.append("there is no journal here: the chain alone was verified")
                try followDatabase(file, nil, knownThrough: 0, &report)
                if let confirmed = position?.confirmed, confirmed > 0 {
                    report.add("the journal has held records up to \(confirmed), and none can be read here")
                }
                return
            }
            var comparison = JournalComparison(uid: position?.uid, database: position?.database)
            let matches = AuditFields.messageIDs.map { "MESSAGE_ID=\($0)" }
            guard let reader = reader(matching: matches), let any = self.reader(matching: []), any.first() else {
                throw CommandFailure(
                    "no entry of the journal can be read, so it proves nothing: run as root or a member of group "
                        + "systemd-journal, with the service's --namespace if it has one")
            }
            reader.seekToStart()
            while reader.next() {
                if let entry = JournalRecord(reader.values()) { comparison.take(entry) }
            }
            // The journal before the audit: what is committed meanwhile is in the audit and may be in the journal, and what was
            // read from the journal is in the audit by now.
            try followDatabase(file, comparison, knownThrough: position?.confirmed ?? 0, &report)
        }

        private func reader(matching matches: [String]) -> JournalReader? {
            JournalReader(matching: matches, namespace: namespace ?? Journal.namespace)
        }

        private func followDatabase(
            _ file: DatabaseFile, _ comparison: JournalComparison?, knownThrough confirmed: Int64,
            _ report: inout VerificationReport
        ) throws {
            try file.reading {
                let now = SystemClock().wall()
                try report.follow(comparison, knownThrough: confirmed, now: now, isOneAudit: true) { body in
                    try file.forEachAuditEntry { body($0) }
                }
            }
        }

        private func verifyFiles(_ report: inout VerificationReport) throws {
            let files = try files.map { try AuditFile($0) }
            var entries: [JournalRecord] = []
            for file in files where file.isJournal { try file.forEachJournalRecord { entries.append($0) } }
            let exports = files.filter { !$0.isJournal }
            let writers = Set(entries.map(\.uid))
            guard uid != nil || writers.count <= 1 else {
                let names = writers.map { $0.map(String.init) ?? "nobody" }.sorted().joined(separator: ", ")
                throw CommandFailure(
                    "the records in the journal are of several users (\(names)), and any user can write such: "
                        + "name the daemon's with --uid")
            }
            let owner = uid ?? entries.first?.uid
            let ours = entries.filter { $0.uid == owner }
            // One that was lost and the one made after it: nobody's records are passed over.
            let databases = Set(ours.compactMap(\.database)).sorted()
            guard exports.isEmpty else {
                let database = try databases.count > 1 ? Self.database(of: exports, among: ours) : databases.first
                var comparison = JournalComparison(uid: owner, database: database)
                for entry in entries { comparison.take(entry) }
                for other in databases where other != database {
                    report.notes.append("records of database \(other) are passed over: the export is of another")
                }
                let held = exports.count == files.count ? nil : comparison
                let isOne = exports.count == 1
                return try report.follow(held, knownThrough: 0, now: nil, isOneAudit: isOne) { body in
                    for file in exports { try file.forEachEntry { body($0) } }
                }
            }
            guard !entries.isEmpty else { throw CommandFailure("no record of the audit is in what was given") }
            for (place, database) in (databases.isEmpty ? [nil] : databases.map(Optional.some)).enumerated() {
                var comparison = JournalComparison(uid: owner, database: database)
                for entry in place == 0 ? entries : ours { comparison.take(entry) }
                if databases.count > 1 { report.notes.append("database \(database ?? ""):") }
                report.followJournal(ours.filter { $0.database == nil || $0.database == database }, comparison)
            }
        }

        /// Whose records the exports hold, by their chain values; where they hold none of them, nobody's.
        private static func database(of exports: [AuditFile], among entries: [JournalRecord]) throws -> String? {
            var chains: Set<TokenDigest> = []
            for file in exports {
                try file.forEachEntry { if case .record(let record) = $0 { chains.insert(record.chain) } }
            }
            var counts: [String: Int] = [:]
            for entry in entries {
                guard let database = entry.database, let record = entry.record, chains.contains(record.chain) else {
                    continue
                }
                counts[database, default: 0] += 1
            }
            guard let most = counts.max(by: { ($0.value, $0.key) < ($1.value, $1.key) }) else {
                throw CommandFailure(
                    "the journal holds records of several databases, and the export none of theirs: name the export of one"
                )
            }
            return most.key
        }
    }
}

/// What a verification comes to.
private struct VerificationReport {
    let since: Int64
    var notes: [String] = []
    private(set) var problems: [String] = []
    private(set) var rows: Int64 = 0
    private(set) var last: Int64 = 0

    init(since: Int64) { self.since = since }

    /// Follows the chain of an audit, and holds a journal against it.
    /// - Parameter isOneAudit: what is followed is one database's, not exports of several times.
    mutating func follow(
        _ comparison: JournalComparison?, knownThrough confirmed: Int64, now: Instant?, isOneAudit: Bool,
        _ forEach: (_ body: (AuditEntry) -> Void) throws -> Void
    ) throws {
        var verifier = ChainVerifier(from: since + 1, isOneAudit: isOneAudit)
        var comparison = comparison
        var firstKept = Int64.max
        try forEach { entry in
            if case .record(let record) = entry, record.sequence < firstKept {
                firstKept = record.sequence
                notes.append("the audit begins with record \(record.sequence), of \(record.time)")
            }
            verifier.follow(entry)
            comparison?.compare(entry, knownThrough: confirmed)
        }
        take(verifier)
        if var comparison {
            comparison.finish(firstKept: min(firstKept, last + 1), now: now)
            take(comparison)
        }
    }

    /// Follows the chain of what a journal alone holds.
    mutating func followJournal(_ entries: [JournalRecord], _ comparison: JournalComparison) {
        var known: Set<Int64> = []
        let records = entries.compactMap(\.record).filter { known.insert($0.sequence).inserted }
        let begin = records.map(\.sequence).min() ?? 1
        // That records were pruned does not excuse that they are missing here: they went because they were here.
        let marks = entries.compactMap(\.mark).filter { mark in
            mark.last >= begin && (mark.reason != .pruned || known.contains(mark.last))
        }
        let sorted = (records.map { AuditEntry.record($0) } + marks.map { AuditEntry.mark($0) }).sorted {
            ($0.last, $0.isMark ? 1 : 0) < ($1.last, $1.isMark ? 1 : 0)
        }
        var verifier = ChainVerifier(from: begin, isOneAudit: false)
        for entry in sorted { verifier.follow(entry) }
        take(verifier)
        take(comparison)
    }

    mutating func add(_ problem: String) { problems.append(problem) }

    private mutating func take(_ verifier: ChainVerifier) {
        rows += verifier.rows
        last = max(last, verifier.next - 1)
        problems += verifier.problems.map(\.description)
    }

    private mutating func take(_ comparison: JournalComparison) {
        notes += comparison.notes
        problems += comparison.problems.map(\.description)
    }
}
