import CLinux
import Glibc
import Logging
import Systemd
import TokenModel
import TokenRPC

/// Accepts connections of one listening socket, charges them to their uid, and gives them to a loop.
final class Listener {
    let descriptor: CInt
    private let accounting: Accounting
    private let names: NameService
    private let ownUID: uid_t
    private let logger: Logger
    private let refusals: RefusalLog
    private let assign: (CInt, PeerCredentials, UInt32) -> Void
    /// Given up for a moment when descriptors run out, so that a connection can be accepted and refused rather than
    /// left to wake the loop for ever.
    private var spare: CInt
    /// The kernel gives out the lowest number that is free: one from here on says that only the daemon's own are left.
    private let firstOwnDescriptor: CInt
    private var nextDescriptorReport: Int64 = 0

    /// How many connections one wake accepts: others get their turn between.
    private static let acceptsPerWake = 8

    init(
        descriptor: CInt, services: EventLoop.Services,
        assign: @escaping (_ descriptor: CInt, PeerCredentials, _ account: UInt32) -> Void
    ) {
        self.descriptor = descriptor
        accounting = services.accounting
        names = services.names
        ownUID = services.settings.ownUID
        logger = services.logger
        refusals = services.refusals
        self.assign = assign
        spare = Self.openSpare()
        firstOwnDescriptor = Self.descriptorLimit - Bounds.ownDescriptors
    }

    /// Accepts some of those who wait; the next wake accepts the others.
    func accept() { accept(atMost: Self.acceptsPerWake) }

    /// Accepts all who wait at this moment, as far as the backlog goes.
    func acceptAll() { accept(atMost: Int(ListeningSocket.backlog)) }

    private func accept(atMost count: Int) {
        // Another thread may have been quicker to take the one that was given up.
        if spare < 0 { spare = Self.openSpare() }
        for _ in 0..<count {
            let connection = linux_accept(descriptor)
            if connection >= 0 {
                admit(connection)
            } else if errno == EMFILE || errno == ENFILE {
                refuseOneForLackOfDescriptors()
            } else if errno != EINTR && errno != ECONNABORTED {
                return
            }
        }
    }

    private func admit(_ connection: CInt) {
        guard let credentials = PeerCredentials(descriptor: connection) else {
            logger.report(
                .error, .kernelRefused, "the kernel does not say who a peer is; the connection is closed",
                ["errno": "\(errno)"])
            close(connection)
            return
        }
        guard connection < firstOwnDescriptor else {
            refuse(connection, credentials)
            return reportNoDescriptors()
        }
        let isPrivileged =
            credentials.isOwner(ownUID: ownUID) || credentials.isMember(of: names.lastHeardAdministrators)
        // Whose name is remembered does not need the room of those who have none.
        let isNamed = names.known(credentials.uid, now: MonotonicClock.milliseconds)?.userName != nil
        let account = isNamed ? credentials.uid : credentials.firstAccount
        guard accounting.admitConnection(uid: account, isPrivileged: isPrivileged) else {
            return refuse(connection, credentials)
        }
        assign(connection, credentials, account)
    }

    /// Over a limit: one line with id null, then the close (the contract).
    private func refuse(_ connection: CInt, _ credentials: PeerCredentials?) {
        // On record before it is answered: who was refused finds it there.
        if let credentials, refusals.note("too_many_connections", Asker(nil, credentials)) {
            logger.report(
                .notice, .tooManyConnections, "a connection over the limit was refused", ["uid": "\(credentials.uid)"])
        }
        let writer = ByteWriter()
        MethodFailure.tooManyConnections.writeLine(to: writer)
        // The socket is new and its buffer empty: the line fits at once.
        _ = send(connection, writer.bytes.baseAddress, writer.count, CInt(MSG_NOSIGNAL))
        close(connection)
    }

    private func refuseOneForLackOfDescriptors() {
        guard spare >= 0 else { return }
        close(spare)
        let connection = linux_accept(descriptor)
        if connection >= 0 { refuse(connection, PeerCredentials(descriptor: connection)) }
        spare = Self.openSpare()
        reportNoDescriptors()
    }

    private func reportNoDescriptors() {
        let now = MonotonicClock.milliseconds
        guard now >= nextDescriptorReport else { return }
        nextDescriptorReport = now + Bounds.descriptorReportMilliseconds
        logger.report(
            .error, .noDescriptors,
            "no file descriptors are left for callers: raise LimitNOFILE= or lower limits.connections")
    }

    private static func openSpare() -> CInt { linux_open("/dev/null", O_RDONLY | O_CLOEXEC, 0) }

    private static var descriptorLimit: CInt {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        return CInt(clamping: limit.rlim_cur)
    }

    deinit {
        if spare >= 0 { close(spare) }
    }
}
