import CLinux
import Glibc

/// A second process that shares the daemon's table of descriptors and does one thing: when the daemon has died, it refuses
/// the units whose connections were accepted and are not in systemd's store.
///
/// Between accept(2) and `FDSTORE=1` a connection is known to the daemon alone. Were it killed there, the kernel would
/// close the connection, and an end of stream without a byte is an empty credential. No call both accepts and hands over,
/// but a table of descriptors lives as long as the last process that uses it (clone(2), CLONE_FILES): so the connection
/// stays open, and the keeper, which finds it by the address that it was accepted at, refuses it.
///
/// Only where systemd passes the credential socket: it starts the next instance after the last process of this one, so
/// locks and descriptors that the keeper holds for some milliseconds are in nobody's way.
public final class CredentialKeeper: @unchecked Sendable {
    // @unchecked: `stored` is memory that both processes share; of a byte, one thread of the daemon writes, and the keeper
    // reads when the daemon is dead.
    private let stored: UnsafeMutablePointer<UInt8>

    /// Descriptors beyond count as not stored: who waits is refused then. LimitNOFILE= is below.
    private static let descriptors = 1 << 17

    /// Starts the keeper. Before the daemon has a second thread or a secret: the keeper gets a copy of its memory.
    /// - Parameters:
    ///   - listeners: the credential sockets that systemd passed.
    ///   - stored: the connections that it passed.
    /// - Returns: nil where the system does not let us; the daemon does without.
    public init?(listeners: [CInt], stored connections: [StoredConnection]) {
        guard let memory = linux_map_shared(Self.descriptors) else { return nil }
        stored = memory.assumingMemoryBound(to: UInt8.self)
        for connection in connections { note(connection.descriptor, isStored: true) }
        let daemon = linux_open_pidfd(getpid())
        guard daemon >= 0 else { return nil }
        switch linux_clone_with_files() {
        case 0: keep(until: daemon, listeners)
        case ..<0:
            close(daemon)
            return nil
        default: break
        }
    }

    /// Notes that systemd has a descriptor, and so the next instance will; before it is closed, that it is another's.
    func note(_ descriptor: CInt, isStored: Bool) {
        guard descriptor < CInt(Self.descriptors) else { return }
        stored[Int(descriptor)] = isStored ? 1 : 0
    }

    /// The keeper's whole life. Nothing is closed, for the table is the daemon's too. All signals are blocked: systemd sends
    /// its SIGTERM, and the watchdog's SIGABRT, to all that is left of a service.
    private func keep(until daemon: CInt, _ listeners: [CInt]) -> Never {
        var all = sigset_t()
        sigfillset(&all)
        sigprocmask(SIG_SETMASK, &all, nil)
        linux_name_thread("credentials")
        var death = pollfd(fd: daemon, events: Int16(POLLIN), revents: 0)
        while poll(&death, 1, -1) < 0 && errno == EINTR {}
        let addresses = listeners.compactMap(Self.address)
        // What the daemon may have raised its own limit to.
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        let end = CInt(min(limit.rlim_max, 1 << 20))
        let orphans = (3..<max(3, end)).filter { descriptor in
            guard !listeners.contains(descriptor), Self.isConnected(descriptor) else { return false }
            guard let address = Self.address(descriptor), addresses.contains(address) else { return false }
            return descriptor >= CInt(Self.descriptors) || stored[Int(descriptor)] == 0
        }
        // Waits for each to be read, for as long as systemd waits for us.
        for orphan in orphans { Self.refuse(orphan) }
        _exit(0)
    }

    private static func refuse(_ descriptor: CInt) {
        let stream = CredentialStream(of: descriptor)
        if stream.resume == .end { shutdown(descriptor, CInt(SHUT_WR)) }
        guard stream.resume == .answer || stream.resume == .refuse else { return }
        let unit = CredentialAddress(peerOf: descriptor)?.unit ?? "unknown"
        // Not natively, so without an id: this process ends at once, and the journal would not know its unit any more.
        let line = Array(
            ("<4>a credential was refused, so that its unit fails to start: \(unit): "
                + "the daemon was killed as it accepted the unit's connection\n").utf8)
        _ = write(STDERR_FILENO, line, line.count)
        _ = CredentialStream.set(.refusal, on: descriptor)
        var left = RefusalBytes.count
        while case .blocked(let rest) = RefusalBytes.send(left, to: descriptor) {
            left = rest
            var room = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
            poll(&room, 1, 1_000)
        }
        shutdown(descriptor, CInt(SHUT_WR))
    }

    private static func isConnected(_ descriptor: CInt) -> Bool {
        var isListening: CInt = 0
        var length = socklen_t(MemoryLayout<CInt>.size)
        return getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &isListening, &length) == 0 && isListening == 0
    }

    /// Where a socket is bound; a connection is bound where it was accepted.
    private static func address(_ descriptor: CInt) -> [UInt8]? {
        var address = sockaddr_un()
        var length = socklen_t(MemoryLayout<sockaddr_un>.size)
        let result = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        guard result == 0, address.sun_family == sa_family_t(AF_UNIX) else { return nil }
        return withUnsafeBytes(of: &address) { Array($0.prefix(Int(length))) }
    }
}
