import TokenRPC

/// When a call is tried again by itself, and after which pause. Pure: no clock, no I/O.
///
/// Tried again is only what changes nothing by being asked twice: what the daemon says it did not do for now (-32006,
/// -32008), a request that did not leave whole (the daemon does not execute a line without its end), and, for methods
/// that only read, a connection that broke before the answer. Never a mutation whose answer was lost.
struct RetryRule {
    /// Pauses grow from here, where the daemon names none, ...
    static let firstPauseMilliseconds: Int64 = 5
    /// ... to here: a restart of the daemon takes some tens of milliseconds.
    static let longestPauseMilliseconds: Int64 = 200

    /// Whether the method only reads.
    let isReadOnly: Bool
    private var nextPauseMilliseconds = RetryRule.firstPauseMilliseconds

    init(isReadOnly: Bool) { self.isReadOnly = isReadOnly }

    /// What to wait before the next attempt; nil: do not try again.
    mutating func pauseMilliseconds(after error: TokenClientError) -> Int64? {
        switch error.code {
        case .notSent:
            break
        case .connectionBroken:
            guard isReadOnly else { return nil }
        case .refused:
            guard error.knownCode == .busy || error.knownCode == .shuttingDown else { return nil }
        default:
            // Connecting has its own patience, and a timeout has used the caller's up.
            return nil
        }
        let own = nextPauseMilliseconds
        nextPauseMilliseconds = min(nextPauseMilliseconds * 2, Self.longestPauseMilliseconds)
        return max(error.retryAfterMilliseconds ?? 0, own)
    }
}

/// How long a connect that finds nobody is tried again. A socket that does not exist at all is mostly a daemon that
/// does not run: that must be said fast. One that refuses, or that was there before, is more likely restarting.
struct ConnectPatience {
    static let absentMilliseconds: Int64 = 300
    static let refusedMilliseconds: Int64 = 1_000
    /// How long the kernel may hold a connect while the daemon's backlog is full (EAGAIN after that).
    static let fullMilliseconds: Int64 = 5_000
}
