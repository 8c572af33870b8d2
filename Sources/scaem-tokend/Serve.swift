import ArgumentParser
import CLinux
import Glibc
import Logging
import Systemd
import TokenModel
import TokenRPC
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
        // Before any other thread and any secret: the keeper that it starts gets a copy of this process.
        let passed = Sockets.Passed()
        let journal = ServiceManager.standardErrorIsJournal ? JournalWriter() : nil
        let logger = Logger(label: "scaem-tokend") { _ -> any LogHandler in
            journal.map { JournalLog($0) } ?? StandardErrorLog()
        }
        // What was logged last is to be read, but a journal that stands still keeps nobody from the end.
        defer { journal?.flush() }
        lockMemory(logger)
        let stored = passed.stored
        let supervisor = Supervisor(logger: logger) {
            StoredConnections.refuse(stored, logger: logger)
            journal?.flush()
        }
        do {
            let daemon = try Daemon(options, passed: passed, supervisor: supervisor, logger: logger)
            daemon.run(until: signals)
        } catch {
            StoredConnections.refuse(passed.stored, logger: logger)
            supervisor?.over()
            throw StartFailure(error).report(to: logger)
        }
    }
}

/// The parts of a running daemon, put together.
private final class Daemon: Sendable {
    private let settings: DaemonSettings
    private let logger: Logger
    private let supervisor: Supervisor?
    private let reloading: Reloading
    private let server: Server
    private let ledger: SQLiteLedger
    private let sockets: Sockets
    private let journal: JournalFeed

    /// Opens the database, then the sockets, then serves.
    /// - Throws: an error whose description says in a sentence what to do.
    init(_ options: CommonOptions, passed: Sockets.Passed, supervisor: Supervisor?, logger: Logger) throws {
        self.logger = logger
        self.supervisor = supervisor
        settings = try DaemonSettings(options)
        raiseDescriptorLimit()
        warnOfFewDescriptors(for: settings.configuration.limits.connections, logger)
        let clock = SystemClock()
        let server = try Server(
            settings: settings.server, clock: clock, directory: SystemUserDirectory(), logger: logger)
        self.server = server
        let others = OtherRecords()
        server.refusals.send { others.put($0) }
        ledger = try SQLiteLedger(
            stateDirectory: settings.paths.stateDirectory, clock: clock, random: SystemRandom(),
            configuration: settings.store,
            log: { event in
                event.write(to: logger)
                others.put(event)
            },
            deliver: { delivery in server.deliver(delivery) })
        do {
            sockets = try Sockets(settings, passed: passed, logger: logger)
            journal = try JournalFeed(
                ledger: ledger, others: others, auditRowsMax: settings.store.auditRowsMax, clock: clock, logger: logger
            ) {
                server.refusals.takeHeldBack()
            }
        } catch {
            ledger.close()
            throw error
        }
        let reloading = Reloading(
            options: options, running: settings, server: server, ledger: ledger, supervisor: supervisor,
            logger: logger)
        self.reloading = reloading
        try server.start(
            ledger: ledger, sockets: sockets.callers, credentialSockets: sockets.credentials, stored: passed.stored,
            keeper: passed.keeper
        ) { reloading.reload() }
        journal.start()
    }

    /// Serves until a signal ends it, and leaves nothing that was asked unanswered.
    func run(until signals: borrowing Signals) {
        logger.report(
            .notice, .ready, "ready", ["socket": "\(settings.paths.socket)", "version": "\(programVersion)"])
        supervisor?.ready(server, ledger)
        ServiceManager.notify("READY=1")
        while signals.next() == SIGHUP {
            _ = reloading.reload()
        }
        logger.report(.notice, .stopping, "stopping: what was asked is still answered")
        ServiceManager.notify("STOPPING=1\nSTATUS=Answering what was asked before the stop.")
        supervisor?.stopping(ledger, drainSeconds: settings.server.drainSeconds)
        server.drain()
        ledger.close()
        journal.finish()
        sockets.remove()
        logger.report(.notice, .stopped, "stopped")
    }
}

/// For the most connections that may be configured, as far as it may be raised: a reload may ask for more than the start.
private func raiseDescriptorLimit() {
    let most = rlim_t(Configuration.Limits.connectionsMax + Server.descriptorsBesideConnections)
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0, limit.rlim_cur < most else { return }
    limit.rlim_cur = min(most, limit.rlim_max)
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
}

/// A descriptor a connection, and what the server and the database need beside them.
func warnOfFewDescriptors(for connections: Int, _ logger: Logger) {
    let needed = rlim_t(connections + Server.descriptorsBesideConnections)
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0, limit.rlim_cur < needed else { return }
    logger.report(
        .warning, .fewDescriptors, "fewer file descriptors than limits.connections needs: raise LimitNOFILE=",
        ["needed": "\(needed)", "allowed": "\(limit.rlim_cur)"])
}
