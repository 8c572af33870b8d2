/// An option, of every command or of some. This and `CommandSpec.all` are the one source of what is parsed and of what the
/// help says.
enum Option: CaseIterable {
    case socket, format, help, version
    case application, ttl, grace, output, tokenFile, project, expiresWithin, since, prometheus

    /// As it stands on the command line, without the dashes.
    var name: String {
        switch self {
        case .socket: "socket"
        case .format: "format"
        case .help: "help"
        case .version: "version"
        case .application: "application"
        case .ttl: "ttl"
        case .grace: "grace"
        case .output: "output"
        case .tokenFile: "token-file"
        case .project: "project"
        case .expiresWithin: "expires-within"
        case .since: "since"
        case .prometheus: "prometheus"
        }
    }

    /// What its value is called; nil: it takes none.
    var value: String? {
        switch self {
        case .socket: "PATH"
        case .format: "json|text"
        case .application: "A"
        case .ttl, .grace, .expiresWithin: "DURATION"
        case .output, .tokenFile: "FILE"
        case .project: "P"
        case .since: "N"
        case .help, .version, .prometheus: nil
        }
    }

    var help: String {
        switch self {
        case .socket: "the daemon's socket; else $SCAEM_TOKEND_SOCKET, the system's, the user's own"
        case .format: "how to print; else text on a terminal, JSON otherwise"
        case .help: "say what there is, of the command if one is named"
        case .version: "say which version this is"
        case .application: "which application; else the caller's own"
        case .ttl: "how long the token lives: 90s, 15m, 12h, 60d"
        case .grace: "how long the token that is replaced stays good: 90s, 15m, 12h; else as configured"
        case .output: "write the token alone, 72 bytes without a line end, to FILE (mode 0600); print the rest"
        case .tokenFile: "end the one token that is in FILE, - for standard input"
        case .project: "of this project only"
        case .expiresWithin: "only tokens that expire within this time, or have expired"
        case .since: "first what happened after this sequence number"
        case .prometheus: "print the numbers in Prometheus' text format"
        }
    }

    /// Options that stand with every command.
    static let common: [Option] = [.socket, .format, .help, .version]
}

/// A command: what may stand behind it, what it does.
struct CommandSpec: Sendable {
    /// What must or may be given by position.
    struct Argument: Sendable {
        let name: String
        let isRequired: Bool
    }

    /// One way of calling the command.
    struct Form: Sendable {
        let arguments: [Argument]
        let options: [Option]
    }

    let name: String
    let forms: [Form]
    let summary: String
    /// Further lines of its help.
    let details: [String]
    let run: @Sendable (Session) throws(Failure) -> ExitCode
}

extension CommandSpec {
    private static func form(
        _ required: [String] = [], optional: [String] = [], options: [Option] = []
    ) -> Form {
        Form(
            arguments: required.map { Argument(name: $0, isRequired: true) }
                + optional.map { Argument(name: $0, isRequired: false) },
            options: options)
    }

    /// Every command, in the order of the help.
    static let all: [CommandSpec] =
        issuing + [
            CommandSpec(
                name: "introspect", forms: [form(optional: ["FILE"])],
                summary: "say whether a token is active, and what it is good for",
                details: tokenFromFile + ["Exit code 0: active, 1: not."],
                run: { (session) throws(Failure) in try session.introspect() }),
            CommandSpec(
                name: "revoke", forms: [form(["PROJECT"], options: [.application]), form(options: [.tokenFile])],
                summary: "end an application's tokens for a project, or one token",
                details: [
                    "An administrator may say --application '*': every application's.",
                    "With --token-file whoever holds a token ends it; the current one takes its previous ones with it.",
                ],
                run: { (session) throws(Failure) in try session.revoke() }),
            CommandSpec(
                name: "unregister", forms: [form(options: [.application])],
                summary: "end an application's registration and all of its tokens", details: [],
                run: { (session) throws(Failure) in try session.unregister() }),
            CommandSpec(
                name: "list", forms: [form(options: [.application, .project, .expiresWithin])],
                summary: "show what tokens there are, never the tokens themselves",
                details: ["All pages come as one answer."],
                run: { (session) throws(Failure) in try session.list() }),
            CommandSpec(
                name: "watch", forms: [form(options: [.since])],
                summary: "print each change of tokens, one a line, until interrupted",
                details: ["When the daemon ends it, the last line on standard error says how to go on without a gap."],
                run: { (session) throws(Failure) in try session.watch() }),
            CommandSpec(
                name: "whoami", forms: [form()], summary: "say who the daemon takes this caller for", details: [],
                run: { (session) throws(Failure) in try session.show("whoami") }),
            CommandSpec(
                name: "status", forms: [form(options: [.prometheus])], summary: "say how the daemon is",
                details: ["Administrators see more of it."],
                run: { (session) throws(Failure) in try session.status() }),
            CommandSpec(
                name: "ping", forms: [form()], summary: "say whether the daemon answers", details: [],
                run: { (session) throws(Failure) in try session.ping() }),
            CommandSpec(
                name: "fingerprint", forms: [form(optional: ["FILE"])],
                summary: "say whether it is one of our tokens, and its fingerprint; asks no daemon",
                details: tokenFromFile + ["Exit code 0: form and checksum are right, 1: not."],
                run: { (session) throws(Failure) in try session.fingerprint() }),
            CommandSpec(
                name: "call", forms: [form(["METHOD"], optional: ["PARAMS"])],
                summary: "call any method of the protocol and print its result as JSON",
                details: [
                    "PARAMS is a JSON object, - for standard input. One that holds a token is refused as an argument, which",
                    "other users could read: give it on standard input.",
                ],
                run: { (session) throws(Failure) in try session.callMethod() }),
        ]

    private static let issuing: [CommandSpec] = [
        CommandSpec(
            name: "register", forms: [form(["PROJECT"], options: [.application, .ttl, .output])],
            summary: "register an application and issue its first token", details: credentialDetails,
            run: { (session) throws(Failure) in try session.issue("register") }),
        CommandSpec(
            name: "generate", forms: [form(["PROJECT"], options: [.application, .ttl, .output])],
            summary: "issue a registered application a token for a further project", details: credentialDetails,
            run: { (session) throws(Failure) in try session.issue("generate") }),
        CommandSpec(
            name: "rotate", forms: [form(["PROJECT"], options: [.application, .ttl, .grace, .output])],
            summary: "replace an application's token", details: credentialDetails,
            run: { (session) throws(Failure) in try session.issue("rotate") }),
        CommandSpec(
            name: "obtain", forms: [form(["PROJECT"], options: [.application, .ttl, .grace, .output])],
            summary: "register, generate or rotate, whichever gives a token now",
            details: ["An existing token is replaced; --grace counts then."] + credentialDetails,
            run: { (session) throws(Failure) in try session.obtain() }),
    ]

    private static let credentialDetails = [
        "Without --output the credentials, token included, are printed. With it, the token goes to FILE alone, and the",
        "rest is printed. FILE is replaced in one step or stays as it was; a folder that cannot be written is found",
        "out before the daemon is asked. A symbolic link is followed: the file that it names is replaced.",
    ]

    private static let tokenFromFile = [
        "The token is read from FILE, or from standard input where FILE is left out or -; one line end behind it does",
        "not count. On a terminal it is asked for without showing it.",
    ]

    static func named(_ name: String) -> CommandSpec? { all.first { $0.name == name } }
}
