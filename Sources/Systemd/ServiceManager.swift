import CLinux
import CSystemd
import Glibc

/// The service manager's side of the daemon: sd_notify(3) and sd_listen_fds(3). Without systemd every call is quietly
/// without effect.
public enum ServiceManager {
    /// A descriptor that systemd passed: a socket that it listens on for us, or one that was put into its store.
    public struct PassedSocket: Sendable {
        /// Close-on-exec.
        public let descriptor: CInt
        /// `FileDescriptorName=` of its unit, or the name it was stored under.
        public let name: String
        /// Whether it is a Unix stream socket that listens.
        public let isListeningSocket: Bool
    }

    /// Sends a state to the service manager, as sd_notify(3) words it: `READY=1`, `STATUS=…`, `STOPPING=1`.
    public static func notify(_ state: String) {
        sd_notify(0, state)
    }

    /// A descriptor was passed that is no listening Unix stream socket.
    public struct ForeignDescriptor: Error, CustomStringConvertible, Sendable {
        let name: String

        /// Names the descriptor.
        public init(name: String) { self.name = name }

        /// What is wrong and what to do.
        public var description: String {
            "systemd passed a descriptor named \(name) that is no listening Unix stream socket: "
                + "give the socket unit ListenStream= with a path"
        }
    }

    /// Says that the configuration is being read again; `READY=1` ends that (sd_notify(3), `RELOADING=1`).
    public static func notifyReloading() {
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        notify("RELOADING=1\nMONOTONIC_USEC=\(now.tv_sec * 1_000_000 + now.tv_nsec / 1_000)")
    }

    /// Whether a service manager listens to `notify`.
    public static var isListening: Bool { getenv("NOTIFY_SOCKET") != nil }

    /// `WatchdogSec=`, or nil where nobody watches (sd_watchdog_enabled(3)).
    public static var watchdogMicroseconds: UInt64? {
        var microseconds: UInt64 = 0
        return sd_watchdog_enabled(0, &microseconds) > 0 ? microseconds : nil
    }

    /// What systemd passed, close-on-exec; read once, for the environment that names them is cleared.
    public static func passedDescriptors() -> [PassedSocket] {
        var names: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
        let count = sd_listen_fds_with_names(1, &names)
        guard count > 0 else { return [] }
        defer {
            for index in 0..<Int(count) { free(names?[index]) }
            free(names)
        }
        return (0..<Int(count)).map { index in
            let descriptor = SD_LISTEN_FDS_START + CInt(index)
            return PassedSocket(
                descriptor: descriptor, name: names?[index].map { String(cString: $0) } ?? "unknown",
                isListeningSocket: sd_is_socket_unix(descriptor, CInt(SOCK_STREAM.rawValue), 1, nil, 0) > 0)
        }
    }

    /// The unit that a process belongs to (sd_pid_get_unit(3)), or nil. For a record, never for a decision: the pid may
    /// be another process's by now.
    public static func unit(ofProcess pid: Int32) -> String? {
        var unit: UnsafeMutablePointer<CChar>?
        guard pid > 0, sd_pid_get_unit(pid, &unit) >= 0, let unit else { return nil }
        defer { free(unit) }
        return String(cString: unit)
    }

    /// The number of a unit's latest start, 32 hexadecimal digits, or nil where systemd has none. One readlink(2) in memory:
    /// systemd keeps a link for each unit that runs.
    public static func invocationID(ofUnit unit: String) -> String? {
        guard !unit.utf8.contains(UInt8(ascii: "/")) else { return nil }
        var bytes = [UInt8](repeating: 0, count: 33)
        let count = readlink("/run/systemd/units/invocation:\(unit)", &bytes, bytes.count)
        return count == 32 ? String(decoding: bytes[..<32], as: UTF8.self) : nil
    }

    /// Whether standard error goes straight to the journal (systemd.exec(5), `$JOURNAL_STREAM`).
    public static var standardErrorIsJournal: Bool {
        guard let stream = getenv("JOURNAL_STREAM") else { return false }
        var status = stat()
        guard fstat(STDERR_FILENO, &status) == 0 else { return false }
        return String(cString: stream) == "\(status.st_dev):\(status.st_ino)"
    }
}
