import ArgumentParser
import CLinux
import Glibc
import Logging
import Systemd
import TokenModel
import TokenServer
import TokenStore

/// `serve`: the daemon. Arguments, parts, ready, wait for a signal, stop.
struct Serve: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Runs the daemon until SIGTERM or SIGINT.")

    @OptionGroup var options: CommonOptions

    func run() throws {
        umask(0o077)
        _ = linux_set_dumpable(0)
        let signals = Signals()
        let logger = Logger(label: "scaem-tokend") { _ in StandardErrorLog() }
        let passed = Sockets.Passed()
        do {
            let daemon = try Daemon(options, passed: passed, logger: logger)
            daemon.run(until: signals)
        } catch {
            StoredConnections.refuse(passed.stored, logger: logger)
            // One sentence that says what to do, also as the state that `systemctl status` shows.
            let lines = String(describing: error).split(separator: "\n")
            for line in lines { logger.critical("\(line)") }
            ServiceManager.notify("STATUS=\(lines.first ?? "")")
            throw error is ConfigurationError ? ExitCode.configuration : ExitCode.failure
        }
    }
}

/// The parts of a running daemon, put together.
private final class Daemon: Sendable {
    private let settings: DaemonSettings
    private let options: CommonOptions
    private let logger: Logger
    private let server: Server
    private let ledger: SQLiteLedger
    private let sockets: Sockets

    /// Opens the database, then the sockets, then serves.
    /// - Throws: an error whose description says in a sentence what to do.
    init(_ options: CommonOptions, passed: Sockets.Passed, logger: Logger) throws {
        self.options = options
        self.logger = logger
        settings = try DaemonSettings(options)
        raiseDescriptorLimit(for: settings.configuration.limits.connections, logger)
        let clock = SystemClock()
        let server = try Server(
            settings: settings.server, clock: clock, directory: SystemUserDirectory(), logger: logger)
        self.server = server
        ledger = try SQLiteLedger(
            stateDirectory: settings.paths.stateDirectory, clock: clock, random: SystemRandom(),
            configuration: settings.store, log: { event in event.write(to: logger) },
            deliver: { delivery in server.deliver(delivery) })
        do {
            sockets = try Sockets(settings, passed: passed, logger: logger)
        } catch {
            ledger.close()
            throw error
        }
        try server.start(
            ledger: ledger, sockets: sockets.callers, credentialSockets: sockets.credentials, stored: passed.stored,
            keeper: passed.keeper
        ) { [settings, ledger] in
            Self.reload(options, running: settings, server: server, ledger: ledger, logger: logger)
        }
    }

    /// Serves until a signal ends it, and leaves nothing that was asked unanswered.
    func run(until signals: borrowing Signals) {
        logger.notice("ready", metadata: ["socket": "\(settings.paths.socket)", "version": "\(programVersion)"])
        ServiceManager.notify("READY=1\nSTATUS=Serving \(settings.paths.socket).")
        while signals.next() == SIGHUP {
            for problem in Self.reload(options, running: settings, server: server, ledger: ledger, logger: logger) {
                logger.error("the configuration stays as it was: \(problem)")
            }
        }
        logger.notice("stopping: what was asked is still answered")
        ServiceManager.notify("STOPPING=1\nSTATUS=Answering what was asked before the stop.")
        server.drain()
        ledger.close()
        sockets.remove()
        logger.notice("stopped")
    }

    /// Reads the configuration again and puts in force what can change while the daemon runs.
    /// - Returns: what is wrong; the old configuration stays in force then.
    private static func reload(
        _ options: CommonOptions, running: DaemonSettings, server: Server, ledger: SQLiteLedger, logger: Logger
    ) -> [String] {
        do throws(ConfigurationError) {
            let settings = try DaemonSettings(options)
            server.apply(settings.server)
            ledger.setTokensPerOwner(settings.configuration.tokens.perOwner)
            for key in settings.changedForNextStart(since: running) {
                logger.warning("\(key) has changed, which takes effect at the next start")
            }
            logger.notice("the configuration was read again")
            return []
        } catch {
            return error.lines
        }
    }
}

/// A descriptor a connection, and what the server and the database need beside them.
private func raiseDescriptorLimit(for connections: Int, _ logger: Logger) {
    let needed = rlim_t(connections + Server.descriptorsBesideConnections)
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0, limit.rlim_cur < needed else { return }
    limit.rlim_cur = min(needed, limit.rlim_max)
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    if limit.rlim_cur < needed {
        logger.warning(
            "fewer file descriptors than limits.connections needs: raise LimitNOFILE=",
            metadata: ["needed": "\(needed)", "allowed": "\(limit.rlim_cur)"])
    }
}
