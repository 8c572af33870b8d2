public import Logging
public import Systemd

extension Logger {
    /// Logs what an administrator may want to look up: a constant message with its id, and what varies as fields. A field
    /// `reason` is a sentence for people, shown behind the message.
    public func report(
        _ level: Logger.Level, _ id: MessageID, _ message: Logger.Message, _ fields: Logger.Metadata = [:],
        file: String = #fileID, function: String = #function, line: UInt = #line
    ) {
        var metadata = fields
        metadata[MessageID.key] = "\(id.rawValue)"
        log(level: level, message, metadata: metadata, file: file, function: function, line: line)
    }
}
