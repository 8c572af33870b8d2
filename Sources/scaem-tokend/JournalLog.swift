import Glibc
import Logging
import Systemd

/// Logs to the journal natively: a record of fields each, `SCAEM_…` for what the message's metadata holds.
struct JournalLog: LogHandler {
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info
    private let writer: JournalWriter

    init(_ writer: JournalWriter) { self.writer = writer }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        writer.submit(Self.record(event, handlerMetadata: metadata))
    }

    /// The record's fields, as journald wants them. `MESSAGE` is the constant message with its reason, if it has one:
    /// what varies besides stands in fields of its own.
    static func record(_ event: LogEvent, handlerMetadata: Logger.Metadata = [:]) -> [[UInt8]] {
        let said = LogLine(event, handlerMetadata: handlerMetadata)
        var record = [
            field("MESSAGE", said.text), field("PRIORITY", "\(event.level.syslogPriority)"),
            field("SYSLOG_IDENTIFIER", "scaem-tokend"), field("CODE_FILE", event.file),
            field("CODE_LINE", "\(event.line)"), field("CODE_FUNC", event.function),
        ]
        if let id = said.messageID { record.append(field("MESSAGE_ID", id)) }
        if let reason = said.reason { record.append(field("SCAEM_REASON", reason)) }
        for (name, value) in said.fields { record.append(field(fieldName(name), value)) }
        return record
    }

    /// systemd.journal-fields(7): capital letters, digits and underscores, at most 64.
    private static func fieldName(_ key: String) -> String {
        let letters = key.utf8.prefix(58).map { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"): byte - 32
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): byte
            default: UInt8(ascii: "_")
            }
        }
        return "SCAEM_" + String(decoding: letters, as: UTF8.self)
    }

    private static func field(_ name: String, _ value: String) -> [UInt8] {
        Array(name.utf8) + [UInt8(ascii: "=")] + value.utf8.prefix(JournalWriter.largestValueBytes)
    }
}
