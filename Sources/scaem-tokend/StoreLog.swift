import Logging
import Systemd
import TokenServer
import TokenStore

extension StoreEvent {
    /// What the store has to say, in the log's words.
    func write(to logger: Logger) {
        switch self {
        case .opened(let applications, let tokens, let sequence, let milliseconds):
            logger.report(
                .notice, .databaseOpened, "the database is open",
                [
                    "applications": "\(applications)", "tokens": "\(tokens)", "last_sequence": "\(sequence)",
                    "milliseconds": "\(milliseconds)",
                ])
        case .storageRefuses(let error):
            logger.report(
                .error, .storageRefuses, "the disk refuses changes, callers are told to try again later",
                ["reason": "\(error)"])
        case .storageRecovered:
            logger.report(.notice, .storageRecovered, "the disk takes changes again")
        case .commitUnknown(let error):
            logger.report(
                .critical, .commitUnknown,
                "a commit failed in the disk, its callers get no answer and the database is reopened",
                ["reason": "\(error)"])
        case .invariantBroken(let error):
            logger.report(
                .critical, .invariantBroken,
                "a change was rolled back because it broke what must hold; please report this",
                ["reason": "\(error)"])
        case .checkpointFailed(let error):
            logger.report(
                .warning, .checkpointFailed,
                "the write-ahead log could not be folded into the database; it grows until it can",
                ["reason": "\(error)"])
        // Records of their own in the journal (`OtherRecords`), not messages.
        case .auditCut, .endedTokensPresented, .presentationsHeldBack: break
        case .clockSet(let milliseconds):
            logger.report(
                .warning, .clockSet, "somebody has set the wall clock, by which tokens expire",
                ["by_milliseconds": "\(milliseconds)"])
        case .clockBehindRecords(let milliseconds):
            logger.report(
                .warning, .clockBehindRecords, "the wall clock is behind the time of the last change",
                ["behind_milliseconds": "\(milliseconds)"])
        case .randomnessFailed:
            logger.report(.critical, .randomnessFailed, "the system gave no random bytes, so no token was made")
        }
    }
}
