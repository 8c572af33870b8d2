import Testing

@testable import TokenRPC

/// RFC 8259, production by production.
struct JSONGrammarTests {
    @Test(
        "is JSON",
        arguments: [
            // Any value is a document.
            "null", "true", "false", "0", "\"\"", "[]", "{}", " \t\r\n[ \t\r\n] \t\r\n", "{ }", "\r\n0\r\n",
            // Numbers.
            "-0", "0.0", "-0.0", "1", "10", "123456789012345678901234567890", "1e1", "1E1", "1e+1", "1e-1", "0e0",
            "0E+00", "1.5e10", "-1.5E-10", "1e400", "0.000000000000000000001", "[0,-1,2.5]",
            // Strings.
            #""abc""#, #""\"\\\/\b\f\n\r\t""#, #""\u0000""#, #""\u00e9\u00E9""#, #""\ud83d\ude00""#,
            #""\uD83D\uDE00x""#, #""\uFFFF""#, "\"\u{7F}\"", "\"\u{80}\"",
            "\"\u{7FF}\u{800}\u{FFFF}\u{10000}\u{10FFFF}\"",
            "\"\u{2028}\u{2029}\"", "\"/\"", "\"12345678\"", "\"1234567\"", "\"123456789\"", "\"'\"",
            // Containers.
            "[1,2]", "[[],{}]", "[[[[]]]]", #"{"a":1}"#, #"{"":0}"#, #"{"a":{"b":[]},"c":null}"#,
            #"{ "a" : 1 , "b" : 2 }"#,
            #"{"a":[],"b":[]}"#, "[null,true,false]", "[\"a\",\"b\"]", "[{},{}]", "[\n1\n]",
        ])
    func accepted(_ text: String) {
        #expect(verdict(text) == .document)
    }

    @Test(
        "is not JSON",
        arguments: [
            // No value, or more than one.
            "", " ", "\n", "1 2", "1,", "[]]", "{}}", "{}[]", "nulll", "null null", "[] x", "\u{0}", "{}\u{0}",
            // Words.
            "nul", "Null", "TRUE", "tru", "truee", "fals", "n", "NaN", "Infinity", "-Infinity", "undefined", "N",
            // Numbers.
            "-", "+1", "01", "-01", "00", "1.", ".5", "-.5", "1.e1", "1e", "1e+", "1E-", "1e1.5", "0x1", "1_000", "--1",
            "1.2.3", "1ee1", "- 1", "1 .5", "[-]", "[1.]", "[1e]", "1a", "\u{FF11}", "-a",
            // Strings.
            "\"", "\"a", "'a'", "\"\\\"", "\"\\", #""\a""#, #""\x41""#, #""\'""#, #""\ ""#, #""\u""#, #""\u1""#,
            #""\u12""#,
            #""\u123""#, #""\u123g""#, #""\u 123""#, #""\U0041""#, #""\u{41}""#, "\"\n\"", "\"\t\"", "\"\u{0}\"",
            "\"\u{1F}\"", "\"a\"b", "\"\\\u{E9}\"", "\"1234567\u{1}\"", "\"12345678\u{1F}12345678\"", "\"\\u00-1\"",
            // Half a surrogate pair.
            #""\ud800""#, #""\udfff""#, #""\ude00\ud83d""#, #""\ud800\ud800""#, #""\ud800x""#, #""\ud800\n""#,
            #""\ud800\u0041""#, #""\ud83d\ude0""#, #""\ud83d\u""#, #""\ud83d\"#, #""\ud83d""#, #""\uDBFF\uE000""#,
            // Arrays.
            "[", "]", "[,", "[,]", "[1,]", "[1,,2]", "[1 2]", "[1", "[1,", "[}", "[[]", "[1:2]", "(1)", "[\"a\"", "[1}",
            // Objects.
            "{", "}", "{,}", #"{"a"}"#, #"{"a":}"#, #"{"a":1,}"#, #"{"a":1"#, #"{"a":1,"#, #"{"a" 1}"#, #"{"a"::1}"#,
            "{a:1}",
            "{1:1}", "{null:1}", "{'a':1}", #"{"a":1,,"b":2}"#, #"{"a":1 "b":2}"#, #"{"a":1]"#, #"{"a""#, #"{"a":"#,
            "{]",
            #"{:1}"#, #"{"a":1,2}"#, "{\"a\"", "{[]:1}", #"{"a":1}}"#, #"{"a":b}"#,
            // White space that is none, and comments.
            "\u{A0}1", "\u{FEFF}1", "1\u{FEFF}", "\u{C}1", "\u{B}1", "1\u{85}", "\u{2028}1", "\u{3000}1", "// a\n1",
            "/**/1", "#\n1",
            "[1\u{C}]", "\u{1}",
        ])
    func refused(_ text: String) {
        guard case .notJSON(let offset) = verdict(text) else {
            Issue.record("was read: \(text.debugDescription)")
            return
        }
        #expect((0...text.utf8.count).contains(offset))
    }

