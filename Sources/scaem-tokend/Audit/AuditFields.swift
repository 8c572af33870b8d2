import TokenModel

/// An audit record as fields of the journal, and back.
enum AuditFields {
    /// The record that the fields of a journal's entry hold; nil where one is missing or malformed.
    static func record(_ fields: [String: String]) -> AuditRecord? {
        func number<Number: FixedWidthInteger>(_ name: String) -> Number? {
            fields["SCAEM_" + name].flatMap { Number($0) }
        }
        func words(_ name: String) -> [Substring] { (fields["SCAEM_" + name] ?? "").split(separator: " ") }
        func fingerprints(_ name: String) -> [Fingerprint?] { words(name).map { Fingerprint(text: String($0)) } }
        let shortened = words("SHORTENED").map { word -> ShortenedToken? in
            let halves = word.split(separator: "=")
            guard halves.count == 2, let fingerprint = Fingerprint(text: String(halves[0])),
                let end = Instant(text: Array(halves[1].utf8))
            else { return nil }
            return ShortenedToken(fingerprint: fingerprint, expiration: end)
        }
        let ended = fingerprints("ENDED_FINGERPRINTS")
        let lapsed = fingerprints("LAPSED_FINGERPRINTS")
        guard let sequence: Int64 = number("SEQUENCE"), sequence > 0,
            let time = fields["SCAEM_TIME"].flatMap({ Instant(text: Array($0.utf8)) }),
            let event = fields["SCAEM_EVENT"].flatMap({ AuditEvent(rawValue: $0) }),
            let id = fields["SCAEM_REGISTRATION_ID"].flatMap({ RegistrationID(text: $0) }),
            let application = fields["SCAEM_APPLICATION"].flatMap({ ApplicationName(recorded: $0) }),
            let principal = fields["SCAEM_PRINCIPAL"], let uid: UInt32 = number("PEER_UID"),
            let gid: UInt32 = number("PEER_GID"), let pid: Int32 = number("PEER_PID"),
            let chain = fields["SCAEM_CHAIN"].flatMap({ TokenDigest(hex: $0) }),
            !shortened.contains(nil), !ended.contains(nil), !lapsed.contains(nil)
        else { return nil }
        return AuditRecord(
            sequence: sequence, time: time, event: event, registrationID: id, application: application,
            project: fields["SCAEM_PROJECT_CODE"].flatMap { ProjectCode($0) }, principal: .recorded(principal),
            uid: uid, gid: gid,
            process: PeerProcess(
                pid: pid, unit: fields["SCAEM_PEER_UNIT"], invocationID: fields["SCAEM_PEER_INVOCATION_ID"],
                comm: fields["SCAEM_PEER_COMM"]),
            fingerprint: fields["SCAEM_TOKEN_FINGERPRINT"].flatMap { Fingerprint(text: $0) },
            ended: ended.compactMap { $0 }, lapsed: lapsed.compactMap { $0 },
            shortened: shortened.compactMap { $0 }, chain: chain)
    }
}
