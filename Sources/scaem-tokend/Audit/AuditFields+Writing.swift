import Systemd
import TokenModel

/// What the journal gets of each committed change (docs/audit.md has the table of fields).
extension AuditFields {
    /// sd-id128(3): one a kind of record, for `journalctl MESSAGE_ID=` and the catalog. Never changed.
    enum MessageID {
        static let registered = "6c0f8b1e3f0a4d55b1a0d7e2c4a9f101"
        static let generated = "6c0f8b1e3f0a4d55b1a0d7e2c4a9f102"
        static let rotated = "6c0f8b1e3f0a4d55b1a0d7e2c4a9f103"
        static let revoked = "6c0f8b1e3f0a4d55b1a0d7e2c4a9f104"
        static let unregistered = "6c0f8b1e3f0a4d55b1a0d7e2c4a9f105"
        static let continued = "6c0f8b1e3f0a4d55b1a0d7e2c4a9f10c"
    }

    /// Of all that are records of the chain, or of its cuts.
    static let messageIDs = AuditEvent.allCases.map { messageID($0) } + [auditPruned, auditOverCap, auditRestored]

    static let databaseField = "SCAEM_DATABASE"

    /// Tokens that one entry of the journal names, a field each: sd_journal_sendv(3) takes 510 fields, journald itself some
    /// 1,000, and an application may have ten thousand tokens.
    static let tokensPerEntry = 200

    /// The entries of a record, of the database with this id. The last is the record; before it come those that only name
    /// what more tokens it concerns, so that one match finds each.
    static func entries(_ record: AuditRecord, database: String) -> [[Journal.Field]] {
        let concerned = Self.concerned(by: record)
        let more = stride(from: tokensPerEntry, to: concerned.count, by: tokensPerEntry).map { start in
            continuation(of: record, concerned[start..<min(start + tokensPerEntry, concerned.count)])
        }
        return more + [fields(record, database: database) + anyOf(concerned.prefix(tokensPerEntry))]
    }

    private static func concerned(by record: AuditRecord) -> [Fingerprint] {
        (record.fingerprint.map { [$0] } ?? []) + record.ended + record.lapsed + record.shortened.map(\.fingerprint)
    }

    /// Has no number and no chain value: it is no record, and proves nothing.
    private static func continuation(
        of record: AuditRecord, _ fingerprints: ArraySlice<Fingerprint>
    ) -> [Journal.Field] {
        [
            Journal.Field(
                "MESSAGE", "\(sentence(record)): \(fingerprints.count) more tokens of record \(record.sequence)"),
            Journal.Field("MESSAGE_ID", MessageID.continued), Journal.Field("PRIORITY", priority(record.event)),
            Journal.Field("SYSLOG_IDENTIFIER", "scaem-tokend"),
            Journal.Field("SCAEM_CONTINUES", "\(record.sequence)"),
            Journal.Field("SCAEM_APPLICATION", record.application.text),
            Journal.Field("SCAEM_PRINCIPAL", record.principal.text),
        ] + anyOf(fingerprints)
    }

    private static func anyOf(_ fingerprints: ArraySlice<Fingerprint>) -> [Journal.Field] {
        fingerprints.map { Journal.Field(anyFingerprintField, $0.description) }
    }

    private static func fields(_ record: AuditRecord, database: String) -> [Journal.Field] {
        var fields = [
            Journal.Field("MESSAGE", sentence(record)), Journal.Field("MESSAGE_ID", messageID(record.event)),
            Journal.Field("PRIORITY", priority(record.event)), Journal.Field("SYSLOG_IDENTIFIER", "scaem-tokend"),
            Journal.Field(databaseField, database), Journal.Field("SCAEM_EVENT", record.event.rawValue),
            Journal.Field("SCAEM_OUTCOME", "success"), Journal.Field("SCAEM_SEQUENCE", "\(record.sequence)"),
            Journal.Field("SCAEM_TIME", record.time.description),
            Journal.Field("SCAEM_REGISTRATION_ID", record.registrationID.description),
            Journal.Field("SCAEM_APPLICATION", record.application.text),
            Journal.Field("SCAEM_PRINCIPAL", record.principal.text),
            Journal.Field("SCAEM_PEER_UID", "\(record.uid)"), Journal.Field("SCAEM_PEER_GID", "\(record.gid)"),
            Journal.Field("SCAEM_CHAIN", record.chain.hex),
        ]
        fields += Self.fields(record.process)
        func add(_ name: String, _ value: String?) {
            if let value { fields.append(Journal.Field(name, value)) }
        }
        add("SCAEM_PROJECT_CODE", record.project?.text)
        add("SCAEM_TOKEN_FINGERPRINT", record.fingerprint?.description)
        if !record.ended.isEmpty {
            add("SCAEM_ENDED_FINGERPRINTS", record.ended.map(\.description).joined(separator: " "))
        }
        if !record.lapsed.isEmpty {
            add("SCAEM_LAPSED_FINGERPRINTS", record.lapsed.map(\.description).joined(separator: " "))
        }
        if !record.shortened.isEmpty {
            add(
                "SCAEM_SHORTENED",
                record.shortened.map { "\($0.fingerprint)=\($0.expiration)" }.joined(separator: " "))
        }
        return fields
    }