    @Test(
        "is not UTF-8",
        arguments: [
            [0x80], [0xBF], [0xC0, 0x80], [0xC1, 0xBF], [0xC2], [0xC2, 0x22], [0xC2, 0xC2], [0xDF, 0x7F],
            [0xE0, 0x80, 0x80],
            [0xE0, 0x9F, 0xBF], [0xE1, 0x80], [0xE1, 0x80, 0x22], [0xE1, 0x22, 0x80], [0xED, 0xA0, 0x80],
            [0xED, 0xBF, 0xBF],
            [0xEF, 0xBF], [0xF0, 0x80, 0x80, 0x80], [0xF0, 0x8F, 0xBF, 0xBF], [0xF0, 0x90, 0x80],
            [0xF0, 0x90, 0x80, 0x22],
            [0xF1, 0x80, 0x22, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80],
            [0xF8, 0x88, 0x80, 0x80, 0x80],
            [0xFE], [0xFF], [0xED, 0xA0, 0xBD, 0xED, 0xB8, 0x80],
        ] as [[UInt8]])
    func invalidUTF8(_ bytes: [UInt8]) {
        // At each place of the word that is looked at at once, as a value and as a key, and cut off.
        for offset in 0..<9 {
            let text = [UInt8](repeating: UInt8(ascii: "a"), count: offset) + bytes
            let string = [UInt8(ascii: "\"")] + text + [UInt8(ascii: "\"")]
            #expect(verdict(string) == .notJSON(offset: offset + 1))
            #expect(verdict(string.dropLast()) != .document)
            #expect(verdict([UInt8(ascii: "{")] + string + Array(":1}".utf8)) == .notJSON(offset: offset + 2))
        }
        #expect(verdict(bytes) == .notJSON(offset: 0))
    }

    @Test("every byte as a whole document and in a string")
    func singleBytes() {
        for byte in UInt8.min...UInt8.max {
            let isDigit = (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
            #expect((verdict([byte]) == .document) == isDigit, "\(byte)")
            let stands = byte >= 0x20 && byte < 0x80 && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\")
            for offset in 0..<9 {
                let content =
                    [UInt8](repeating: 0x61, count: offset) + [byte] + [UInt8](repeating: 0x61, count: 8 - offset)
                let isDocument = verdict([0x22] + content + [0x22]) == .document
                #expect(isDocument == stands, "\(byte) at \(offset)")
            }
        }
    }

    @Test("every escape letter")
    func escapeLetters() {
        for letter in UInt8.min...UInt8.max {
            let isEscape = "\"\\/bfnrt".utf8.contains(letter)
            #expect((verdict([0x22, 0x5C, letter, 0x22]) == .document) == isEscape, "\(letter)")
        }
    }

    @Test("32 levels are read, 33 are not", arguments: [("[", "]"), (#"{"a":"#, "}")])
    func depth(_ open: String, _ close: String) {
        func nested(_ levels: Int, _ core: String) -> String {
            String(repeating: open, count: levels) + core + String(repeating: close, count: levels)
        }
        #expect(verdict(nested(Wire.maxDepth, "1")) == .document)
        #expect(verdict(nested(Wire.maxDepth - 1, "{}")) == .document)
        #expect(verdict(nested(Wire.maxDepth + 1, "1")) == .notJSON(offset: Wire.maxDepth * open.utf8.count))
        #expect(verdict(nested(Wire.maxDepth, "[]")) == .notJSON(offset: Wire.maxDepth * open.utf8.count))
        // Levels side by side do not add up.
        let shallow = "[" + Array(repeating: nested(Wire.maxDepth - 1, "1"), count: 50).joined(separator: ",") + "]"
        #expect(verdict(shallow) == .document)
        // A bomb is refused where it gets too deep, wherever it would end.
        #expect(verdict(String(repeating: open, count: 20_000)) == .notJSON(offset: Wire.maxDepth * open.utf8.count))
    }

    @Test(
        "where it stops being JSON",
        arguments: [
            ("[1,x]", 3), ("{\"a\":1,}", 7), ("tru", 3), ("truX", 3), ("01", 1), ("\"ab", 3), ("{", 1), ("[1] 2", 4),
            ("\"a\u{1}\"", 2),
            (#""ab\x""#, 3), ("1.x", 2),
        ])
    func offsets(_ text: String, _ offset: Int) {
        #expect(verdict(text) == .notJSON(offset: offset))
    }

    @Test("every beginning of a document is refused, with no byte read past it")
    func beginnings() {
        let text = #" {"jsonrpc" : "2.0", "id":-1.5e+3,"a":[true,false,null,{"x":"\ud83d\ude00\n€😀"}]} "#
        let bytes = Array(text.utf8)
        let end = bytes.count - 1
        #expect(verdict(bytes) == .document)
        for length in 0..<end {
            guard case .notJSON(let offset) = verdict(Array(bytes[..<length])) else {
                Issue.record("\(length) bytes were read")
                continue
            }
            // At the end, or where the escape or the scalar that is cut off begins: two escapes at most.
            #expect(offset <= length && offset > length - 12, "\(length)")
        }
    }
}
