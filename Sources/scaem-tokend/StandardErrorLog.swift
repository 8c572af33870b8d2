import Glibc
import Logging
import Synchronization

/// Logs to standard error, where there is no journal: one line a message, with the level spelled out. Where nobody reads
/// it, lines are dropped and counted: a pipe that is full stops no request and no exit.
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
        Self.dropped.withLock { dropped in
            guard Self.write("scaem-tokend: \(event.level): \(text)\n") else {
                dropped += 1
                return
            }
            if dropped > 0, Self.write("scaem-tokend: warning: log lines were dropped dropped=\(dropped)\n") {
                dropped = 0
            }
        }
    }

    /// One line at a time, so that those of several threads do not mix and none waits for another.
    private static let dropped = Mutex(0)

    /// pipe(7): a pipe that poll(2) finds ready takes so many bytes (PIPE_BUF) without blocking.
    private static let longestLineBytes = 4_096

    /// - Returns: whether it was written, for it is not waited for.
    private static func write(_ line: String) -> Bool {
        var bytes = Array(line.utf8)
        if bytes.count > longestLineBytes {
            bytes.removeLast(bytes.count - longestLineBytes)
            bytes[longestLineBytes - 1] = UInt8(ascii: "\n")
        }
        var ready = pollfd(fd: STDERR_FILENO, events: Int16(POLLOUT), revents: 0)
        guard poll(&ready, 1, 0) == 1, ready.revents & Int16(POLLOUT) != 0 else { return false }
        return Glibc.write(STDERR_FILENO, bytes, bytes.count) == bytes.count
    }
}
