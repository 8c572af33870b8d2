import Logging
import TokenStore

extension StoreEvent {
    /// What the store has to say, in the log's words.
    func write(to logger: Logger) {
        switch self {
        case .opened(let applications, let tokens, let sequence, let milliseconds):
            logger.notice(
                "the database is open",
                metadata: [
                    "applications": "\(applications)", "tokens": "\(tokens)", "sequence": "\(sequence)",
                    "milliseconds": "\(milliseconds)",
                ])
        case .storageRefuses(let error):
            logger.error("the disk refuses changes, callers are told to try again later: \(error)")
        case .storageRecovered:
            logger.notice("the disk takes changes again")
        case .commitUnknown(let error):
            logger.critical(
                "a commit failed in the disk, its callers get no answer and the database is reopened: \(error)")
        case .invariantBroken(let error):
            logger.critical("a change was rolled back because it broke what must hold; please report this: \(error)")
        case .checkpointFailed(let error):
            logger.warning("the write-ahead log could not be folded into the database; it grows until it can: \(error)")
        case .auditOverCap(let first, let last):
            logger.warning(
                "audit records went before their time, because there were more than audit.rows_max",
                metadata: ["first": "\(first)", "last": "\(last)"])
        // A record of its own in the journal (`OtherRecords`), not a message.
        case .endedTokensPresented: break
        case .randomnessFailed:
            logger.critical("the system gave no random bytes, so no token was made")
        }
    }
}
