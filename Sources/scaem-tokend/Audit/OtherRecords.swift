import Logging
import Synchronization
import Systemd
import TokenModel
import TokenServer
import TokenStore

/// Records outside of the audit's sequence, refusals, alarms and cuts, on their way to the journal. Bounded: who puts one in
/// never waits, and what finds no room is counted.
final class OtherRecords: Sendable {
    static let waitingMax = 1_000

    private enum Waiting {
        case fields([Journal.Field])
        case mark(AuditMark)
    }

    private struct State {
        var waiting: [Waiting] = []
        var dropped: Int64 = 0

        /// Cuts that follow each other are one.
        mutating func join(_ mark: AuditMark) -> Bool {
            guard case .mark(let last) = waiting.last, last.reason == mark.reason, last.last + 1 == mark.first else {
                return false
            }
            waiting[waiting.count - 1] = .mark(
                AuditMark(first: last.first, last: mark.last, chain: mark.chain, time: mark.time, reason: mark.reason))
            return true
        }
    }

    private let state = Mutex(State())

    /// Takes what the server refused.
    func put(_ refused: RefusedRequest) {
        put(AuditFields.fields(refused))
    }

    /// Takes what the store has to say, where it is an alarm or a cut.
    func put(_ event: StoreEvent) {
        switch event {
        case .endedTokensPresented(let presented): for one in presented { put(AuditFields.fields(one)) }
        case .presentationsHeldBack(let heldBack): put(heldBack: heldBack)
        case .auditCut(let mark): put(mark)
        default: break
        }
    }

    /// Takes the counts of what was held back.
    func put(heldBack: [HeldBackRefusals]) {
        for one in heldBack { put(AuditFields.fields(one)) }
    }

    /// Takes a cut of the audit.
    func put(_ mark: AuditMark) {
        let isJoined = state.withLock { $0.join(mark) }
        if !isJoined { put(.mark(mark)) }
    }

    private func put(_ fields: [Journal.Field]) { put(.fields(fields)) }

    private func put(_ one: Waiting) {
        state.withLock { state in
            if state.waiting.count < Self.waitingMax { state.waiting.append(one) } else { state.dropped += 1 }
        }
    }

    /// Empties it into the journal, or where there is none into the log.
    func send(database: String, logger: Logger) {
        let taken = state.withLock { state in
            defer { state = State() }
            return state
        }
        for one in taken.waiting {
            let fields =
                switch one {
                case .fields(let fields): fields
                case .mark(let mark): AuditFields.fields(mark, database: database)
                }
            if !Journal.isPresent || Journal.send(fields) != 0 { logger.notice("\(fields.first?.value ?? "")") }
        }
        if taken.dropped > 0 {
            logger.report(
                .warning, .refusalsUnrecorded, "refusals and alarms were not recorded, for there were too many at once",
                ["count": "\(taken.dropped)"])
        }
    }
}

extension AuditFields {
    private static let refused = "6c0f8b1e3f0a4d55b1a0d7e2c4a9f106"
    private static let heldBack = "6c0f8b1e3f0a4d55b1a0d7e2c4a9f107"
    private static let endedTokenPresented = "6c0f8b1e3f0a4d55b1a0d7e2c4a9f108"
    static let auditPruned = "6c0f8b1e3f0a4d55b1a0d7e2c4a9f109"
    static let auditOverCap = "6c0f8b1e3f0a4d55b1a0d7e2c4a9f10a"
    static let auditRestored = "6c0f8b1e3f0a4d55b1a0d7e2c4a9f10b"

    private static func head(_ message: String, _ id: String, priority: Int, event: String) -> [Journal.Field] {
        [
            Journal.Field("MESSAGE", message), Journal.Field("MESSAGE_ID", id),
            Journal.Field("PRIORITY", "\(priority)"), Journal.Field("SYSLOG_IDENTIFIER", "scaem-tokend"),
            Journal.Field("SCAEM_EVENT", event),
        ]
    }

