import ScaemTokenClient
import TokenModel
import TokenRPC

/// One command on its way: what was asked for, the daemon, how to print.
struct Session {
    let invocation: Invocation
    let client: TokenClient
    /// Text for people; otherwise one line of JSON.
    let printsText: Bool

    /// Somebody may be waiting at a terminal: a restart of the daemon is worth this long, an overload is to be told.
    private static let patienceMilliseconds: Int64 = 3_000

    init(_ invocation: Invocation) throws(Failure) {
        self.invocation = invocation
        switch invocation[.format] {
        case nil: printsText = StandardOutput.isTerminal
        case "text": printsText = true
        case "json": printsText = false
        default: throw Failure(.usage, "--format is json or text")
        }
        client = TokenClient(
            socketPath: SocketPath.resolve(named: invocation[.socket]),
            options: TokenClient.Options(patienceMilliseconds: Self.patienceMilliseconds))
    }

    /// Calls a method and gives its result to `print`.
    func call(
        _ method: String, isReadOnly: Bool, parameters: ((ByteWriter) -> Void)? = nil,
        print: (Answer) throws(Failure) -> Void
    ) throws(Failure) {
        let printed: Result<Void, Failure>
        do throws(TokenClientError) {
            printed = try exchange(method, isReadOnly: isReadOnly, parameters: parameters, print: print)
        } catch {
            throw failure(error, isReadOnly: isReadOnly)
        }
        try printed.get()
    }

    /// The same with both kinds of error apart: the daemon's are thrown, those of `print` are the result.
    func exchange(
        _ method: String, isReadOnly: Bool, parameters: ((ByteWriter) -> Void)? = nil,
        print: (Answer) throws(Failure) -> Void
    ) throws(TokenClientError) -> Result<Void, Failure> {
        try client.call(method, isReadOnly: isReadOnly, parameters: parameters) { answer in
            Result { () throws(Failure) in try print(answer) }
        }
    }

    /// A client's error as this command's.
    func failure(_ error: TokenClientError, isReadOnly: Bool) -> Failure {
        Failure(error, isReadOnly: isReadOnly, nextLine: nextLine)
    }

    /// The command line that does `method` in this one's place; nil where this command names no project.
    private func nextLine(_ method: String) -> String? {
        let takesProject = invocation.command.forms.contains { $0.arguments.first?.name == "PROJECT" }
        guard takesProject, let project = invocation.arguments.first, let next = CommandSpec.named(method) else {
            return nil
        }
        return "scaem-token \(method) \(project)" + givenOptions(of: next)
    }

    /// What was given to this command and `command` takes too, as it may be typed again: without its --output a token
    /// would be shown, without its --socket another daemon asked.
    func givenOptions(of command: CommandSpec, but replaced: Option? = nil) -> String {
        let taken = [.socket] + command.forms.flatMap(\.options)
        return invocation.options.filter { taken.contains($0.option) && $0.option != replaced }
            .map { " --\($0.option.name) \(ShellWord.quoted($0.value))" }.joined()
    }

    /// PROJECT, checked.
    func project(_ text: String) throws(Failure) -> ProjectCode {
        guard let project = ProjectCode(text) else { throw Failure(.usage, "\"\(text)\" is no project: \(Self.names)") }
        return project
    }

    /// --application, checked; nil: not given.
    func application() throws(Failure) -> ApplicationName? {
        guard let text = invocation[.application] else { return nil }
        guard let name = ApplicationName(text) ?? ApplicationName(unitPrincipal: text) else {
            throw Failure(.usage, "\"\(text)\" is no application: \(Self.names)")
        }
        return name
    }

    /// A DURATION in seconds; nil: not given.
    func seconds(_ option: Option) throws(Failure) -> Int64? {
        guard let text = invocation[option] else { return nil }
        return try DurationText.seconds(text, of: option)
    }

    private static let names =
        "a name has 1 to \(NamePattern.maxBytes) of A-Z a-z 0-9 . _ : @ / - and begins with a letter, digit or _"
}
