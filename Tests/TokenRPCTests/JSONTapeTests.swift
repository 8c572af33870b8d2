import Testing

@testable import TokenRPC

/// What the reader says of a document that it has read.
struct JSONTapeTests {
    let reader = JSONReader()

    @Test func structure() {
        let text = #" {"a":[1,"x",{}],"b":{"c":null},"d":[],"e":true,"f":false} "#
        reader.with(text) { verdict in
            #expect(verdict == .document)
            #expect(reader.kind(0) == .object)
            #expect(reader.count(0) == 5)
            #expect(reader.next(0) == -1)
            var names: [String] = []
            var kinds: [JSONKind] = []
            var raws: [String] = []
            var key = reader.firstChild(0)
            while key >= 0 {
                let value = reader.next(key)
                names.append(reader.string(key))
                kinds.append(reader.kind(value))
                raws.append(String(decoding: reader.raw(value), as: UTF8.self))
                key = reader.next(value)
            }
            #expect(names == ["a", "b", "d", "e", "f"])
            #expect(kinds == [.array, .object, .array, .true, .false])
            #expect(raws == [#"[1,"x",{}]"#, #"{"c":null}"#, "[]", "true", "false"])
            let array = reader.member("a", of: 0)
            #expect(reader.count(array) == 3)
            let first = reader.firstChild(array)
            let second = reader.next(first)
            let third = reader.next(second)
            #expect(reader.plainInteger(first) == 1)
            #expect(reader.equals(second, "x"))
            #expect(reader.kind(third) == .object)
            #expect(reader.firstChild(third) == -1)
            #expect(reader.next(third) == -1)
            #expect(reader.kind(reader.member("c", of: reader.member("b", of: 0))) == .null)
            #expect(reader.firstChild(reader.member("d", of: 0)) == -1)
            #expect(reader.member("c", of: 0) == -1)
            #expect(reader.member("a", of: array) == -1)
            #expect(reader.member("a", of: -1) == -1)
        }
    }

    @Test(arguments: [
        (#""""#, ""), (#""plain""#, "plain"), (#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{C}\n\r\t"),
        (#""a\u0000b""#, "a\u{0}b"),
        (#""\u0041\u007f\u0080\u07ff\u0800\uffff""#, "A\u{7F}\u{80}\u{7FF}\u{800}\u{FFFF}"),
        (#""\ud800\udc00\uDBFF\uDFFF""#, "\u{10000}\u{10FFFF}"), (#""\ud83d\ude00""#, "😀"), (#""é\u00e9""#, "éé"),
        (#""\\u0041""#, #"\u0041"#), (#""x\ny""#, "x\ny"),
    ])
    func strings(_ document: String, _ meaning: String) {
        reader.with(document) { verdict in
            #expect(verdict == .document)
            #expect(reader.hasEscapes(0) == document.contains("\\"))
            #expect(Array(reader.string(0).utf8) == Array(meaning.utf8))
            #expect(reader.content(0).count == document.utf8.count - 2)
            var target = [UInt8](repeating: 0, count: reader.content(0).count)
            let count = target.withUnsafeMutableBytes { reader.unescape(0, into: $0) }
            #expect(Array(target[..<count]) == Array(meaning.utf8))
        }
    }

    @Test func comparesEscapedStrings() {
        reader.with(#"["method","\u006dethod","m\u0065thod\u0000","\u006d\u0065\u0074\u0068\u006f\u0064",1]"#) { _ in
            var node = reader.firstChild(0)
            var equal: [Bool] = []
            while node >= 0 {
                equal.append(reader.equals(node, "method"))
                node = reader.next(node)
            }
            #expect(equal == [true, true, false, true, false])
        }
        // Too many escapes to be equal: not even resolved.
        reader.with("\"" + String(repeating: #"\u0061"#, count: 5_000) + "\"") { _ in #expect(!reader.equals(0, "aaaa"))
        }
    }

    @Test(
        arguments: [
            ("0", 0), ("-0", nil), ("7", 7), ("-7", -7), ("60", 60), ("9223372036854775807", .max),
            ("-9223372036854775808", .min),
            ("9223372036854775808", nil), ("-9223372036854775809", nil), ("92233720368547758070", nil), ("60.0", nil),
            ("6e1", nil),
            ("6E1", nil), ("1e0", nil), ("-1.5", nil), ("\"60\"", nil), ("null", nil), ("true", nil), ("[60]", nil),
            ("{}", nil),
            ("18446744073709551616", nil), ("99999999999999999999999999999999999999999", nil),
        ] as [(String, Int64?)])
    func plainIntegers(_ text: String, _ value: Int64?) {
        reader.with(text) { verdict in
            #expect(verdict == .document)
            #expect(reader.plainInteger(0) == value)
        }
    }

    @Test("one reader for many documents, of all sizes")
    func reused() {
        for count in [0, 1, 2, 300, 5, 40_000, 3, 0] {
            let text = "[" + Array(repeating: "0", count: count).joined(separator: ",") + "]"
            reader.with(text) { verdict in
                #expect(verdict == .document)
                #expect(reader.count(0) == count)
                var node = reader.firstChild(0)
                var seen = 0
                while node >= 0 {
                    seen += 1
                    node = reader.next(node)
                }
                #expect(seen == count)
            }
            #expect(reader.with("[1,") { $0 } == .notJSON(offset: 3))
        }
    }

    @Test("the densest documents fit the tape that is made for them")
    func dense() {
        let open = String(repeating: "[", count: Wire.maxDepth)
        for unit in ["0", "[]", "{}", "\"\"", #"{"":0}"#, "[0,0]"] {
            for count in [1, 2, 200, 1_000, 20_000] {
                let text = "[" + Array(repeating: unit, count: count).joined(separator: ",")
                #expect(verdict(text + "]") == .document)
                #expect(verdict(text) == .notJSON(offset: text.utf8.count))
                #expect(verdict(text + "," + open) != .document)
            }
        }
    }
}