    static func fields(_ refused: RefusedRequest) -> [Journal.Field] {
        let asker = refused.asker
        let who = asker.principal?.text ?? "uid \(asker.uid)"
        let what = (refused.method.map { " \($0)" } ?? "") + (refused.application.map { " for \($0)" } ?? "")
        var fields = head(
            "\(who) was refused\(what): \(refused.reason)", Self.refused, priority: 5, event: "refused")
        fields += [
            Journal.Field("SCAEM_OUTCOME", "refused"), Journal.Field("SCAEM_REASON", refused.reason),
            Journal.Field("SCAEM_PEER_UID", "\(asker.uid)"), Journal.Field("SCAEM_PEER_GID", "\(asker.gid)"),
        ]
        fields += Self.fields(asker.process)
        func add(_ name: String, _ value: String?) {
            if let value { fields.append(Journal.Field(name, value)) }
        }
        add("SCAEM_METHOD", refused.method)
        add("SCAEM_PRINCIPAL", asker.principal?.text)
        add("SCAEM_APPLICATION", refused.application?.text)
        add("SCAEM_PROJECT_CODE", refused.project?.text)
        return fields
    }

    static func fields(_ held: HeldBackRefusals) -> [Journal.Field] {
        let who = held.principal?.text ?? held.uid.map { "uid \($0)" } ?? "other users"
        var fields = head(
            "\(held.count) refusals of \(who) were not recorded", heldBack, priority: 5, event: "refusals_held_back")
        fields += [Journal.Field("SCAEM_OUTCOME", "refused"), Journal.Field("SCAEM_HELD_BACK", "\(held.count)")]
        if let principal = held.principal { fields.append(Journal.Field("SCAEM_PRINCIPAL", principal.text)) }
        if let uid = held.uid { fields.append(Journal.Field("SCAEM_PEER_UID", "\(uid)")) }
        return fields
    }

    /// Numbers of the audit that have no row any more, or never had one, and the chain value that the next row follows.
    static func fields(_ mark: AuditMark, database: String) -> [Journal.Field] {
        let (id, priority, why) =
            switch mark.reason {
            case .pruned: (auditPruned, 6, "left the database: they were in the journal and old enough")
            case .overCap: (auditOverCap, 4, "left the database before their time: there were too many")
            case .restored:
                (auditRestored, 4, "were given to no change, or are not known to this database: a backup was restored")
            }
        return head(
            "audit records \(mark.first) to \(mark.last) \(why)", id, priority: priority,
            event: "audit_" + mark.reason.rawValue)
            + [
                Journal.Field(databaseField, database), Journal.Field("SCAEM_TIME", mark.time.description),
                Journal.Field("SCAEM_FIRST", "\(mark.first)"), Journal.Field("SCAEM_LAST", "\(mark.last)"),
                Journal.Field("SCAEM_CHAIN", mark.chain.hex),
            ]
    }

    /// The cut that the fields of a journal's entry hold; nil where there is none, or a field is malformed.
    static func mark(_ fields: [String: String]) -> AuditMark? {
        guard let event = fields["SCAEM_EVENT"], event.hasPrefix("audit_"),
            let reason = AuditMark.Reason(rawValue: String(event.dropFirst("audit_".count))),
            let first = fields["SCAEM_FIRST"].flatMap({ Int64($0) }),
            let last = fields["SCAEM_LAST"].flatMap({ Int64($0) }), first > 0, last >= first,
            let time = fields["SCAEM_TIME"].flatMap({ Instant(text: Array($0.utf8)) }),
            let chain = fields["SCAEM_CHAIN"].flatMap({ TokenDigest(hex: $0) })
        else { return nil }
        return AuditMark(first: first, last: last, chain: chain, time: time, reason: reason)
    }

    static func fields(_ presented: EndedPresentation) -> [Journal.Field] {
        let times = presented.count == 1 ? "" : ", \(presented.count) times"
        return head(
            "\(presented.principal) presented token \(presented.fingerprint), which was ended\(times)",
            endedTokenPresented, priority: 4, event: "ended_token_presented")
            + [
                Journal.Field("SCAEM_OUTCOME", "refused"), Journal.Field("SCAEM_REASON", "ended_token"),
                Journal.Field("SCAEM_TIME", presented.time.description),
                Journal.Field("SCAEM_TOKEN_FINGERPRINT", presented.fingerprint.description),
                Journal.Field(anyFingerprintField, presented.fingerprint.description),
                Journal.Field("SCAEM_PRINCIPAL", presented.principal.text),
                Journal.Field("SCAEM_PEER_UID", "\(presented.uid)"),
                Journal.Field("SCAEM_PEER_GID", "\(presented.gid)"), Journal.Field("SCAEM_COUNT", "\(presented.count)"),
            ] + Self.fields(presented.process)
    }
}
