import Testing

@testable import scaem_tokend

/// What fuzzing found in the configuration's reader, each by its text.
@Suite("What fuzzing found in the configuration's reader stays mended")
struct FuzzFindingTests {
    @Test(
        "a text over which the TOML library would end the process is refused with its line",
        arguments: [
            ("\n[, 0?=\n", 2, "the brackets must begin with a table's name"),
            ("[\u{1D}tokens]\n", 1, "the brackets must begin with a table's name"),
            ("[\ntokens]\n", 1, "the brackets must begin with a table's name"),
            ("[[ .a]]\n", 1, "the brackets must begin with a table's name"),
            ("credential = [1, }{]\n", 1, "a closing brace stands where a value must be"),
            ("credential = [ # x\n\n }", 3, "a closing brace stands where a value must be"),
            ("credential = [\u{2028}1]\n", 1, "a character that may stand in strings and comments alone"),
            ("credential = [\u{85}]\n", 1, "a character that may stand in strings and comments alone"),
            ("a = \"\"\"\n\"\"\"\"\"\n[,", 3, "the brackets must begin with a table's name"),
        ])
    func assertedText(text: String, line: Int, message: String) {
        #expect(refusals(text) == ["c.toml:\(line): \(message)"])
    }

    @Test(
        "the same in strings and comments is nobody's fault",
        arguments: [
            "# [, }\u{2028}\n[tokens]\n", "[server]\nsocket = \"/[,}\u{85}\"\n", "[server]\nsocket = '/\\' # '[,\n",
            "[server]\nsocket = \"/\\\"[,}\"\n", "[server]\nsocket = \"\"\"\n/a\\\n[,}\"\"\"\n",
            "\u{FEFF}[tokens]\n", "[ tokens ]\n[\"limits\"]\n['audit']\n", "credential = [\n]\n",
        ])
    func innocentText(text: String) throws {
        _ = try parse(text)
    }

    @Test("a sentence of the TOML library's repeats no control character of the file")
    func controlCharacters() {
        #expect(
            refusals("a = t\n") == ["c.toml:1:6: Error while parsing boolean: expected 'true', saw 't\\n'"])
        #expect(refusals("a = t\u{1B}[31m\n").allSatisfy { !$0.contains("\u{1B}") })
    }
}
