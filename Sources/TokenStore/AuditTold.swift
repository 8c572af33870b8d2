internal import TokenModel

/// What the tables must hold by what the audit tells, for as much as it tells: what was let go, or came with a backup, is
/// not known from it.
struct AuditTold {
    /// The token that was made last, of each registration and project.
    private var made: [RegistrationID: [ProjectCode: Fingerprint]] = [:]
    private var names: [RegistrationID: ApplicationName] = [:]
    private var ended: Set<Fingerprint> = []
    /// Nothing was let go and nothing came with a backup, so that there is no row of which nothing is told.
    private var isWhole = true
    private var hasRecords = false

    /// Takes the next record or mark.
    /// - Returns: what is wrong with it where it stands.
    mutating func follow(_ entry: AuditEntry) -> String? {
        switch entry {
        case .record(let record):
            follow(record)
            return nil
        case .mark(let mark):
            isWhole = false
            // A backup holds older tokens than the records that were kept over its restoring.
            if mark.reason == .restored {
                made = [:]
                return nil
            }
            // Rows go from the oldest on.
            return hasRecords ? "records \(mark.first) to \(mark.last) were taken out behind others that are kept" : nil
        }
    }

    private mutating func follow(_ record: AuditRecord) {
        hasRecords = true
        ended.formUnion(record.ended)
        let id = record.registrationID
        names[id] = record.application
        guard let project = record.project else {
            made[id] = nil
            names[id] = nil
            return
        }
        if let fingerprint = record.fingerprint {
            made[id, default: [:]][project] = fingerprint
        } else if let current = made[id]?[project], record.ended.contains(current) || record.lapsed.contains(current) {
            made[id]?[project] = nil
        }
    }

    /// What is wrong with a row, whose current token comes first.
    mutating func check(
        _ id: RegistrationID, _ name: ApplicationName, _ project: ProjectCode, _ tokens: [Fingerprint]
    ) -> [String] {
        var problems: [String] = []
        if tokens.contains(where: ended.contains) { problems.append("holds a token that the audit says was ended") }
        if let told = names[id], told != name { problems.append("is of \(name), and the audit says of \(told)") }
        if let told = made[id]?.removeValue(forKey: project) {
            if told != tokens.first { problems.append("holds another token than the audit says was made") }
        } else if isWhole {
            problems.append("holds a token that the audit knows nothing of")
        }
        return problems
    }

    /// What is wrong with rows that are not there, once all that are there were checked.
    func withoutRow() -> [String] {
        made.flatMap { id, projects in
            projects.keys.map { project in
                "the token of \(names[id]?.text ?? id.description) for project \(project) is in the audit and has no row"
            }
        }
    }
}
