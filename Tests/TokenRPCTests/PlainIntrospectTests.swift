import Testing

@testable import TokenRPC

/// The line that is compared and not read: whatever it takes, the reader must find the same in it.
struct PlainIntrospectTests {
    private static let token = "api_key|0123456789abcdefghijABCDEFGHIJ0123456789abcdefghijABCDEFGHIJ0123"
    private static let line = line(id: "17", token: token)
    private let reader = JSONReader()

    private static func line(id: String, token: String) -> [UInt8] {
        Array(#"{"jsonrpc":"2.0","id":\#(id),"method":"introspect","params":{"token":"\#(token)"}}"#.utf8) + [0x0A]
    }

    /// Id and token, as far as the line is taken for a plain one.
    private func plain(_ line: [UInt8]) -> [[UInt8]]? {
        line.withUnsafeBytes { bytes in PlainIntrospect(bytes).map { [Array($0.id), Array($0.token)] } }
    }

    /// The same, as the reader finds it; nil where it is no `introspect` that is looked up.
    private func read(_ line: [UInt8]) -> [[UInt8]]? {
        line.withUnsafeBytes { bytes in
            guard case .single(let request) = readLine(bytes, with: reader), request.problem == nil,
                request.method == .introspect, let id = request.id
            else { return nil }
            var params = ParamsReader(reader, request.params)
            guard let token = try? Array(params.content(Wire.Key.token)), (try? params.finish()) != nil else {
                return nil
            }
            return [Array(reader.bytes(of: id)), token]
        }
    }

    /// Whether it is taken for a plain one; then it must be what the reader finds.
    private func isTaken(_ line: [UInt8]) -> Bool {
        guard let plain = plain(line) else { return false }
        #expect(plain == read(line), "\(String(decoding: line, as: UTF8.self))")
        return true
    }

    @Test(
        "is taken, whatever its token's length", arguments: ["0", "9", "17", "12345678901234567890123"],
        [0, 1, 72, 65_000])
    func plainLine(_ id: String, _ length: Int) {
        #expect(isTaken(Self.line(id: id, token: String(repeating: "a", count: length))))
    }

    @Test(
        "is left to the reader",
        arguments: ["", "00", "01", "-1", "1.5", "1e2", "null", #""a""#, " 1", "1 ", "1,"])
    func otherID(_ id: String) {
        #expect(!isTaken(Self.line(id: id, token: Self.token)))
    }

    @Test(
        "a token that is not plain is left to the reader", arguments: [#"\u0041"#, "ä", "\u{1}", "\"", "\\", "\u{7F}ä"])
    func otherToken(_ part: String) {
        for filler in 0...9 {
            #expect(!isTaken(Self.line(id: "1", token: String(repeating: "x", count: filler) + part)))
            #expect(!isTaken(Self.line(id: "1", token: part + String(repeating: "x", count: filler))))
        }
    }

    @Test("a member more, another order, white space, no LF")
    func otherForm() {
        let text = String(decoding: Self.line.dropLast(), as: UTF8.self)
        for other in [
            text, text + " \n", text + "\r\n", " " + text + "\n", text.replacing(":{", with: ": {") + "\n",
            text.replacing("}}", with: #","token":"b"}}"#) + "\n", text.replacing("}}", with: #","a":1}}"#) + "\n",
            text.replacing("}}", with: #"},"id":1}"#) + "\n", text.replacing("introspect", with: "revokes") + "\n",
        ] {
            #expect(!isTaken(Array(other.utf8)), "\(other)")
        }
    }

    @Test("each byte of it changed to each other, taken out, doubled, and each part of it")
    func eachByte() {
        var taken = 0
        for place in Self.line.indices {
            var changed = Self.line
            for byte in UInt8.min...UInt8.max {
                changed[place] = byte
                if isTaken(changed) { taken += 1 }
            }
            changed = Self.line
            changed.remove(at: place)
            _ = isTaken(changed)
            changed.insert(contentsOf: [Self.line[place], Self.line[place]], at: place)
            _ = isTaken(changed)
            #expect(!isTaken(Array(Self.line[..<place])))
            #expect(place == 0 || !isTaken(Array(Self.line[place...])))
        }
        // Itself at each place; else 9 and 8 of ten digits for the id, whose first is not 0, and what a token's byte may be.
        let plainBytes = (0x20..<0x80).count - 2
        #expect(taken == (Self.line.count - 2 - Self.token.utf8.count) + 9 + 10 + Self.token.utf8.count * plainBytes)
    }

    @Test("reads nothing behind its line")
    func staysInside() {
        let guarded = GuardedBytes(capacity: 4_096)
        for length in Self.line.indices { #expect(PlainIntrospect(guarded.place(Array(Self.line[..<length]))) == nil) }
        #expect(PlainIntrospect(guarded.place(Self.line)) != nil)
    }
}
