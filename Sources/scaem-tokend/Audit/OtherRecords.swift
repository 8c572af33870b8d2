import Logging
import Synchronization
import Systemd
import TokenModel
import TokenServer
import TokenStore

/// Records outside of the audit's sequence, refusals and alarms, on their way to the journal. Bounded: who puts one in
/// never waits, and what finds no room is counted.
final class OtherRecords: Sendable {
    static let waitingMax = 1_000

    private struct State {
        var waiting: [[Journal.Field]] = []
        var dropped: Int64 = 0
    }

    private let state = Mutex(State())

    /// Takes what the server refused.
    func put(_ refused: RefusedRequest) {
        put(AuditFields.fields(refused))
    }

    /// Takes what the store has to say, where it is an alarm.
    func put(_ event: StoreEvent) {
        guard case .endedTokensPresented(let presented) = event else { return }
        for one in presented { put(AuditFields.fields(one)) }
    }

    /// Takes the counts of what was held back.
    func put(heldBack: [(uid: UInt32, count: Int64)]) {
        for one in heldBack { put(AuditFields.fields(heldBack: one.count, uid: one.uid)) }
    }

    private func put(_ fields: [Journal.Field]) {
        state.withLock { state in
            if state.waiting.count < Self.waitingMax { state.waiting.append(fields) } else { state.dropped += 1 }
        }
    }

    /// Empties it into the journal, or where there is none into the log.
    func send(logger: Logger) {
        let taken = state.withLock { state in
            defer { state = State() }
            return state
        }
        for fields in taken.waiting where !Journal.isPresent || Journal.send(fields) != 0 {
            logger.notice("\(fields.first?.value ?? "")")
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

    private static func head(_ message: String, _ id: String, priority: Int, event: String) -> [Journal.Field] {
        [
            Journal.Field("MESSAGE", message), Journal.Field("MESSAGE_ID", id),
            Journal.Field("PRIORITY", "\(priority)"), Journal.Field("SYSLOG_IDENTIFIER", "scaem-tokend"),
            Journal.Field("SCAEM_EVENT", event),
        ]
    }

    static func fields(_ refused: RefusedRequest) -> [Journal.Field] {
        let who = refused.principal?.text ?? "uid \(refused.uid)"
        let what = refused.application.map { " for \($0)" } ?? ""
        var fields = head(
            "\(who) was refused\(what): \(refused.reason)", Self.refused, priority: 5, event: "refused")
        fields += [
            Journal.Field("SCAEM_OUTCOME", "refused"), Journal.Field("SCAEM_REASON", refused.reason),
            Journal.Field("SCAEM_PEER_UID", "\(refused.uid)"), Journal.Field("SCAEM_PEER_GID", "\(refused.gid)"),
            Journal.Field("SCAEM_PEER_PID", "\(refused.pid)"),
        ]
        func add(_ name: String, _ value: String?) {
            if let value { fields.append(Journal.Field(name, value)) }
        }
        add("SCAEM_PRINCIPAL", refused.principal?.text)
        add("SCAEM_PEER_UNIT", refused.unit)
        add("SCAEM_APPLICATION", refused.application?.text)
        add("SCAEM_PROJECT_CODE", refused.project?.text)
        add("SCAEM_HELD_BACK", refused.heldBack > 0 ? "\(refused.heldBack)" : nil)
        return fields
    }

    static func fields(heldBack count: Int64, uid: UInt32) -> [Journal.Field] {
        let who = uid == .max ? "other users" : "uid \(uid)"
        return head("\(count) refusals of \(who) were not recorded", heldBack, priority: 5, event: "refusals_held_back")
            + [
                Journal.Field("SCAEM_OUTCOME", "refused"), Journal.Field("SCAEM_HELD_BACK", "\(count)"),
                Journal.Field("SCAEM_PEER_UID", "\(uid)"),
            ]
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
                Journal.Field("SCAEM_PRINCIPAL", presented.principal.text),
                Journal.Field("SCAEM_PEER_UID", "\(presented.uid)"),
                Journal.Field("SCAEM_PEER_GID", "\(presented.gid)"),
                Journal.Field("SCAEM_PEER_PID", "\(presented.pid)"), Journal.Field("SCAEM_COUNT", "\(presented.count)"),
            ] + (presented.unit.map { [Journal.Field("SCAEM_PEER_UNIT", $0)] } ?? [])
    }
}
