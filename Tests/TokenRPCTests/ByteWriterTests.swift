import Testing
import TokenModel

@testable import TokenRPC

struct ByteWriterTests {
    @Test(arguments: [
        ("", #""""#), ("plain", #""plain""#), ("a\"b\\c/", #""a\"b\\c/""#), ("\u{8}\t\n\u{C}\r", #""\b\t\n\f\r""#),
        ("\u{0}\u{1F}\u{7F}", "\"\\u0000\\u001f\u{7F}\""), ("é€😀", "\"é€😀\""),
        ("12345678\"12345678", #""12345678\"12345678""#),
        ("1234567\n", #""1234567\n""#), ("\u{2028}", "\"\u{2028}\""),
    ])
    func strings(_ text: String, _ expected: String) {
        #expect(written { $0.appendJSONString(text) } == expected)
    }

    @Test("what is not UTF-8 is replaced, byte by byte")
    func invalidUTF8() {
        for bytes: [UInt8] in [
            [0xFF], [0xC3], [0xC3, 0x22], [0xED, 0xA0, 0x80], [0x61, 0x80, 0x62, 0xF0, 0x9F, 0x98],
        ] {
            let text = written { writer in bytes.withUnsafeBytes { writer.appendJSONString($0) } }
            let expected = bytes.map { $0 == 0x22 ? #"\""# : $0 < 0x80 ? String(UnicodeScalar($0)) : "\u{FFFD}" }
                .joined()
            #expect(text == "\"\(expected)\"")
        }
    }

    @Test("every scalar is read back as it was written")
    func everyScalar() {
        let reader = JSONReader()
        let scalars = (0...0x10FFFF as ClosedRange<UInt32>).compactMap(UnicodeScalar.init)
        for start in stride(from: 0, to: scalars.count, by: 4_096) {
            var text = String.UnicodeScalarView()
            text.append(contentsOf: scalars[start..<min(start + 4_096, scalars.count)])
            let writer = ByteWriter()
            writer.appendJSONString(String(text))
            #expect(reader.read(writer.bytes) == .document)
            #expect(reader.unescaped(0).elementsEqual(String(text).utf8))
        }
    }

    @Test(arguments: [0, 1, 9, 10, 99, 100, -1, -10, 12_345, .max, .min, 1_000_000_000_000_000_000, -999] as [Int64])
    func integers(_ value: Int64) {
        #expect(written { $0.appendInteger(value) } == "\(value)")
    }

    @Test func values() {
        #expect(written { $0.append(Instant(milliseconds: 1_748_110_702_265)) } == "\"2025-05-24T18:18:22.265Z\"")
        #expect(written { $0.append(Fingerprint(value: 0xAB)) } == "\"00000000000000ab\"")
        #expect(
            written { $0.append(RegistrationID(high: 0xDFA4_5616_E9F9_45BE, low: 0x881E_A1ED_8AE7_0224)) }
                == "\"dfa45616-e9f9-45be-881e-a1ed8ae70224\"")
        #expect(
            written {
                $0.append(true)
                $0.append(false)
            } == "truefalse")
    }

    @Test("keys and elements get their commas")
    func separators() {
        let text = written { writer in
            writer.append("{")
            writer.appendKey("a")
            writer.appendInteger(1)
            writer.appendKey("b")
            writer.append("[")
            for number in Int64(1)...3 {
                writer.appendSeparator()
                writer.appendInteger(number)
            }
            writer.append("]")
            writer.appendKey("c")
            writer.append("{")
            writer.appendKey("d")
            writer.appendJSONString("{")
            writer.appendKey("e")
            writer.append("{}")
            writer.append("}}")
        }
        #expect(text == #"{"a":1,"b":[1,2,3],"c":{"d":"{","e":{}}}"#)
    }

    @Test func marks() {
        let writer = ByteWriter(capacity: 1)
        writer.append("kept")
        let mark = writer.count
        writer.append("dropped")
        writer.truncate(to: mark)
        #expect(writer.text == "kept")
        writer.removeFirst(2)
        #expect(writer.text == "pt")
        writer.removeFirst(0)
        writer.append("!")
        #expect(writer.text == "pt!")
        writer.removeFirst(3)
        #expect(writer.text.isEmpty && writer.count == 0)
        writer.appendSeparator()
        #expect(writer.count == 0)
        writer.reserve(10_000)
        #expect(writer.capacity >= 10_000)
        writer.removeAll(wiping: false)
        #expect(writer.capacity >= 10_000)
    }

    /// Reads the memory behind `bytes`, up to the capacity that was asked for.
    private func memory(_ writer: ByteWriter, _ count: Int) -> [UInt8] {
        Array(UnsafeRawBufferPointer(start: writer.bytes.baseAddress, count: count))
    }

    @Test("wiping leaves nothing of what was written, cut off or moved")
    func wiping() {
        let secret = Array("SECRETSECRETSECRET".utf8)
        func filled() -> ByteWriter {
            let writer = ByteWriter(capacity: 64)
            secret.withUnsafeBytes { writer.append($0) }
            return writer
        }
        var writer = filled()
        writer.removeAll(wiping: true)
        #expect(memory(writer, secret.count).allSatisfy { $0 == 0 })

        writer = filled()
        writer.truncate(to: 3)
        writer.append("abc")
        writer.removeAll(wiping: false)
        #expect(memory(writer, secret.count).contains(UInt8(ascii: "S")))
        writer.removeAll(wiping: true)
        #expect(memory(writer, secret.count).allSatisfy { $0 == 0 })

        writer = filled()
        writer.removeFirst(secret.count - 1)
        writer.wipe()
        #expect(memory(writer, secret.count) == [UInt8(ascii: "T")] + [UInt8](repeating: 0, count: secret.count - 1))
    }
}

struct MessagesTests {
    private func answer(_ id: String, _ body: (ByteWriter, UnsafeRawBufferPointer) -> Void) -> String {
        written { writer in Array(id.utf8).withUnsafeBytes { body(writer, $0) } }
    }

    @Test func results() {
        #expect(
            answer("\"a\"") { writer, id in
                writer.appendResultHead(id: id)
                writer.append("{}")
                writer.appendResultTail()
                writer.appendLineFeed()
            } == #"{"jsonrpc":"2.0","id":"a","result":{}}"# + "\n")
    }

    @Test func errors() {
        #expect(
            answer("1") {
                $0.appendError(id: $1, WireError(.busy)) { writer in
                    writer.appendKey(Wire.ErrorData.retryAfterMilliseconds)
                    writer.appendInteger(50)
                }
            } == #"{"jsonrpc":"2.0","id":1,"error":{"code":-32006,"message":"The daemon is busy and has done nothing; "#
                + #"try again shortly.","data":{"reason":"busy","retry_after_ms":50}}}"#)
        #expect(
            answer("1") { $0.appendError(id: $1, WireError(.tokenExists), message: "A \"b\".") }
                == #"{"jsonrpc":"2.0","id":1,"error":{"code":-32004,"message":"A \"b\".","data":{"reason":"token_exists"}}}"#
        )
    }

    @Test("what one side writes the other reads")
    func answers() {
        let reader = JSONReader()
        reader.with(#"{"jsonrpc":"2.0","id":5,"result":{"active":false}}"#) { _ in
            guard case .result(let id, let result)? = readAnswer(reader, 0) else {
                Issue.record("no result")
                return
            }
            #expect(reader.plainInteger(id) == 5)
            #expect(reader.kind(reader.member("active", of: result)) == .false)
        }
        reader.with(answer("null") { $0.appendError(id: $1, .lineTooLong) }) { _ in
            guard case .error(let id, let error)? = readAnswer(reader, 0) else {
                Issue.record("no error")
                return
            }
            #expect(reader.kind(id) == .null)
            #expect(error.known == .invalidRequest)
            #expect(reader.equals(reader.member("reason", of: error.data), "line_too_long"))
        }
        reader.with(#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"x"}}"#) { _ in
            guard case .error(_, let error)? = readAnswer(reader, 0) else {
                Issue.record("no error")
                return
            }
            #expect(error.code == -1 && error.known == nil && error.data == -1)
        }
        let notification = written { writer in
            writer.appendNotificationHead(Wire.eventNotification)
            writer.append("{}")
            writer.appendResultTail()
        }
        reader.with(notification) { _ in
            guard case .notification(let method, let params)? = readAnswer(reader, 0) else {
                Issue.record("no notification")
                return
            }
            #expect(reader.equals(method, "event") && reader.count(params) == 0)
        }
    }

    @Test(
        "what is no answer",
        arguments: [
            "1", "[]", "{}", #"{"id":1,"result":1}"#, #"{"jsonrpc":"2.0","id":1}"#,
            #"{"jsonrpc":"2.0","id":1,"error":null}"#,
            #"{"jsonrpc":"2.0","id":1,"error":{"code":"a","message":"b"}}"#, #"{"jsonrpc":"2.0","result":1}"#,
            #"{"jsonrpc":"2.0","id":1,"result":1,"error":{"code":1,"message":"b"}}"#, #"{"jsonrpc":"2.0","method":1}"#,
            #"{"jsonrpc":"2.0","id":1,"error":{"code":1}}"#,
        ])
    func noAnswer(_ line: String) {
        let reader = JSONReader()
        reader.with(line) { verdict in
            #expect(verdict == .document)
            #expect(readAnswer(reader, 0) == nil)
        }
    }
}
