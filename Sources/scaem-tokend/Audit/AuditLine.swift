import Foundation
import TokenModel
import TokenRPC
import TokenStore

/// A line of `audit export`: one JSON object an entry, its fields in a fixed order (docs/audit.md).
enum AuditLine {
    static func write(_ entry: AuditEntry, to writer: ByteWriter) {
        switch entry {
        case .record(let record): write(record, to: writer)
        case .mark(let mark): write(mark, to: writer)
        }
        writer.append("}\n")
    }

    private static func write(_ record: AuditRecord, to writer: ByteWriter) {
        writer.append(#"{"sequence":"#)
        writer.appendInteger(record.sequence)
        writer.append(#","time":"#)
        writer.append(record.time)
        writer.text(#","event":"#, record.event.rawValue)
        writer.text(#","outcome":"#, "success")
        writer.text(#","registration_id":"#, record.registrationID.description)
        writer.text(#","application":"#, record.application.text)
        writer.text(#","project_code":"#, record.project?.text)
        writer.text(#","principal":"#, record.principal.text)
        writer.append(#","uid":"#)
        writer.appendInteger(Int64(record.uid))
        writer.append(#","gid":"#)
        writer.appendInteger(Int64(record.gid))
        writer.process(record.process)
        writer.text(#","fingerprint":"#, record.fingerprint?.description)
        writer.list(#","ended":"#, record.ended) { writer.append($0) }
        writer.list(#","lapsed":"#, record.lapsed) { writer.append($0) }
        writer.list(#","shortened":"#, record.shortened) { token in
            writer.append(#"{"fingerprint":"#)
            writer.append(token.fingerprint)
            writer.append(#","token_expiration":"#)
            writer.append(token.expiration)
            writer.append("}")
        }
        writer.text(#","chain":"#, record.chain.hex)
    }

    static func write(_ presented: EndedPresentation, to writer: ByteWriter) {
        writer.text(#"{"event":"#, "ended_token_presented")
        writer.append(#","time":"#)
        writer.append(presented.time)
        writer.text(#","fingerprint":"#, presented.fingerprint.description)
        writer.text(#","principal":"#, presented.principal.text)
        writer.append(#","uid":"#)
        writer.appendInteger(Int64(presented.uid))
        writer.append(#","gid":"#)
        writer.appendInteger(Int64(presented.gid))
        writer.process(presented.process)
        writer.append(#","count":"#)
        writer.appendInteger(presented.count)
        writer.append("}\n")
    }

    private static func write(_ mark: AuditMark, to writer: ByteWriter) {
        writer.text(#"{"event":"#, "audit_" + mark.reason.rawValue)
        writer.append(#","first":"#)
        writer.appendInteger(mark.first)
        writer.append(#","last":"#)
        writer.appendInteger(mark.last)
        writer.append(#","time":"#)
        writer.append(mark.time)
        writer.text(#","chain":"#, mark.chain.hex)
    }

    /// Reads such a line back.
    /// - Returns: nil for what holds no part of the chain, as alarms.
    /// - Throws: where it is none, or one of its fields is not what it should be.
    static func read(_ line: Data) throws -> AuditEntry? {
        // What has a key twice says one thing to this program, and another to the next.
        let reader = JSONReader()
        guard line.withUnsafeBytes({ reader.read($0) }) == .document else { throw CommandFailure("no JSON object") }
        let fields = try JSONDecoder().decode(Fields.self, from: line)
        guard let time = Instant(text: Array(fields.time.utf8)) else { throw CommandFailure("no time") }
        if let first = fields.first, let last = fields.last {
            guard let reason = AuditMark.Reason(rawValue: String(fields.event.dropFirst("audit_".count))),
                let chain = fields.chain.flatMap({ TokenDigest(hex: $0) }), first > 0, last >= first
            else { throw CommandFailure("no mark") }
            return .mark(AuditMark(first: first, last: last, chain: chain, time: time, reason: reason))
        }
        guard let sequence = fields.sequence else { return nil }
        guard let record = fields.record(sequence: sequence, time: time) else { throw CommandFailure("no record") }
        return .record(record)
    }

    private struct Fields: Decodable {
        struct Shortened: Decodable {
            let fingerprint: String
            let token_expiration: String
        }

        let sequence, first, last: Int64?
        let time, event: String
        let outcome, registration_id, application, project_code, principal, fingerprint, chain: String?
        let unit, invocation_id, comm: String?
        let uid, gid: UInt32?
        let pid: Int32?
        let ended, lapsed: [String]?
        let shortened: [Shortened]?

        func record(sequence: Int64, time: Instant) -> AuditRecord? {
            guard outcome == "success", let event = AuditEvent(rawValue: event), let principal, let uid, let gid,
                let pid,
                let id = registration_id.flatMap({ RegistrationID(text: $0) }),
                let application = application.flatMap({ ApplicationName(recorded: $0) }),
                let chain = chain.flatMap({ TokenDigest(hex: $0) }), sequence > 0
            else { return nil }
            let ended = (ended ?? []).compactMap { Fingerprint(text: $0) }
            let lapsed = (lapsed ?? []).compactMap { Fingerprint(text: $0) }
            let shortened = (shortened ?? []).compactMap { token -> ShortenedToken? in
                guard let fingerprint = Fingerprint(text: token.fingerprint),
                    let end = Instant(text: Array(token.token_expiration.utf8))
                else { return nil }
                return ShortenedToken(fingerprint: fingerprint, expiration: end)
            }
            let project = project_code.flatMap { ProjectCode(bytes: $0) }
            let made = self.fingerprint.flatMap { Fingerprint(text: $0) }
            // Malformed is not absent.
            guard (project == nil) == (project_code == nil), (made == nil) == (self.fingerprint == nil),
                ended.count == self.ended?.count ?? 0, lapsed.count == self.lapsed?.count ?? 0,
                shortened.count == self.shortened?.count ?? 0
            else { return nil }
            return AuditRecord(
                sequence: sequence, time: time, event: event, registrationID: id, application: application,
                project: project, principal: .recorded(principal), uid: uid,
                gid: gid, process: PeerProcess(pid: pid, unit: unit, invocationID: invocation_id, comm: comm),
                fingerprint: made, ended: ended, lapsed: lapsed,
                shortened: shortened, chain: chain)
        }
    }
}

extension ByteWriter {
    fileprivate func process(_ process: PeerProcess) {
        append(#","pid":"#)
        appendInteger(Int64(process.pid))
        text(#","unit":"#, process.unit)
        text(#","invocation_id":"#, process.invocationID)
        text(#","comm":"#, process.comm)
    }

    fileprivate func text(_ key: StaticString, _ text: String?) {
        append(key)
        if let text { appendJSONString(text) } else { append("null") }
    }

    fileprivate func list<Element>(_ key: StaticString, _ elements: [Element], _ write: (Element) -> Void) {
        append(key)
        append("[")
        for (place, element) in elements.enumerated() {
            if place > 0 { append(",") }
            write(element)
        }
        append("]")
    }
}

extension ApplicationName {
    /// A name that was accepted before.
    init?(recorded text: String) {
        var text = text
        guard let name = text.withUTF8({ ApplicationName(bytes: UnsafeRawBufferPointer($0)) }) else { return nil }
        self = name
    }
}

extension ProjectCode {
    fileprivate init?(bytes text: String) {
        var text = text
        guard let code = text.withUTF8({ ProjectCode(bytes: UnsafeRawBufferPointer($0)) }) else { return nil }
        self = code
    }
}

extension TokenDigest {
    /// 64 lower-case hex digits.
    var hex: String {
        [words.0, words.1, words.2, words.3].map { Fingerprint(value: $0).description }.joined()
    }

    init?(hex: String) {
        let digits = Array(hex.utf8)
        guard digits.count == 64 else { return nil }
        var words: [UInt64] = []
        for start in stride(from: 0, to: 64, by: 16) {
            guard let word = Fingerprint(text: String(decoding: digits[start..<start + 16], as: UTF8.self)) else {
                return nil
            }
            words.append(word.value)
        }
        self.init(words: (words[0], words[1], words[2], words[3]))
    }
}
