import Testing
import TokenModel

@testable import scaem_tokend

@Suite("The configuration file is read strictly, and every problem names its line")
struct ConfigurationTests {
    @Test("an empty file gives the defaults")
    func empty() throws {
        #expect(try parse("") == Configuration())
        #expect(try parse("# nothing\n[tokens]\n[limits]\r\n") == Configuration())
        #expect(try parse("credential = []\n") == Configuration())
    }

    @Test("every spelling that TOML allows is taken")
    func spellings() throws {
        var expected = Configuration()
        expected.tokens.perOwner = 12_000
        expected.server.socket = "/run/x.sock"
        for text in [
            "[tokens]\nper_owner = 12_000\n[server]\nsocket = \"/run/x.sock\"",
            "tokens.per_owner = 0x2EE0\nserver.\"socket\" = '/run/x.sock'",
            "tokens = { per_owner = 12000 }\r\nserver = { socket = \"/run/\\u0078.sock\" }\r\n",
            "\u{FEFF}[\"tokens\"]\n'per_owner' = +12000\n[server]\nsocket = \"\"\"\n/run/x\\\n   .sock\"\"\"",
        ] {
            #expect(try parse(text) == expected)
        }
    }

    @Test("the credential entry of the contract is taken, and its grace may be left out")
    func credentialEntry() throws {
        let entry = Configuration.Credential(
            unit: "web.service", credential: "token", application: try #require(ApplicationName("web")),
            projectCode: try #require(ProjectCode("P")), graceSeconds: 300)
        #expect(try parse(credential()).credentials == [entry])
        #expect(try parse(credential(adding: "grace_seconds = 300")).credentials == [entry])
        var second = entry
        second.unit = #"web-\x2d@a:b.service"#
        second.graceSeconds = 0
        let text =
            credential() + credential(without: "unit", adding: #"unit = 'web-\x2d@a:b.service'"#, "grace_seconds = 0")
        #expect(try parse(text).credentials == [entry, second])
    }

    @Test(
        "a wrong value, by its line, its key and what is expected",
        arguments: [
            (
                "[tokens]\n\n# how many\nper_owner = \"many\"\n",
                "c.toml:4: tokens.per_owner: must be a whole number from 1 to 1000000, not \"many\""
            ),
            (
                "tokens.per_owner = 60.0",
                "c.toml:1: tokens.per_owner: must be a whole number from 1 to 1000000, not 60.0"
            ),
            (
                "[tokens]\r\nper_owner = 0\r\n",
                "c.toml:2: tokens.per_owner: must be a whole number from 1 to 1000000, not 0"
            ),
            (
                "[audit]\nkeep_days = [\n 1,\n 2,\n]\n[tokens]\n",
                "c.toml:2: audit.keep_days: must be a whole number from 1 to 3650, not an array"
            ),
            (
                "[server]\nsocket = \"\"\"\nx\n\ny\"\"\"\n",
                "c.toml:2: server.socket: must be an absolute path, not \"x\\n\\ny\""
            ),
            ("[server]\n\nsocket = 5", "c.toml:3: server.socket: must be an absolute path in quotes, not 5"),
            (
                "[server]\nstate_directory = \"/a\\u0007\"",
                "c.toml:2: server.state_directory: must be a path without control characters, not \"/a\\u{07}\""
            ),
            ("\n\ntokens = 5\n", "c.toml:3: tokens: must be a table, not 5"),
            ("[[tokens]]\nper_owner = 5\n", "c.toml:1: tokens: must be a table, not an array"),
            (
                "[tokens]\n\"per owner\" = 5\n",
                "c.toml:2: tokens.\"per owner\": is not known here; [tokens] has ttl_seconds_default, ttl_seconds_min, "
                    + "ttl_seconds_max, grace_seconds_default, grace_seconds_max, per_owner"
            ),
            (
                "x = 1\n",
                "c.toml:1: x: is not known here; there are [server], [tokens], [limits], [audit], [[credential]]"
            ),
            (
                "[tokens]\nper_owner = 5\n[token]\nper_owner = 5\n",
                "c.toml:3: token: is not known here; there are [server], [tokens], [limits], [audit], [[credential]]"
            ),
            (
                "server = { drain_seconds = 1979-05-27 }\n",
                "c.toml:1: server.drain_seconds: must be a whole number from 1 to 60, not a date"
            ),
            ("[credential]\n", "c.toml:1: credential: must be an array of tables, [[credential]], not a table"),
            ("\ncredential = [\n 5 ]\n", "c.toml:2: credential[0]: must be a table, not 5"),
        ])
    func wrongValue(text: String, message: String) {
        #expect(refusals(text) == [message])
    }

    @Test("a syntax error has line and column, and what else is wrong is left for later")
    func syntax() throws {
        for (text, start) in [
            ("[tokens]\nper_owner = \n", "c.toml:2:13: "), ("[tokens]\nper_owner = 5\nper_owner = 6\n", "c.toml:3:"),
            ("tokens.per_owner = 9223372036854775808\n", "c.toml:1:"), ("[tokens\n", "c.toml:1:"),
            ("x = 1\ny", "c.toml:2:"),
        ] {
            let lines = refusals(text)
            #expect(lines.count == 1 && lines[0].hasPrefix(start), "\(lines)")
        }
    }

    @Test("all problems are reported, in the order of the lines")
    func all() {
        let text =
            "[tokens]\nper_owner = true\nttl = 1\n" + credential(without: "unit", adding: "grace = 1")
            + "[audit]\nkeep_days = 0\n"
        #expect(
            refusals(text).map { $0.split(separator: ": ").prefix(2).joined(separator: " ") } == [
                "c.toml:2 tokens.per_owner", "c.toml:3 tokens.ttl", "c.toml:4 credential[0].unit",
                "c.toml:8 credential[0].grace", "c.toml:10 audit.keep_days",
            ])
    }

    @Test("more problems than are named are counted, and a long file is searched in bounded time")
    func many() {
        let text = "[tokens]\n" + (1...4_000).map { "key\($0) = 0\n" }.joined()
        let lines = refusals(text)
        #expect(lines.count == ConfigurationError.problemsMax + 1)
        #expect(lines.first?.hasPrefix("c.toml:2: tokens.key1: ") == true)
        #expect(lines.last == "c.toml: 3950 more")
    }

    @Test("what a C string would hide is refused with its line")
    func nul() {
        #expect(refusals("\n[tokens]\u{0}\nper_owner = true") == ["c.toml:2: a NUL has no place in a configuration"])
        #expect(refusals("[tokens]\n\"per_owner\\u0000\" = 6\n") == ["c.toml:2: a NUL has no place in a configuration"])
        #expect(refusals("x = \"\\U00000000\"") == ["c.toml:1: a NUL has no place in a configuration"])
    }

    @Test("bytes that are not UTF-8 are refused with their line")
    func notUTF8() {
        #expect {
            try Configuration.parse([0x23, 0x0A, 0x23, 0xFF, 0x0A], file: "c.toml")
        } throws: {
            ($0 as? ConfigurationError)?.lines == ["c.toml:2: is not UTF-8"]
        }
    }

    @Test(
        "keys that contradict each other, at the one that the file has",
        arguments: [
            (
                "[tokens]\nttl_seconds_max = 3600",
                "c.toml:2: tokens.ttl_seconds_max: must be at least tokens.ttl_seconds_default, which is 5184000 by "
                    + "default; it is 3600"
            ),
            (
                "[tokens]\nttl_seconds_default = 10\n",
                "c.toml:2: tokens.ttl_seconds_default: must be at least tokens.ttl_seconds_min, which is 60 by default; "
                    + "it is 10"
            ),
            (
                "[tokens]\ngrace_seconds_default = 20\n\ngrace_seconds_max = 10",
                "c.toml:2: tokens.grace_seconds_default: must be at most tokens.grace_seconds_max, which is 10; it is 20"
            ),
        ])
    func contradiction(text: String, message: String) {
        #expect(refusals(text) == [message])
    }

    @Test("a key that is wrong on its own is not compared as well")
    func noSecondMessage() {
        #expect(refusals("[tokens]\nttl_seconds_max = 0\nttl_seconds_default = 70\n").count == 1)
    }
}
