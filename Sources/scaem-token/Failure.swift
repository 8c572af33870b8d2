import Glibc
import ScaemTokenClient
import TokenRPC

/// Why a command failed: one plain line on standard error, with what to do next, and the exit code. Never a token.
struct Failure: Error {
    let exitCode: ExitCode
    let message: String

    init(_ exitCode: ExitCode, _ message: String) {
        self.exitCode = exitCode
        self.message = message
    }

    /// With the operating system's words for `error` behind it.
    init(_ exitCode: ExitCode, _ message: String, errno error: Int32) {
        self.init(exitCode, message + ": " + String(cString: strerror(error)))
    }

    /// Writes the line.
    func report() { Failure.report(message) }

    /// Writes a line that is not, or not only, about a failure.
    static func report(_ message: String) {
        var line = Array("scaem-token: ".utf8)
        // Names of files and what a daemon says could hold anything: it stays one line, and the terminal unharmed.
        line += TextRendering.harmless(message.utf8)
        line.append(UInt8(ascii: "\n"))
        // There is nobody left to tell where this fails.
        line.withUnsafeBytes { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }
}

/// How the client's errors end a command.
extension Failure {
    /// - Parameters:
    ///   - isReadOnly: whether nothing can have been changed.
    ///   - nextLine: the command line that does a method in the place of the one that failed; nil: there is none.
    init(_ error: TokenClientError, isReadOnly: Bool, nextLine: (String) -> String?) {
        var text = Failure.lowerCased(error.message)
        if let code = error.daemonCode { text += " (\(code))" }
        if let next = error.next, Failure.issuing.contains(next), let line = nextLine(next) {
            text += "; next: \(line)"
        } else if let hint = error.code == .refused
            ? Failure.adviceForRefusal(error) : Failure.advice(error, isReadOnly)
        {
            text += "; " + hint
        }
        self.init(Failure.exitCode(of: error), text)
    }

    private static let issuing = ["register", "generate", "rotate"]

    static func exitCode(of error: TokenClientError) -> ExitCode {
        switch error.code {
        case .refused: exitCode(daemonCode: error.knownCode)
        case .noDaemon: .unavailable
        case .connectForbidden: .permission
        case .notAccepted: .tryAgain
        case .notSent, .connectionBroken, .timedOut: .connection
        case .requestTooLong: .data
        case .invalidSocketPath: .usage
        default: .software
        }
    }

    private static func exitCode(daemonCode: ErrorCode?) -> ExitCode {
        switch daemonCode {
        case .notRegistered, .alreadyRegistered, .tokenNotFound, .tokenExists, .historyGone, .quotaExceeded: .refused
        case .invalidRequest, .methodNotFound, .invalidParams: .usage
        case .permissionDenied: .permission
        case .busy, .storageUnavailable, .shuttingDown, .rateLimited: .tryAgain
        case .invalidConfiguration: .configuration
        // This program writes JSON; and what a later daemon may have.
        case .parseError, .internalError, nil: .software
        }
    }

    /// What to do, unless the daemon's sentence says it: its advice stands behind a semicolon.
    private static func adviceForRefusal(_ error: TokenClientError) -> String? {
        if error.knownCode == .invalidParams {
            guard let parameter = error.parameter, !TokenText.contains(error.message, parameter) else { return nil }
            return "the parameter is \(parameter)"
        }
        guard !TokenText.contains(error.message, "; ") else { return nil }
        switch error.knownCode {
        case .permissionDenied: return "its owner and administrators (root, group scaem-admin) may"
        case .busy, .shuttingDown, .rateLimited:
            return "try again " + (error.retryAfterMilliseconds.map { "in \($0) ms" } ?? "in a moment")
        case .storageUnavailable: return "try again when the disk takes changes: scaem-token status says how it is"
        case .historyGone: return "read scaem-token list, then watch without --since"
        case .quotaExceeded: return "end tokens that are not needed, or ask an administrator for more"
        case .invalidConfiguration: return "scaem-tokend check-config says where"
        case .internalError: return "the daemon's log says more: journalctl -u scaem-tokend"
        case .notRegistered, .alreadyRegistered, .tokenNotFound, .tokenExists, .parseError, .invalidRequest,
            .methodNotFound, .invalidParams, nil:
            return nil
        }
    }

    private static func advice(_ error: TokenClientError, _ isReadOnly: Bool) -> String? {
        switch error.code {
        case .noDaemon:
            "start it (systemctl start scaem-tokend.socket; your own: scaem-tokend serve), or name its socket with --socket"
        case .connectForbidden: "who may is in group scaem: join it and log in again"
        case .notAccepted, .notSent: "nothing was done, try again"
        case .connectionBroken, .timedOut, .malformedAnswer:
            isReadOnly
                ? "try again"
                : "whether it was done is unknown: see scaem-token list, and rotate where a token was asked for"
        default: nil
        }
    }

    /// A daemon's sentence as the second half of one. A name in capitals stays.
    private static func lowerCased(_ sentence: String) -> String {
        var bytes = Array(sentence.utf8)
        let capitals = UInt8(ascii: "A")...UInt8(ascii: "Z")
        guard bytes.count > 1, capitals.contains(bytes[0]), !capitals.contains(bytes[1]) else { return sentence }
        bytes[0] += 32
        return String(decoding: bytes, as: UTF8.self)
    }
}
