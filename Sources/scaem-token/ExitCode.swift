/// How a command ended, for scripts (sysexits(3) where it has a number for it).
enum ExitCode: Int32 {
    case success = 0
    /// The daemon refused (-32001 to -32004, -32010, -32011), or a token is not active.
    case refused = 1
    /// Wrong arguments, or wrong parameters (-32602).
    case usage = 64
    /// A file or standard input is not what it should be.
    case data = 65
    /// No daemon.
    case unavailable = 69
    /// Something that should not be.
    case software = 70
    /// The output cannot be written.
    case cannotWrite = 73
    /// The connection broke before the answer.
    case connection = 74
    /// Try again later (-32006 to -32009).
    case tryAgain = 75
    /// Not permitted (-32005, or the socket).
    case permission = 77
    /// The daemon's configuration (-32012).
    case configuration = 78

    /// What each means, for the help.
    static let meanings: [(ExitCode, String)] = [
        (.success, "done; for introspect: the token is active"),
        (.refused, "refused by the state of things; for introspect and fingerprint: not active, not one of our tokens"),
        (.usage, "wrong arguments or parameters"),
        (.data, "a file or standard input is not what it should be"),
        (.unavailable, "no daemon"),
        (.software, "an internal error"),
        (.cannotWrite, "the output cannot be written"),
        (.connection, "the connection broke before the answer"),
        (.tryAgain, "try again later"),
        (.permission, "not permitted"),
        (.configuration, "the daemon's configuration is wrong"),
    ]
}
