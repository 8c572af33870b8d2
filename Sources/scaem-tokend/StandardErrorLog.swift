import Glibc
import Logging

/// Logs to standard error, where there is no journal: one line a message, with the level spelled out.
struct StandardErrorLog: LogHandler {
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let said = LogLine(event, handlerMetadata: metadata)
        let details = said.fields.map { " \($0.name)=\($0.value)" }.joined()
        // A name that a caller chose may hold nothing that forges a line of its own.
        let text = "\(said.text)\(details)".map { $0.isNewline ? " " : String($0) }.joined()
        var line = Array("scaem-tokend: \(event.level): \(text)\n".utf8)
        line.withUnsafeMutableBytes { bytes in
            // One write a line, so that lines of several threads do not mix. A log that cannot be written stops nothing.
            _ = write(STDERR_FILENO, bytes.baseAddress, bytes.count)
        }
    }
}
