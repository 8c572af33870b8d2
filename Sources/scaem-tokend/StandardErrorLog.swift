import Glibc
import Logging
import Systemd

/// Logs to standard error: one line a message, with the level as systemd reads it (sd-daemon(3), `<3>`) where standard
/// error is the journal, and spelled out for people where it is not.
struct StandardErrorLog: LogHandler {
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info
    private let isJournal = ServiceManager.standardErrorIsJournal

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let fields = metadata.merging(event.metadata ?? [:]) { $1 }
        let details = fields.sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
        let head = isJournal ? "<\(event.level.syslogPriority)>" : "scaem-tokend: \(event.level): "
        // A name that a caller chose may hold nothing that forges a line of its own.
        let text = "\(event.message)\(details)".map { $0.isNewline ? " " : String($0) }.joined()
        var line = Array((head + text + "\n").utf8)
        line.withUnsafeMutableBytes { bytes in
            // One write a line, so that lines of several threads do not mix. A log that cannot be written stops nothing.
            _ = write(STDERR_FILENO, bytes.baseAddress, bytes.count)
        }
    }
}

extension Logger.Level {
    /// As syslog(3) numbers it.
    fileprivate var syslogPriority: Int {
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
