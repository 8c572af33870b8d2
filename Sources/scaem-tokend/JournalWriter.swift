import CLinux
import Glibc
import Logging
import Systemd
import TokenModel
import TokenServer

/// Hands records to journald on a thread of its own, through a bounded ring: a journald that stands still blocks nobody
/// who logs, and no exit. What finds no room is dropped and counted, and the count is a record as soon as one gets out.
final class JournalWriter: @unchecked Sendable {
    // @unchecked: what is below `monitor` is touched only while it is locked.
    private let send: @Sendable ([[UInt8]]) -> CInt
    private let monitor = Monitor()
    private var waiting: [[[UInt8]]] = []
    private var isSending = false
    private var dropped = 0

    /// Records that wait: some seconds of a busy daemon's, about 2 MiB.
    static let capacity = 4_096
    /// No name or sentence of ours is longer; what a stranger's error says may be.
    static let largestValueBytes = 4_096
    /// How long an exit waits for what was logged last. journald takes some ten thousand records a second.
    static let flushMilliseconds = 1_000

    init(send: @escaping @Sendable ([[UInt8]]) -> CInt = { Journal.send($0) }) {
        self.send = send
        // The thread keeps this alive for as long as the process runs: it may be stuck in a send at exit.
        startThread(name: "log") { [self] in run() }
    }

    /// Takes a record, or counts it as dropped.
    func submit(_ record: [[UInt8]]) {
        monitor.locked {
            guard waiting.count < Self.capacity else {
                dropped += 1
                return
            }
            waiting.append(record)
            monitor.wake()
        }
    }

    /// Waits until all has been handed over, but not for long.
    /// - Returns: whether it has been.
    @discardableResult
    func flush(milliseconds: Int = flushMilliseconds) -> Bool {
        let deadline = MonotonicClock.milliseconds + Int64(milliseconds)
        return monitor.locked {
            while isSending || !waiting.isEmpty {
                guard monitor.wait(until: deadline) else { return false }
            }
            return true
        }
    }

    private func run() -> Never {
        while true {
            let (taken, lost) = monitor.locked {
                isSending = false
                if waiting.isEmpty { monitor.wake() }
                while waiting.isEmpty { monitor.wait() }
                isSending = true
                defer {
                    waiting.removeAll(keepingCapacity: true)
                    dropped = 0
                }
                return (waiting, dropped)
            }
            var unsent = lost
            for record in taken where send(record) < 0 { unsent += 1 }
            // Where journald is away nothing gets out, this neither: it is counted on.
            if unsent > 0, send(Self.gap(unsent)) < 0 { monitor.locked { dropped += unsent } }
        }
    }

    private static func gap(_ count: Int) -> [[UInt8]] {
        JournalLog.record(
            LogEvent(
                level: .warning, message: "log records were dropped because journald did not take them",
                metadata: ["dropped": "\(count)", MessageID.key: "\(MessageID.recordsDropped.rawValue)"],
                source: nil, file: #fileID, function: #function, line: #line))
    }
}
