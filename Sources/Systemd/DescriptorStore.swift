import CLinux
import Glibc

/// systemd's store of descriptors (sd_notify(3), `FDSTORE=1`): what is in it outlives a killed daemon and is passed to
/// the next instance by name. Without systemd there is none, quietly.
///
/// The datagrams are sent here and not by sd_pid_notify_with_fds(3), which waits for a service manager that does not
/// read: an event loop must not. What systemd has in its queue is as safe as what it has stored, for the datagram holds
/// the descriptor.
public final class DescriptorStore: Sendable {
    private let socket: CInt
    private let address: sockaddr_un
    private let addressLength: socklen_t

    /// What a stored descriptor may be called: systemd takes 255 printable ASCII characters without a colon.
    static let longestName = 255

    /// The store that `$NOTIFY_SOCKET` leads to, or nil where there is none.
    public init?() {
        guard let path = getenv("NOTIFY_SOCKET").map({ Array(String(cString: $0).utf8) }) else { return nil }
        var address = sockaddr_un()
        let room = MemoryLayout.size(ofValue: address.sun_path)
        let isAbstract = path.first == UInt8(ascii: "@")
        guard isAbstract || path.first == UInt8(ascii: "/"), path.count < room else { return nil }
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { bytes in
            bytes.copyBytes(from: path)
            if isAbstract { bytes[0] = 0 }
        }
        self.address = address
        // A path's NUL counts, an abstract name has none.
        addressLength = socklen_t(MemoryLayout<sa_family_t>.size + path.count + (isAbstract ? 0 : 1))
        socket = Glibc.socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard socket >= 0 else { return nil }
    }

    /// Puts a descriptor into the store under a name of its own.
    /// - Returns: whether the service manager has it; false with errno where its queue is full.
    public func put(_ descriptor: CInt, name: String) -> Bool {
        precondition(name.utf8.count <= Self.longestName, "systemd would store it under another name")
        return send("FDSTORE=1\nFDNAME=\(name)", descriptor)
    }

    /// Takes a descriptor out of the store; closing it here does not.
    /// - Returns: false where it is worth another try, since the service manager's queue is full.
    public func remove(name: String) -> Bool { send("FDSTOREREMOVE=1\nFDNAME=\(name)", -1) || errno != EAGAIN }

    private func send(_ state: String, _ descriptor: CInt) -> Bool {
        let bytes = Array(state.utf8)
        return withUnsafePointer(to: address) { address in
            var sent: Int
            repeat {
                sent = linux_send_with_descriptor(socket, address, addressLength, bytes, bytes.count, descriptor)
            } while sent < 0 && errno == EINTR
            return sent == bytes.count
        }
    }

    deinit { close(socket) }
}
