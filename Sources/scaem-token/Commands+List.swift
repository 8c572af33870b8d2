import ScaemTokenClient
import TokenModel
import TokenRPC

/// list and watch.
extension Session {
    /// Rows that are asked for at once, as many as the contract allows.
    private static let pageRows: Int64 = 1_000

    /// All pages, each printed when it is there: what a host may hold need not fit in memory.
    func list() throws(Failure) -> ExitCode {
        let application = try application()
        let project = try projectOption()
        let expiresBefore = try seconds(.expiresWithin).map(Self.fromNow)
        var table = TokenTable()
        var array = TokenArray()
        var cursor: String?
        repeat {
            let after = cursor
            cursor = nil
            try call(
                "list", isReadOnly: true,
                parameters: { writer in
                    let object = ParameterWriter(writer)
                    object.add("application", application?.text)
                    object.add("project_code", project?.text)
                    object.add("expires_before", expiresBefore?.description)
                    object.add("limit", Session.pageRows)
                    object.add("cursor", after)
                    object.end()
                },
                print: { (answer) throws(Failure) in
                    cursor = answer.member("next_cursor")?.string
                    guard let tokens = answer.member("tokens"), tokens.kind == .array else {
                        throw Failure(.software, "the daemon's answer has no tokens")
                    }
                    let writer = ByteWriter(capacity: tokens.bytes.count + 256)
                    if printsText {
                        table.write(page: tokens, to: writer)
                    } else {
                        array.write(page: tokens, isLast: cursor == nil, to: writer)
                    }
                    try StandardOutput.write(writer)
                })
        } while cursor != nil
        if printsText, table.isEmpty { try StandardOutput.write(text: "no tokens\n") }
        return .success
    }

    private func projectOption() throws(Failure) -> ProjectCode? {
        guard let text = invocation[.project] else { return nil }
        return try project(text)
    }

    /// The moment so many seconds from now; times end with the year 9999.
    private static func fromNow(_ seconds: Int64) -> Instant {
        SystemClock().wall().adding(seconds: min(seconds, 300_000_000_000))
    }

    /// Each event a line, until a signal or the daemon ends it.
    func watch() throws(Failure) -> ExitCode {
        let since = try sequence()
        var last: Int64?
        var printing: Failure?
        do throws(TokenClientError) {
            try client.watchAnswers(
                since: since, started: { last = $0 },
                event: { (event) throws(TokenClientError) in
                    do throws(Failure) {
                        try print(event: event)
                    } catch {
                        printing = error
                        return .stop
                    }
                    if let sequence = event.member("sequence")?.integer { last = sequence }
                    return .goOn
                })
        } catch {
            let failure = failure(error, isReadOnly: true)
            guard let last else { throw failure }
            // What ended it may be over in a moment: the next watch is to miss nothing.
            let line = "scaem-token watch --since \(last)" + givenOptions(of: invocation.command, but: .since)
            throw Failure(failure.exitCode, failure.message + "; go on with: " + line)
        }
        if let printing { throw printing }
        return .success
    }

    private func sequence() throws(Failure) -> Int64? {
        guard let text = invocation[.since] else { return nil }
        guard text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }), let number = Int64(text)
        else { throw Failure(.usage, "--since \"\(text)\" is not a sequence number") }
        return number
    }

    private func print(event: Answer) throws(Failure) {
        guard printsText else { return try StandardOutput.write(line: event.bytes) }
        let writer = ByteWriter()
        TextRendering.event(event, to: writer)
        try StandardOutput.write(writer)
    }
}
