import Glibc
import Logging
import Systemd
import TokenServer

/// The sockets that the daemon serves: those that systemd passed, or its own.
struct Sockets: Sendable {
    /// Callers connect here.
    let callers: [ListeningSocket]
    /// systemd connects here, for a unit's LoadCredential=.
    let credentials: [ListeningSocket]

    /// `FileDescriptorName=` of the credential socket's unit, and the name of its file.
    private static let credentialName = "credential"
    /// Whose members may connect to the system's daemon.
    private static let callersGroup = "scaem"

    /// What systemd passed, taken once at the very start: what fails after it must still refuse those who wait.
    struct Passed: Sendable {
        fileprivate let listening: [ServiceManager.PassedSocket]
        private let foreign: ServiceManager.ForeignDescriptor?
        /// Units that an earlier instance accepted and did not answer.
        let stored: [StoredConnection]
        /// Refuses those who were accepted by an instance that was killed before systemd had them.
        let keeper: CredentialKeeper?

        init() {
            let passed = ServiceManager.passedDescriptors()
            let isStored = { (name: String) in name.hasPrefix(StoredConnection.namePrefix) }
            stored = passed.filter { isStored($0.name) && !$0.isListeningSocket }
                .map { StoredConnection(descriptor: $0.descriptor, name: $0.name) }
            listening = passed.filter(\.isListeningSocket)
            foreign = passed.first { !$0.isListeningSocket && !isStored($0.name) }
                .map { ServiceManager.ForeignDescriptor(name: $0.name) }
            let credentials = listening.filter { $0.name == Sockets.credentialName }.map(\.descriptor)
            keeper = credentials.isEmpty ? nil : CredentialKeeper(listeners: credentials, stored: stored)
        }

        fileprivate func check() throws(ServiceManager.ForeignDescriptor) {
            if let foreign { throw foreign }
        }
    }

    /// Opens what systemd does not pass.
    /// - Throws: an error whose description says in a sentence what to do.
    init(_ settings: DaemonSettings, passed: Passed, logger: Logger) throws {
        try passed.check()
        guard passed.listening.isEmpty else {
            callers = passed.listening.filter { $0.name != Self.credentialName }
                .map { ListeningSocket(passed: $0.descriptor) }
            credentials = passed.listening.filter { $0.name == Self.credentialName }
                .map { ListeningSocket(passed: $0.descriptor) }
            reportOtherPaths(settings, logger)
            if credentials.isEmpty, !settings.configuration.credentials.isEmpty {
                logger.report(
                    .warning, .noCredentialSocket,
                    "no socket with FileDescriptorName=credential was passed: the configured units get no credentials")
            }
            return
        }
        callers = [try Self.openCallers(settings, logger)]
        do {
            credentials = try Self.openCredentials(settings, logger)
        } catch {
            for socket in callers { socket.remove() }
            throw error
        }
    }

    /// Where the socket is, the socket unit says; what is said of it elsewhere is where others look.
    private func reportOtherPaths(_ settings: DaemonSettings, _ logger: Logger) {
        let bound = callers.compactMap(\.boundPath)
        let said = Set([settings.paths.socket, settings.configuration.server.socket].compactMap(\.self))
        guard let place = bound.first else { return }
        for path in said.subtracting(bound).sorted() where !bound.contains(where: { Self.isSame($0, path) }) {
            logger.report(
                .warning, .socketElsewhere,
                "the socket unit's socket is elsewhere than the configuration or its default says, where reload looks for it",
                ["socket": "\(place)", "said": "\(path)"])
        }
    }

    /// By another way to it, as through /var/run.
    private static func isSame(_ one: String, _ other: String) -> Bool {
        var (first, second) = (stat(), stat())
        return stat(one, &first) == 0 && stat(other, &second) == 0 && first.st_dev == second.st_dev
            && first.st_ino == second.st_ino
    }

    /// Ends all; files that were made here are removed.
    func remove() {
        for socket in callers + credentials { socket.remove() }
    }

    private static func openCallers(_ settings: DaemonSettings, _ logger: Logger) throws -> ListeningSocket {
        guard geteuid() == 0 else {
            return try ListeningSocket(path: settings.paths.socket, mode: 0o600, group: nil)
        }
        let group = try SystemUserDirectory().groupID(callersGroup)
        if group == nil {
            logger.report(
                .warning, .noCallersGroup,
                "the group \(callersGroup) does not exist, so only root can connect: create it, then start again")
        }
        return try ListeningSocket(path: settings.paths.socket, mode: 0o660, group: group)
    }

    /// Beside the callers' socket. Who has no unit to serve can do without.
    private static func openCredentials(_ settings: DaemonSettings, _ logger: Logger) throws -> [ListeningSocket] {
        let path = "\(settings.paths.socketFolder)\(credentialName).sock"
        do {
            return [try ListeningSocket(path: path, mode: 0o600, group: nil)]
        } catch {
            guard settings.configuration.credentials.isEmpty else { throw error }
            logger.report(
                .notice, .noCredentialSocket, "there is no credential socket, which no configured unit needs",
                ["reason": "\(error)"])
            return []
        }
    }
}
