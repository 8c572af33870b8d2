import Testing

@testable import scaem_token

@Suite struct ArgumentParserTests {
    private func invocation(_ words: String...) throws -> Invocation {
        guard case .run(let invocation) = try ArgumentParser.parse(words) else {
            throw Failure(.software, "not a command to run")
        }
        return invocation
    }

    private func refusal(_ words: [String]) -> Failure? {
        do {
            _ = try ArgumentParser.parse(words)
            return nil
        } catch {
            return error
        }
    }

    @Test func `options stand before and behind, in both forms`() throws {
        for words in [
            ["--application", "a", "--ttl=1h", "rotate", "P"], ["rotate", "P", "--ttl", "1h", "--application=a"],
            ["--ttl=1h", "rotate", "--application", "a", "P"],
        ] {
            guard case .run(let invocation) = try ArgumentParser.parse(words) else {
                Issue.record("\(words) is no command")
                continue
            }
            #expect(invocation.command.name == "rotate")
            #expect(invocation.arguments == ["P"])
            #expect(invocation[.application] == "a")
            #expect(invocation[.ttl] == "1h")
            #expect(invocation[.grace] == nil)
        }
    }

    @Test func `two dashes end the options`() throws {
        let invocation = try invocation("fingerprint", "--", "--help")
        #expect(invocation.arguments == ["--help"])
        #expect(try self.invocation("--", "ping").command.name == "ping")
    }

    @Test func `a dash alone is an argument`() throws {
        #expect(try invocation("call", "introspect", "-").arguments == ["introspect", "-"])
    }

    @Test func `a value may hold an equals sign, and may be empty when attached`() throws {
        #expect(try invocation("rotate", "P", "--output=a=b")[.output] == "a=b")
        #expect(try invocation("rotate", "P", "--output=")[.output] == "")
    }

    @Test func `help and version need nothing else to be right`() throws {
        guard case .help(nil) = try ArgumentParser.parse(["-h"]) else { throw Failure(.software, "no help") }
        guard case .version = try ArgumentParser.parse(["--version"]) else { throw Failure(.software, "no version") }
        guard case .help(let command?) = try ArgumentParser.parse(["rotate", "--help"]) else {
            throw Failure(.software, "no help of a command")
        }
        #expect(command.name == "rotate")
    }

    @Test(arguments: [
        [], ["pnig"], ["ping", "x"], ["rotate"], ["rotate", "P", "Q"], ["rotate", "P", "--ttl"],
        ["ping", "--ttl", "1s"],
        ["rotate", "P", "--output", "--format", "json"], ["status", "--prometheus=yes"], ["--nothing"], ["-v"],
        ["ping", "--socket", "a", "--socket", "b"], ["revoke"], ["revoke", "P", "--token-file", "f"],
        ["revoke", "--token-file", "f", "--application", "a"], ["call"], ["call", "a", "b", "c"],
    ])
    func `what does not fit is usage`(words: [String]) {
        #expect(refusal(words)?.exitCode == .usage)
    }

    @Test func `a token is refused wherever it stands, and not repeated`() {
        for words in [["introspect", "api_key|x"], ["--socket=xapi_key|", "ping"], ["api_key|"]] {
            let failure = refusal(words)
            #expect(failure?.exitCode == .usage)
            #expect(failure.map { TokenText.isIn($0.message) } == false)
        }
    }

    @Test func `every command's usage names its arguments and every option has its line of help`() {
        for command in CommandSpec.all {
            let text = Help.text(of: command)
            for form in command.forms {
                #expect(TokenText.contains(text, Help.usage(of: command, form)))
                for option in form.options { #expect(TokenText.contains(text, option.help)) }
            }
            #expect(TokenText.contains(Help.overview, command.summary))
        }
    }

    @Test func `names are unique, and lines of help fit a terminal`() {
        #expect(Set(CommandSpec.all.map(\.name)).count == CommandSpec.all.count)
        #expect(Set(Option.allCases.map(\.name)).count == Option.allCases.count)
        for text in [Help.overview] + CommandSpec.all.map(Help.text(of:)) {
            for line in text.split(separator: "\n") where !line.hasPrefix("Usage:") { #expect(line.utf8.count <= 120) }
        }
    }

    @Test(arguments: [
        ("pnig", "ping"), ("regsiter", "register"), ("reg", "register"), ("stat", "status"), ("lst", "list"),
        ("introspekt", "introspect"), ("un", "unregister"),
    ])
    func `the nearest name is found`(typed: String, meant: String) {
        #expect(NearestName.of(typed, among: CommandSpec.all.map(\.name)) == meant)
    }

    @Test(arguments: ["", "x", "zzzzzz", "help", "go"])
    func `nothing is guessed where nothing is near`(typed: String) {
        #expect(NearestName.of(typed, among: CommandSpec.all.map(\.name)) == nil)
    }
}

@Suite struct DurationTests {
    @Test(arguments: [
        ("90s", 90), ("15m", 900), ("12h", 43_200), ("60d", 5_184_000), ("0s", 0), ("007m", 420),
        ("9223372036854775806s", Int64.max - 1), ("106751991167300d", 9_223_372_036_854_720_000),
    ])
    func `seconds`(text: String, seconds: Int64) throws {
        #expect(try DurationText.seconds(text, of: .ttl) == seconds)
    }

    @Test(arguments: [
        "", "s", "60", "1.5h", "-1s", "+1s", "1 h", "1h30m", "1w", "60S", "１s", "1e3s", "9223372036854775807s",
        "99999999999999999999s", "106751991167301d", "9223372036854775807m",
    ])
    func `what is no duration`(text: String) {
        do {
            _ = try DurationText.seconds(text, of: .ttl)
            Issue.record("\(text) was taken")
        } catch {
            #expect(error.exitCode == .usage)
        }
    }

    @Test func `a plain number gets a hint`() {
        do {
            _ = try DurationText.seconds("60", of: .ttl)
            Issue.record("60 was taken")
        } catch {
            #expect(TokenText.contains(error.message, "60s"))
        }
    }
}
