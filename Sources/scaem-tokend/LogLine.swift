import Logging
import Systemd

/// What a log event says, before it is known to whom: the constant message, the reason if it has one, and its fields.
struct LogLine {
    let text: String
    /// Sorted by name; neither the reason nor the message's id is among them.
    let fields: [(name: String, value: String)]
    let reason: String?
    let messageID: String?

    init(_ event: LogEvent, handlerMetadata: Logger.Metadata) {
        var metadata = handlerMetadata.merging(event.metadata ?? [:]) { $1 }
        messageID = metadata.removeValue(forKey: MessageID.key).map { "\($0)" }
        reason = metadata.removeValue(forKey: "reason").map { "\($0)" }
        text = reason.map { "\(event.message): \($0)" } ?? "\(event.message)"
        fields = metadata.sorted { $0.key < $1.key }.map { ($0.key, "\($0.value)") }
    }
}

extension Logger.Level {
    /// As syslog(3) numbers it.
    var syslogPriority: Int {
        switch self {
        case .trace, .debug: 7
        case .info: 6
        case .notice: 5
        case .warning: 4
        case .error: 3
        case .critical: 2
        }
    }
}
