import Logging
import Synchronization
import Systemd
import TokenServer
import TokenStore

/// Reads the configuration again and puts in force what can change while the daemon runs: for SIGHUP and for the method
/// `reload`, which `systemctl reload` waits for.
final class Reloading: Sendable {
    private let options: CommonOptions
    private let running: DaemonSettings
    private let server: Server
    private let ledger: SQLiteLedger
    private let supervisor: Supervisor?
    private let logger: Logger
    /// SIGHUP and the method come on different threads: the file that was read last is in force. Whether there was one.
    private let hasFile: Mutex<Bool>

    init(
        options: CommonOptions, running: DaemonSettings, server: Server, ledger: SQLiteLedger,
        supervisor: Supervisor?, logger: Logger
    ) {
        self.options = options
        self.running = running
        self.server = server
        self.ledger = ledger
        self.supervisor = supervisor
        self.logger = logger
        hasFile = Mutex(running.hasFile)
    }

    /// - Returns: what is wrong; the old configuration stays in force then.
    func reload() -> [String] { hasFile.withLock { reloadInTurn(&$0) } }

    private func reloadInTurn(_ hasFile: inout Bool) -> [String] {
        ServiceManager.notifyReloading()
        let problems = take(&hasFile)
        for problem in problems {
            logger.report(.error, .configurationKept, "the configuration stays as it was", ["reason": "\(problem)"])
        }
        // Before the caller has its answer: `systemctl reload` is over when that has come.
        ServiceManager.notify("READY=1")
        supervisor?.reloaded(problem: problems.first)
        return problems
    }

    private func take(_ hasFile: inout Bool) -> [String] {
        do throws(ConfigurationError) {
            let settings = try DaemonSettings(options)
            // Whoever moved it away for a moment does not want every limit and credential gone.
            if hasFile, !settings.hasFile {
                throw ConfigurationError(
                    file: settings.configurationFile, "is gone: put it back, or restart the daemon to have the defaults"
                )
            }
            hasFile = settings.hasFile
            warnOfFewDescriptors(for: settings.configuration.limits.connections, logger)
            server.apply(settings.server)
            ledger.setTokensPerOwner(settings.configuration.tokens.perOwner)
            for key in settings.changedForNextStart(since: running) {
                logger.report(
                    .warning, .waitsForNextStart, "a key has changed that takes effect at the next start only",
                    ["reason": "\(key)", "key": "\(key)"])
            }
            logger.report(.notice, .configurationReloaded, "the configuration was read again")
            return []
        } catch {
            return error.lines
        }
    }
}
