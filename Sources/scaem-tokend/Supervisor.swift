import Glibc
import Logging
import Synchronization
import Systemd
import TokenModel
import TokenServer

/// What systemd hears of the daemon besides its start and stop, on a thread of its own: the watchdog's food, what
/// `systemctl status` shows, and more time for a start or a stop that the disk makes long. There is none without systemd.
final class Supervisor: @unchecked Sendable {
    // @unchecked: what is below `monitor` is touched only while it is locked.
    private let logger: Logger
    /// How often it looks: often enough for the watchdog to bear three looks without an answer.
    private let lookMilliseconds: Int
    private let hasWatchdog: Bool
    private let monitor = Monitor()
    private var phase = Phase.starting
    private var reloadProblem: String?
    private var reloads = 0

    private enum Phase {
        case starting
        case serving(Server, any TokenLedger & WatchedWriter)
        case stopping(any WatchedWriter, drainSeconds: Int64)
        /// Nothing more is said: the last word is somebody else's.
        case over
    }

    /// systemd.service(5), TimeoutStartSec=: a start may take this much longer than the unit says, a piece at a time. A
    /// million tokens load in a second; a long write-ahead log on a slow disk may take minutes.
    static let longestExtensionMilliseconds: Int64 = 900_000
    private static let extensionMicroseconds = 30_000_000
    /// What a stop takes beside the answers to its callers: units that read their refusals, and the closing of the database.
    private static let closingMilliseconds: Int64 = 30_000
    /// No watchdog asks for more: the status is to be of use.
    private static let slowestLookMilliseconds = 5_000

    private let endStart: @Sendable () -> Void

    /// Starts it, or gives nil where no service manager listens.
    /// - Parameter endStart: is called, on its thread, where a start is stopped before it is over; the process ends behind it.
    init?(logger: Logger, endStart: @escaping @Sendable () -> Void) {
        guard ServiceManager.isListening else { return nil }
        self.logger = logger
        self.endStart = endStart
        let watchdog = ServiceManager.watchdogMicroseconds
        hasWatchdog = watchdog != nil
        lookMilliseconds = max(50, min(Self.slowestLookMilliseconds, Int((watchdog ?? .max) / 4_000)))
        startThread(name: "supervisor") { [self] in run() }
    }

    /// The database is open and every loop answers.
    func ready(_ server: Server, _ ledger: any TokenLedger & WatchedWriter) { enter(.serving(server, ledger)) }

    /// The start has failed. What is said of that is not overwritten.
    func over() { enter(.over) }

    /// What was asked is still answered.
    func stopping(_ ledger: any WatchedWriter, drainSeconds: Int64) {
        enter(.stopping(ledger, drainSeconds: drainSeconds))
    }

    /// What was wrong with the configuration at the last reload; nil where nothing was.
    func reloaded(problem: String?) {
        // At once, so that it is there when `systemctl reload` returns; the next look adds the counts.
        ServiceManager.notify("STATUS=\(problem.map(StatusLine.kept(because:)) ?? "The configuration was read again.")")
        monitor.locked {
            reloadProblem = problem
            reloads += 1
            monitor.wake()
        }
    }

    private func enter(_ phase: Phase) {
        monitor.locked {
            self.phase = phase
            monitor.wake()
        }
    }

    // MARK: The thread

    private func run() -> Never {
        var rule = WatchdogRule()
        var status = StatusLine()
        var begun = MonotonicClock.milliseconds
        var isServing = false
        var reloadsShown = 0
        while true {
            let (phase, problem, reloads) = monitor.locked { (self.phase, reloadProblem, self.reloads) }
            if reloads != reloadsShown {
                reloadsShown = reloads
                status.forget()
            }
            switch phase {
            case .over: break
            case .starting:
                // The main thread, which would hear of it, is in the disk; nothing was answered yet.
                if Signals.isStopPending { stopStarting() }
                askForTime(since: begun, "Opening the database")
            case .serving(let server, let ledger):
                isServing = true
                let verdict = rule.look(
                    loops: server.watchedLoops.map { ($0.name, $0.hasAnswered) }, writer: ledger.writerState())
                tell(verdict)
                server.watchedLoops.forEach { $0.ask() }
                ledger.askWriter()
                status.show(server, ledger, verdict, reloadProblem: problem)
            case .stopping(let ledger, let drainSeconds):
                if isServing { begun = MonotonicClock.milliseconds }
                isServing = false
                // No more for what stands still elsewhere: then TimeoutStopSec= ends it.
                let disk = ledger.writerState().inDiskMilliseconds
                let allowed = drainSeconds * 1_000 + Self.closingMilliseconds
                if disk.map({ $0 < WatchdogRule.slowDiskMilliseconds })
                    ?? (MonotonicClock.milliseconds - begun < allowed)
                {
                    askForTime(since: begun, "Answering what was asked before the stop")
                }
            }
            wait()
        }
    }

    private func stopStarting() {
        monitor.locked {
            guard case .starting = phase else { return }
            logger.report(.notice, .stopping, "stopping before the database is open")
            ServiceManager.notify("STOPPING=1\nSTATUS=Stopped before the database was open.")
            endStart()
            // Not exit(3): the main thread is where it is.
            _exit(0)
        }
    }

    private func askForTime(since begun: Int64, _ what: String) {
        let elapsed = MonotonicClock.milliseconds - begun
        guard elapsed < Self.longestExtensionMilliseconds else { return }
        monitor.locked {
            if case .over = phase { return }
            ServiceManager.notify(
                "EXTEND_TIMEOUT_USEC=\(Self.extensionMicroseconds)\nSTATUS=\(what), since \(elapsed / 1_000) s.")
        }
    }

    private func tell(_ verdict: WatchdogRule.Verdict) {
        for part in verdict.newlyStuck {
            logger.report(
                .critical, .partStuck, "a part of the daemon does not answer, so the watchdog is not fed",
                ["part": "\(part)"])
        }
        if verdict.isNewlySlow {
            logger.report(
                .warning, .slowDisk, "changes wait for the disk, introspection goes on",
                ["milliseconds": "\(verdict.diskMilliseconds ?? 0)"])
        }
        if hasWatchdog, verdict.mayFeed { ServiceManager.notify("WATCHDOG=1") }
    }

    /// Until the next look, or until there is something to look at.
    private func wait() {
        let next = MonotonicClock.milliseconds + Int64(lookMilliseconds)
        monitor.locked { _ = monitor.wait(until: next) }
    }
}
