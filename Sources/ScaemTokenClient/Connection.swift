import CLinux
import Glibc
import TokenRPC

/// One connection to the daemon: bytes out, lines in, each with an end in time. It knows nothing of messages.
final class Connection {
    private let path: String
    private var descriptor: Int32 = -1
    private let buffer = ReceiveBuffer()
    /// Whether this path was ever connected: then its absence is a restart rather than a missing daemon.
    private var wasOpen = false

    init(path: String) { self.path = path }

    deinit { close() }

    var isOpen: Bool { descriptor >= 0 }

    func close() {
        buffer.wipe()
        guard descriptor >= 0 else { return }
        _ = Glibc.close(descriptor)
        descriptor = -1
    }

    /// Connects, unless it is connected. Tries again while that is worth it (`ConnectPatience`), at most until
    /// `deadline`.
    func open(deadline: Int64) throws(TokenClientError) {
        guard descriptor < 0 else { return }
        let began = MonotonicTime.milliseconds()
        var pause = RetryRule.firstPauseMilliseconds
        while true {
            let error = connectOnce()
            guard error != 0 else {
                wasOpen = true
                return
            }
            let patience: Int64
            switch error {
            case EINTR: continue
            case ENOENT: patience = wasOpen ? ConnectPatience.refusedMilliseconds : ConnectPatience.absentMilliseconds
            case ECONNREFUSED: patience = ConnectPatience.refusedMilliseconds
            case EAGAIN: patience = ConnectPatience.fullMilliseconds
            default: patience = 0
            }
            guard MonotonicTime.milliseconds() + pause < min(began + patience, deadline) else {
                throw connectError(error)
            }
            MonotonicTime.sleep(milliseconds: pause)
            pause = min(pause * 2, RetryRule.longestPauseMilliseconds)
        }
    }

    /// One attempt; 0 or the errno.
    private func connectOnce() -> Int32 {
        guard var address = socketAddress(path) else { return ENAMETOOLONG }
        let socket = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard socket >= 0 else { return errno }
        // A blocking connect waits in the kernel's queue for a full backlog; without this bound it could for ever.
        setTimeout(socket, SO_SNDTIMEO, milliseconds: ConnectPatience.fullMilliseconds)
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else {
            let error = errno
            _ = Glibc.close(socket)
            return error
        }
        descriptor = socket
        return 0
    }

    /// Sends all of `bytes`. Where it throws, the last byte has not left: the daemon will not execute the line.
    func send(_ bytes: UnsafeRawBufferPointer, deadline: Int64) throws(TokenClientError) {
        var sent = 0
        while sent < bytes.count {
            setTimeout(descriptor, SO_SNDTIMEO, milliseconds: max(1, deadline - MonotonicTime.milliseconds()))
            guard let start = bytes.baseAddress else { return }
            let count = Glibc.send(descriptor, start + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
            if count >= 0 {
                sent += count
            } else if errno != EINTR {
                throw TokenClientError(
                    .notSent, "the connection broke before the request had left", systemError: errno)
            }
        }
    }

    /// The next line without its end; good until the next call of anything here.
    /// - Parameter deadline: until when it may take; nil: for ever.
    func receiveLine(deadline: Int64?) throws(TokenClientError) -> UnsafeRawBufferPointer {
        while true {
            if let line = buffer.nextLine() { return line }
            guard let room = buffer.room() else {
                throw TokenClientError(.malformedAnswer, "the answer is longer than any answer may be")
            }
            // 0 switches the bound off: wait for ever.
            let left = deadline.map { max(1, $0 - MonotonicTime.milliseconds()) } ?? 0
            setTimeout(descriptor, SO_RCVTIMEO, milliseconds: left)
            let count = recv(descriptor, room.baseAddress, room.count, 0)
            if count > 0 {
                buffer.filled(count)
            } else if count == 0 {
                throw TokenClientError(.connectionBroken, "the daemon closed the connection before its answer")
            } else if errno == EAGAIN {
                throw TokenClientError(.timedOut, "the daemon did not answer in time", systemError: errno)
            } else if errno != EINTR {
                throw TokenClientError(
                    .connectionBroken, "the connection broke before the answer", systemError: errno)
            }
        }
    }

    /// Overwrites what was received.
    func wipe() { buffer.wipe() }

    private func connectError(_ error: Int32) -> TokenClientError {
        switch error {
        case ENAMETOOLONG:
            return TokenClientError(
                .invalidSocketPath, "the socket's path must have 1 to \(SocketPath.maxBytes) bytes", systemError: error)
        case EACCES, EPERM:
            return TokenClientError(.connectForbidden, "connecting to \(path) is not permitted", systemError: error)
        case EAGAIN:
            return TokenClientError(
                .notAccepted, "the daemon at \(path) does not take connections now", systemError: error)
        case EMFILE, ENFILE, ENOMEM, ENOBUFS:
            return TokenClientError(
                .system, "no socket can be made: \(errorText(error))", systemError: error)
        default:
            return TokenClientError(
                .noDaemon, "no daemon listens at \(path) (\(errorText(error)))", systemError: error)
        }
    }
}

/// unix(7): nil where the path does not fit.
private func socketAddress(_ path: String) -> sockaddr_un? {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    guard !bytes.isEmpty, bytes.count <= SocketPath.maxBytes else { return nil }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    return address
}

private func setTimeout(_ socket: Int32, _ option: Int32, milliseconds: Int64) {
    var time = timeval(tv_sec: Int(milliseconds / 1_000), tv_usec: Int(milliseconds % 1_000) * 1_000)
    // Fails only for a descriptor that is none, which the call that follows reports.
    _ = setsockopt(socket, SOL_SOCKET, option, &time, socklen_t(MemoryLayout<timeval>.size))
}

/// The system's words for an errno.
func errorText(_ error: Int32) -> String {
    guard let text = strerror(error) else { return "error \(error)" }
    return String(cString: text)
}

/// The clock that deadlines are measured by: it does not jump.
enum MonotonicTime {
    static func milliseconds() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000
    }

    static func sleep(milliseconds: Int64) {
        var request = timespec(tv_sec: Int(milliseconds / 1_000), tv_nsec: Int(milliseconds % 1_000) * 1_000_000)
        var left = timespec()
        while nanosleep(&request, &left) != 0 && errno == EINTR { request = left }
    }
}
