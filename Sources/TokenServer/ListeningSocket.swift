import CLinux
import Glibc

/// A Unix socket that callers connect to: made here at a path, or passed by systemd.
public final class ListeningSocket: @unchecked Sendable {
    // @unchecked: nothing in it changes after init but in `remove`, which the owner calls once, after the loops let go.
    /// Non-blocking, listening.
    public let descriptor: CInt
    private let path: String?
    private let lock: CInt

    /// Why a socket cannot be served at a path, and what to do about it.
    public struct Failure: Error, CustomStringConvertible, Sendable {
        /// One sentence.
        public let description: String
    }

    /// Connections that wait to be accepted: what net.core.somaxconn allows at most, which the kernel cuts it to.
    static let backlog: CInt = 4_096
    /// unix(7): sun_path holds 108 bytes with its NUL.
    public static let longestPathBytes = 107

    /// Where it was bound; nil for one without a path.
    public var boundPath: String? {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: Self.longestPathBytes + 1) { room in
            let count = linux_socket_path(descriptor, room.baseAddress)
            return count > 0 ? String(decoding: UnsafeRawBufferPointer(room)[..<count], as: UTF8.self) : nil
        }
    }

    /// Takes over a socket that systemd listens on.
    public init(passed descriptor: CInt) {
        self.descriptor = descriptor
        path = nil
        lock = -1
        let flags = fcntl(descriptor, F_GETFL)
        _ = fcntl(descriptor, F_SETFL, flags | O_NONBLOCK)
    }

    /// Makes the socket at `path` and listens. A socket file that nobody serves is removed, one that is served never.
    /// - Parameters:
    ///   - mode: its permissions, e.g. 0660.
    ///   - group: its group, or nil to leave it.
    /// - Throws: `Failure` with a sentence that says what to do.
    public init(path: String, mode: UInt32, group: UInt32?) throws {
        guard path.utf8.count <= Self.longestPathBytes else {
            throw Failure(description: "the socket's path is longer than \(Self.longestPathBytes) bytes: \(path)")
        }
        try Self.prepareDirectory(of: path)
        lock = try Self.takeLock(path + ".lock")
        do {
            try Self.removeStale(path)
            descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
            guard descriptor >= 0 else { throw Failure(description: Self.sentence("cannot make a socket", path)) }
        } catch {
            close(lock)
            throw error
        }
        self.path = path
        do {
            // The umask leaves it to us alone until mode and group are right; nobody can connect before listen(2).
            guard withAddress(path, { bind(descriptor, $0, $1) }) == 0 else {
                throw Failure(description: Self.sentence("cannot bind the socket", path))
            }
            if let group, chown(path, uid_t.max, group) != 0 {
                throw Failure(description: Self.sentence("cannot give the socket to its group", path))
            }
            guard chmod(path, mode) == 0, listen(descriptor, Self.backlog) == 0 else {
                throw Failure(description: Self.sentence("cannot listen on the socket", path))
            }
        } catch {
            remove()
            throw error
        }
    }

    /// Stops listening and removes the socket file, if it is one that was made here.
    public func remove() {
        close(descriptor)
        guard let path else { return }
        unlink(path)
        // The lock's file stays: whoever removes one that another has just opened hands the path to two daemons.
        close(lock)
    }

    private static func prepareDirectory(of path: String) throws {
        let directory = String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
        guard !directory.isEmpty else { return }
        if mkdir(directory, 0o755) == 0 { chmod(directory, 0o755) }
        var status = stat()
        guard stat(directory, &status) == 0 else {
            throw Failure(description: sentence("cannot use the socket's directory", directory))
        }
        let writableByOthers = status.st_mode & 0o022 != 0 && status.st_mode & 0o1000 == 0
        guard status.st_uid == 0 || status.st_uid == geteuid(), !writableByOthers else {
            throw Failure(
                description: "the socket's directory \(directory) may be changed by other users: "
                    + "give it to root or to this user, mode 0755")
        }
    }

    private static func takeLock(_ path: String) throws -> CInt {
        let lock = linux_open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard lock >= 0 else { throw Failure(description: sentence("cannot open the socket's lock", path)) }
        guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
            let reason =
                errno == EWOULDBLOCK
                ? "another daemon serves this socket: stop it, or choose another --socket (\(path) is locked)"
                : sentence("cannot lock the socket", path)
            close(lock)
            throw Failure(description: reason)
        }
        return lock
    }

    private static func removeStale(_ path: String) throws {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFSOCK else {
            throw Failure(description: "\(path) is there already and is not a socket: choose another --socket")
        }
        let probe = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
        defer { close(probe) }
        let result = withAddress(path) { connect(probe, $0, $1) }
        guard result != 0, errno == ECONNREFUSED else {
            throw Failure(description: "\(path) is served by another process: stop it, or choose another --socket")
        }
        guard unlink(path) == 0 || errno == ENOENT else {
            throw Failure(description: sentence("cannot remove the stale socket", path))
        }
    }

    private static func sentence(_ what: String, _ path: String) -> String {
        "\(what) \(path): \(String(cString: strerror(errno)))"
    }
}

/// Calls with a `sockaddr_un` of the path, which must fit.
private func withAddress(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> CInt) -> CInt {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { room in
        room.copyBytes(from: path.utf8.prefix(ListeningSocket.longestPathBytes))
    }
    return withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
    }
}