    /// Whether an entry says of a record what the daemon says, to the letter: people and filters read its fields, and not all
    /// are part of the chain, which moreover says the same of a number written otherwise. They are a format: never changed.
    static func isTold(_ record: AuditRecord, by fields: [String: String]) -> Bool {
        var told = Self.fields(record, database: fields[databaseField] ?? "").reduce(into: [:]) {
            $0[$1.name] = $1.value
        }
        // journald's own word stands beside it, and a file need not have it.
        told["SYSLOG_IDENTIFIER"] = nil
        if fields[databaseField] == nil { told[databaseField] = nil }
        return told.allSatisfy { fields[$0.key] == $0.value }
            && optionalFields.allSatisfy { told[$0] != nil || fields[$0] == nil } && namesItsTokens(record, fields)
    }

    /// Those that not every record has.
    private static let optionalFields = [
        "SCAEM_PROJECT_CODE", "SCAEM_TOKEN_FINGERPRINT", "SCAEM_ENDED_FINGERPRINTS", "SCAEM_LAPSED_FINGERPRINTS",
        "SCAEM_SHORTENED", "SCAEM_PEER_UNIT", "SCAEM_PEER_INVOCATION_ID", "SCAEM_PEER_COMM",
    ]

    /// Whether a match for any of its tokens finds it: for those that its own entry names, not the ones before it.
    private static func namesItsTokens(_ record: AuditRecord, _ fields: [String: String]) -> Bool {
        let named = (fields[anyFingerprintField] ?? "").split(separator: JournalReader.valueSeparator)
        let expected = concerned(by: record).prefix(tokensPerEntry).map(\.description)
        // journald keeps one of what is the same twice, and no order.
        return Set(named.map(String.init)) == Set(expected)
    }

    static let anyFingerprintField = "SCAEM_ANY_FINGERPRINT"

    /// What is known of a caller's process.
    static func fields(_ process: PeerProcess) -> [Journal.Field] {
        var fields = [Journal.Field("SCAEM_PEER_PID", "\(process.pid)")]
        if let unit = process.unit { fields.append(Journal.Field("SCAEM_PEER_UNIT", unit)) }
        if let id = process.invocationID { fields.append(Journal.Field("SCAEM_PEER_INVOCATION_ID", id)) }
        if let comm = process.comm { fields.append(Journal.Field("SCAEM_PEER_COMM", comm)) }
        return fields
    }

    private static func messageID(_ event: AuditEvent) -> String {
        switch event {
        case .registered: MessageID.registered
        case .generated: MessageID.generated
        case .rotated: MessageID.rotated
        case .revoked: MessageID.revoked
        case .unregistered: MessageID.unregistered
        }
    }

    /// What ends tokens is a notice (5), what makes them information (6).
    private static func priority(_ event: AuditEvent) -> String {
        switch event {
        case .revoked, .unregistered: "5"
        case .registered, .generated, .rotated: "6"
        }
    }

    private static func sentence(_ record: AuditRecord) -> String {
        let (who, application) = (record.principal.text, record.application.text)
        let project = record.project.map { " for project \($0)" } ?? ""
        let made = record.fingerprint.map { ": token \($0)" } ?? ""
        let ended = record.ended.isEmpty ? "" : "; \(record.ended.count) ended"
        return switch record.event {
        case .registered: "\(who) registered \(application)\(project)\(made)\(ended)"
        case .generated: "\(who) generated a token of \(application)\(project)\(made)\(ended)"
        case .rotated: "\(who) rotated the token of \(application)\(project)\(made)\(ended)"
        case .revoked: "\(who) revoked tokens of \(application)\(project)\(ended)"
        case .unregistered: "\(who) unregistered \(application)\(ended)"
        }
    }
}
