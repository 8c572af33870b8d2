internal import TokenModel

/// What the tables must hold by what the audit tells, for as much as it tells: what was let go, or came with a backup, is
/// not known from it.
struct AuditTold {
    /// The token that was made last, of each registration and project.
    private var made: [RegistrationID: [ProjectCode: Fingerprint]] = [:]
    private var names: [RegistrationID: ApplicationName] = [:]
    private var ended: Set<Fingerprint> = []
    /// Those that were left to live for a while when another took their place.
    private var replaced: Set<Fingerprint> = []
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
                names = [:]
                return nil
            }
            // Rows go from the oldest on.
            return hasRecords ? "records \(mark.first) to \(mark.last) were taken out behind others that are kept" : nil
        }
    }

    private mutating func follow(_ record: AuditRecord) {
        hasRecords = true
        ended.formUnion(record.ended)
        replaced.formUnion(record.shortened.map(\.fingerprint))
        replaced.formUnion(record.lapsed)
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

    /// What is wrong with an application's row.
    mutating func check(_ id: RegistrationID, _ name: ApplicationName) -> String? {
        guard let told = names.removeValue(forKey: id) else {
            return isWhole ? "is of an application that the audit knows nothing of" : nil
        }
        return told == name ? nil : "is of \(name), and the audit says of \(told)"
    }

    /// What is wrong with applications that are not there, once all that are there were checked.
    func withoutApplication() -> [String] {
        names.values.map { "the application \($0) is in the audit and has no row" }
    }

    /// What is wrong with a row, whose current token comes first.
    mutating func check(_ id: RegistrationID, _ project: ProjectCode, _ tokens: [Fingerprint]) -> [String] {
        var problems: [String] = []
        if tokens.contains(where: ended.contains) { problems.append("holds a token that the audit says was ended") }
        if isWhole, !tokens.dropFirst().allSatisfy(replaced.contains) {
            problems.append("holds a previous token that the audit knows nothing of")
        }
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
                "the token of registration \(id) for project \(project) is in the audit and has no row"
            }
        }
    }
}
