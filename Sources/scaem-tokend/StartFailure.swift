import ArgumentParser
import Glibc
import Logging
import Systemd
import TokenModel
import TokenServer
import TokenStore

/// Why the daemon does not serve: what is logged and shown, and the status that says whether starting again may help.
struct StartFailure {
    private let lines: [String]
    private let messageID: MessageID
    private let message: Logger.Message
    private let status: ExitCode

    init(_ error: any Error) {
        // What is read of the database after it was opened, the audit's place in the journal for example, is as damaged.
        let sentence = (error as? LedgerReadError)?.sentence
        lines = (sentence ?? String(describing: error)).split(separator: "\n").map(String.init)
        switch error {
        case is ConfigurationError:
            (messageID, message, status) = (.configurationWrong, "the configuration is wrong", .configuration)
        case let error as StoreError where Self.needsPerson.contains(error.code):
            (messageID, message, status) = (.databaseUnusable, "the database cannot be used", .configuration)
        case is ServiceManager.ForeignDescriptor:
            (messageID, message, status) = (.cannotStart, "the daemon cannot start", .configuration)
        case is LedgerReadError:
            (messageID, message, status) = (.databaseUnusable, "the database cannot be used", .configuration)
        default:
            (messageID, message, status) = (.cannotStart, "the daemon cannot start", .failure)
        }
    }

    /// What no further start mends, so that systemd is told not to try (RestartPreventExitStatus=). The others may be over
    /// soon: another program's lock, a disk that is full or away.
    private static let needsPerson: Set<StoreError.Code> = [
        .damaged, .newerSchema, .unsafeDirectory, .readOnly, .alreadyServed,
    ]

    private static let pauseSeconds: UInt32 = 2

    /// Says it in the log, and in a sentence as the state that `systemctl status` shows.
    /// - Returns: the status to exit with.
    func report(to logger: Logger) -> ExitCode {
        for line in lines { logger.report(.critical, messageID, message, ["reason": "\(line)"]) }
        ServiceManager.notify("STATUS=\(lines.first ?? "")")
        // Twenty quick tries use up StartLimitBurst= in seconds, and then the sockets fail, too. At this pace it is never used
        // up: callers wait in the sockets until the disk has room.
        if status == .failure, ServiceManager.isListening { sleep(Self.pauseSeconds) }
        return status
    }
}
