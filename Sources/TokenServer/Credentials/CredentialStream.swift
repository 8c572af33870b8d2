import CLinux
import Glibc

/// How far the answer on a connection came, as the kernel keeps it with the socket: it outlives the daemon with the
/// descriptor in systemd's store, and what the next instance does follows from it alone.
///
/// The mark is written *before* the first byte leaves, so that "marked for nothing" means that no byte has left. It stands
/// in SO_PRIORITY, which means nothing on a Unix socket and which nobody else sets.
struct CredentialStream: Equatable, Sendable {
    enum Mark: CInt {
        case nothing = 0
        /// A token, in one send(2) of all its bytes.
        case token = 1
        /// A refusal, which is longer than what may be read.
        case refusal = 2
    }

    /// What is left to do for a connection that another instance accepted.
    enum Resume: Equatable {
        /// Nothing has left: the unit gets its credential as if it had just asked.
        case answer
        /// The token lies whole in the peer's buffer; the end of the stream is all that it waits for.
        case end
        /// Anything more than what a credential may hold makes the unit fail, whatever has been read before.
        case refuse
        /// The stream has ended, or the peer has gone.
        case forget
    }

    let mark: Mark
    /// Something that was sent has not been read.
    let hasUnread: Bool
    /// Nothing can be sent any more.
    let hasEnded: Bool

    var resume: Resume {
        if hasEnded { return .forget }
        switch mark {
        case .nothing: return hasUnread ? .refuse : .answer
        // 72 bytes are one piece in the socket's buffer: it is there whole or was read whole. Where nothing is there, the
        // mark was set and either nothing left or all was read. Another token behind the first would be a cut one.
        case .token: return hasUnread ? .end : .refuse
        case .refusal: return .refuse
        }
    }

    init(mark: Mark, hasUnread: Bool, hasEnded: Bool) {
        self.mark = mark
        self.hasUnread = hasUnread
        self.hasEnded = hasEnded
    }

    /// Asks the kernel. What it does not say counts as the worst: a refusal that has begun.
    init(of descriptor: CInt) {
        var value: CInt = 0
        var length = socklen_t(MemoryLayout<CInt>.size)
        let said = getsockopt(descriptor, SOL_SOCKET, SO_PRIORITY, &value, &length) == 0
        mark = (said ? Mark(rawValue: value) : nil) ?? .refusal
        hasUnread = linux_unread_bytes(descriptor) != 0
        // Nothing is sent, but a stream that was shut down, or whose peer has closed, says so (unix(7), EPIPE).
        hasEnded = send(descriptor, "", 0, CInt(MSG_NOSIGNAL | MSG_DONTWAIT)) < 0
    }

    /// Says what will be sent from here on.
    /// - Returns: whether the kernel has it.
    static func set(_ mark: Mark, on descriptor: CInt) -> Bool {
        var value = mark.rawValue
        return setsockopt(descriptor, SOL_SOCKET, SO_PRIORITY, &value, socklen_t(MemoryLayout<CInt>.size)) == 0
    }
}

/// What makes a unit fail at its start: more than a credential may be. An empty answer, or one that is cut, would be taken
/// for the credential.
enum RefusalBytes {
    /// systemd reads 1 MiB at most (`CREDENTIAL_SIZE_MAX`) and fails when there is more. The rest is room for a reader
    /// that counts otherwise.
    static let count = (1 << 20) + (1 << 16)
    /// NULs: nobody takes them for a token, and nothing of ours stands in them.
    private static let chunk = [UInt8](repeating: 0, count: 1 << 16)

    /// How a write of some of them ended.
    enum Progress {
        case all
        /// The peer has to read first.
        case blocked(left: Int)
        /// The peer has gone: it read enough, or gave up.
        case gone
    }

    /// Sends as many as the peer takes now.
    static func send(_ left: Int, to descriptor: CInt) -> Progress {
        var left = left
        while left > 0 {
            let sent = Glibc.send(
                descriptor, chunk, min(left, chunk.count), CInt(MSG_NOSIGNAL | MSG_DONTWAIT))
            if sent >= 0 {
                left -= sent
            } else if errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM {
                return .blocked(left: left)
            } else if errno != EINTR {
                return .gone
            }
        }
        return .all
    }
}
