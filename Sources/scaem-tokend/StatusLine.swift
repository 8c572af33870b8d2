import Systemd
import TokenModel
import TokenServer

/// The line that `systemctl status` shows of a daemon that serves. Sent only when it says something else than before.
struct StatusLine {
    private var sent = ""
    private var counted: (applications: Int, tokens: Int, sequence: Int64, at: Int64)?
    private var problem: String?

    /// Even where nothing has changed, tokens expire and a disk recovers: counted anew this often.
    private static let recountMilliseconds: Int64 = 60_000
    /// While something changes all the time, counting must not become work: with a million tokens it takes milliseconds.
    private static let restMilliseconds: Int64 = 2_000

    mutating func show(
        _ server: Server, _ ledger: any TokenLedger, _ verdict: WatchdogRule.Verdict, reloadProblem: String?
    ) {
        let (connections, sequence) = server.activity
        count(ledger, sequence)
        let text = Self.text(
            connections: connections, applications: counted?.applications ?? 0, tokens: counted?.tokens ?? 0,
            storageProblem: problem, diskMilliseconds: verdict.diskMilliseconds, reloadProblem: reloadProblem,
            journal: ledger.journalStatus.flatMap { Self.text($0, behind: sequence) })
        guard text != sent else { return }
        sent = text
        ServiceManager.notify("STATUS=\(text)")
    }

    /// Something else was said meanwhile: the next look says all again.
    mutating func forget() { sent = "" }

    private mutating func count(_ ledger: any TokenLedger, _ sequence: Int64) {
        let now = MonotonicClock.milliseconds
        if let counted {
            let interval =
                counted.sequence == sequence && problem == nil ? Self.recountMilliseconds : Self.restMilliseconds
            guard now - counted.at >= interval else { return }
        }
        let status = ledger.status()
        counted = (status.applications, status.tokens, sequence, now)
        problem = status.storageProblem
    }

    static func text(
        connections: Int, applications: Int, tokens: Int, storageProblem: String?, diskMilliseconds: Int64?,
        reloadProblem: String?, journal: String? = nil
    ) -> String {
        var parts: [String] = []
        if let diskMilliseconds {
            parts.append("Changes wait for the disk since \(diskMilliseconds / 1_000) s, introspection goes on.")
        } else if let storageProblem {
            parts.append("No change is taken: \(storageProblem)")
        }
        if let reloadProblem { parts.append(kept(because: reloadProblem)) }
        if let journal { parts.append(journal) }
        parts.append("Serving \(connections) connections; \(tokens) tokens of \(applications) applications.")
        return parts.joined(separator: " ")
    }

    /// What is wrong with the journal, and how far it is behind; nil where nothing is and it is not.
    static func text(_ journal: JournalStatus, behind sequence: Int64) -> String? {
        var parts: [String] = []
        if let lacking = journal.lacking {
            parts.append(
                "The database is older than the journal: it lacks changes \(lacking.lowerBound) to \(lacking.upperBound)."
            )
        }
        switch journal.state {
        case .ok: break
        case .absent: parts.append("There is no journald: the audit waits in the database.")
        case .failing: parts.append("journald takes no records: the audit waits in the database.")
        case .unreadable: parts.append("The journal cannot be read back.")
        case .volatile: parts.append("The journal is in memory only and goes with a reboot.")
        }
        let lag = journal.lag(behind: sequence)
        if lag > 0 { parts.append("The journal is \(lag) changes behind.") }
        return parts.isEmpty ? nil : parts.joined(separator: " ")
    }

    /// What a failed reload leaves to be seen.
    static func kept(because problem: String) -> String { "The configuration stays as it was (\(problem))." }
}
