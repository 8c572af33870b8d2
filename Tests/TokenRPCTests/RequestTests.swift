import Testing

@testable import TokenRPC

/// How a line is read up to the requests' form.
struct RequestTests {
    let reader = JSONReader()

    /// What a request would be answered with: `ID METHOD`, `ID -32600 reason`, or `notification METHOD`.
    private func summary(_ request: RequestView) -> String {
        let id = request.id.map { String(decoding: reader.bytes(of: $0), as: UTF8.self) } ?? "notification"
        if let problem = request.problem { return "\(id) \(problem.code.rawValue) \(problem.reason)" }
        return "\(id) \(request.method.map { "\($0)" } ?? "nothing")"
    }

    private func summary(_ line: String) -> String {
        Array(line.utf8).withUnsafeBytes { bytes in
            switch readLine(bytes, with: reader) {
            case .blank: return "blank"
            case .refused(let error): return "refused \(error.code.rawValue) \(error.reason)"
            case .single(let request): return summary(request)
            case .batch(let first, let count):
                var entries: [String] = []
                var node = first
                while node >= 0 {
                    entries.append(summary(readRequest(reader, node)))
                    node = reader.next(node)
                }
                #expect(entries.count == count)
                return "[" + entries.joined(separator: ", ") + "]"
            }
        }
    }

    @Test(
        "the id comes back in its own bytes",
        arguments: [
            "1", "0", "-1", "1.50", "1E+2", "12345678901234567890123", "null", #""""#, #""a""#, #""\u0041\/""#, #""😀""#,
        ])
    func idBytes(_ id: String) {
        #expect(summary(#"{"jsonrpc":"2.0","id":\#(id),"method":"ping"}"#) == "\(id) ping")
        #expect(summary(#"{"method":"ping","jsonrpc":"2.0","id" : \#(id) }"#) == "\(id) ping")
        #expect(summary(#"{"jsonrpc":"2.0","id":\#(id),"method":"pong"}"#) == "\(id) -32601 method_not_found")
        #expect(summary(#"{"jsonrpc":"2.0","id":\#(id),"method":"ping","params":[]}"#) == "\(id) -32602 invalid_params")
        // A valid id comes back with a malformed request too, wherever it stands.
        #expect(summary(#"{"jsonrpc":"2.0","id":\#(id)}"#) == "\(id) -32600 invalid_request")
        #expect(summary(#"{"jsonrpc":"1.0","method":"ping","id":\#(id)}"#) == "\(id) -32600 invalid_request")
        #expect(summary(#"{"jsonrpc":"2.0","method":1,"id":\#(id)}"#) == "\(id) -32600 invalid_request")
        #expect(
            summary(#"{"jsonrpc":"2.0","method":"ping","params":null,"id":\#(id)}"#) == "\(id) -32600 invalid_request")
    }

    @Test("what is no id is answered with null", arguments: ["{}", "[]", "[1]", "true", "false", #"{"a":1}"#])
    func noID(_ id: String) {
        #expect(summary(#"{"jsonrpc":"2.0","id":\#(id),"method":"ping"}"#) == "null -32600 invalid_request")
        #expect(summary(#"{"jsonrpc":"2.0","id":\#(id),"method":"pong"}"#) == "null -32600 invalid_request")
    }

    @Test(
        "the form",
        arguments: [
            // Without an id a well-formed request is a notification, whatever else is wrong with it.
            (#"{"jsonrpc":"2.0","method":"ping"}"#, "notification ping"),
            (#"{"jsonrpc":"2.0","method":"pong"}"#, "notification -32601 method_not_found"),
            (#"{"jsonrpc":"2.0","method":"ping","params":[1]}"#, "notification -32602 invalid_params"),
            // A malformed one is answered with id null.
            (#"{"jsonrpc":"2.0"}"#, "null -32600 invalid_request"),
            (#"{}"#, "null -32600 invalid_request"),
            (#"{"jsonrpc":"2.0","method":"ping","params":null}"#, "null -32600 invalid_request"),
            (#"1"#, "null -32600 invalid_request"),
            (#""ping""#, "null -32600 invalid_request"),
            (#"null"#, "null -32600 invalid_request"),
            // jsonrpc is exactly the string 2.0.
            (#"{"method":"ping","id":1}"#, "1 -32600 invalid_request"),
            (#"{"jsonrpc":2.0,"method":"ping","id":1}"#, "1 -32600 invalid_request"),
            (#"{"jsonrpc":"2","method":"ping","id":1}"#, "1 -32600 invalid_request"),
            (#"{"jsonrpc":"2.00","method":"ping","id":1}"#, "1 -32600 invalid_request"),
            (#"{"jsonrpc":null,"method":"ping","id":1}"#, "1 -32600 invalid_request"),
            (#"{"JSONRPC":"2.0","method":"ping","id":1}"#, "1 -32600 invalid_request"),
            // Params are an object or left out.
            (#"{"jsonrpc":"2.0","method":"ping","id":1,"params":{}}"#, "1 ping"),
            (#"{"jsonrpc":"2.0","method":"ping","id":1,"params":1}"#, "1 -32600 invalid_request"),
            (#"{"jsonrpc":"2.0","method":"ping","id":1,"params":"a"}"#, "1 -32600 invalid_request"),
            (#"{"jsonrpc":"2.0","method":"ping","id":1,"params":false}"#, "1 -32600 invalid_request"),
            // The form before the method, the method before params by position.
            (#"{"jsonrpc":"2.0","method":"pong","id":1,"params":[]}"#, "1 -32601 method_not_found"),
            (#"{"jsonrpc":"2.0","method":"pong","id":1,"params":null}"#, "1 -32600 invalid_request"),
            // Other members do not matter, escapes do not either.
            (#"{"jsonrpc":"2.0","method":"ping","id":1,"extra":[{"x":null}],"auth":"a"}"#, "1 ping"),
            (#"{"\u006asonrpc":"2\u002e0","m\u0065thod":"\u0070ing","i\u0064":1,"par\u0061ms":{}}"#, "1 ping"),
            (#"{"jsonrpc":"2.0","method":"","id":1}"#, "1 -32601 method_not_found"),
            (#"{"jsonrpc":"2.0","method":"Ping","id":1}"#, "1 -32601 method_not_found"),
            (#"{"jsonrpc":"2.0","method":"ping ","id":1}"#, "1 -32601 method_not_found"),
            (#"{"jsonrpc":"2.0","method":"ping\u0000","id":1}"#, "1 -32601 method_not_found"),
        ])
    func form(_ line: String, _ expected: String) {
        #expect(summary(line) == expected)
        #expect(summary("[\(line)]") == "[\(expected)]")
    }

    @Test(
        "the line",
        arguments: [
            ("", "blank"), (" ", "blank"), ("\n", "blank"), ("\r\n", "blank"), (" \t\r\n", "blank"),
            ("\u{A0}", "refused -32700 parse_error"), ("{", "refused -32700 parse_error"),
            ("\u{FEFF}{}", "refused -32700 parse_error"),
            ("[]", "refused -32600 batch_too_large"), (" [ ] \r\n", "refused -32600 batch_too_large"),
            (#"{"id":1,"id":1}"#, "refused -32600 duplicate_key"),
            (#"{"id":1,"id":1"#, "refused -32700 parse_error"),
            (#"[{"jsonrpc":"2.0","method":"ping","id":1},{"a":{"b":1,"b":2}}]"#, "refused -32600 duplicate_key"),
            ("{\"jsonrpc\":\"2.0\",\"method\":\"ping\",\"id\":1}\r\n", "1 ping"),
            ("{\"jsonrpc\":\"2.0\",\"method\":\"ping\",\"id\":1}\n", "1 ping"),
        ])
    func lines(_ line: String, _ expected: String) {
        #expect(summary(line) == expected)
    }

    @Test func batchSizes() {
        let entry = #"{"jsonrpc":"2.0","method":"ping"}"#
        func batch(_ count: Int) -> String { "[" + Array(repeating: entry, count: count).joined(separator: ",") + "]" }
        #expect(summary(batch(Wire.maxBatch)).split(separator: ",").count == Wire.maxBatch)
        #expect(summary(batch(Wire.maxBatch + 1)) == "refused -32600 batch_too_large")
        #expect("\(WireError.batchTooLarge.message)".contains("1 to \(Wire.maxBatch) "))
        #expect(
            summary("[" + Array(repeating: "1", count: Wire.maxBatch + 1).joined(separator: ",") + "]")
                == "refused -32600 batch_too_large")
    }

    /// The examples of the JSON-RPC 2.0 specification, section 7, by their forms; the methods are not ours.
    @Test(
        "the specification's examples",
        arguments: [
            (#"{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}"#, "1 -32601 method_not_found"),
            (#"{"jsonrpc": "2.0", "method": "introspect", "params": [42, 23], "id": 2}"#, "2 -32602 invalid_params"),
            (
                #"{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}"#,
                "3 -32601 method_not_found"
            ),
            (#"{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}"#, "notification -32601 method_not_found"),
            (#"{"jsonrpc": "2.0", "method": "foobar"}"#, "notification -32601 method_not_found"),
            (#"{"jsonrpc": "2.0", "method": "foobar", "id": "1"}"#, #""1" -32601 method_not_found"#),
            (#"{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]"#, "refused -32700 parse_error"),
            (#"{"jsonrpc": "2.0", "method": 1, "params": "bar"}"#, "null -32600 invalid_request"),
            (
                #"[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},{"jsonrpc": "2.0", "method"]"#,
                "refused -32700 parse_error"
            ),
            (#"[]"#, "refused -32600 batch_too_large"),
            (#"[1]"#, "[null -32600 invalid_request]"),
            (#"[1,2,3]"#, "[null -32600 invalid_request, null -32600 invalid_request, null -32600 invalid_request]"),
            (
                #"[{"jsonrpc":"2.0","method":"ping","id":"1"},{"jsonrpc":"2.0","method":"ping","params":{}},{"foo":"boo"},"#
                    + #"{"jsonrpc":"2.0","method":"foo.get","params":{"name":"myself"},"id":"5"}]"#,
                #"["1" ping, notification ping, null -32600 invalid_request, "5" -32601 method_not_found]"#
            ),
            (
                #"[{"jsonrpc":"2.0","method":"ping"},{"jsonrpc":"2.0","method":"whoami"}]"#,
                "[notification ping, notification whoami]"
            ),
        ])
    func specification(_ line: String, _ expected: String) {
        #expect(summary(line) == expected)
    }

    @Test(
        "members in any order",
        arguments: [
            #"{"jsonrpc":"2.0","id":7,"method":"introspect","params":{"token":"x"}}"#,
            #"{"params":{"token":"x"},"method":"introspect","id":7,"jsonrpc":"2.0"}"#,
            #"{"id":7,"params":{"token":"x"},"jsonrpc":"2.0","x":{"method":"ping","params":{},"id":8},"method":"introspect"}"#,
        ])
    func paramsAreFound(_ line: String) {
        Array(line.utf8).withUnsafeBytes { bytes in
            guard case .single(let request) = readLine(bytes, with: reader) else {
                Issue.record("not a request")
                return
            }
            #expect(summary(request) == "7 introspect")
            #expect(reader.equals(request.methodNode, "introspect"))
            #expect(reader.equals(reader.member("token", of: request.params), "x"))
        }
    }
}

struct WordsTests {
    @Test("a method is found by its name and by nothing else", arguments: Method.allCases)
    func names(_ method: Method) {
        let name = "\(method.name)"
        func found(_ text: String) -> Method? { Array(text.utf8).withUnsafeBytes { Method(name: $0) } }
        #expect(name == "\(method)")
        #expect(found(name) == method)
        for index in name.indices {
            var other = name
            other.replaceSubrange(index...index, with: "#")
            #expect(found(other) == nil)
        }
        #expect(found(name + "s") == nil)
        #expect(found(String(name.dropLast())) == nil)
        #expect(found(name.uppercased()) == nil)
        let reader = JSONReader()
        let escaped = name.utf8.map { "\\u00" + String($0, radix: 16) }.joined()
        reader.with("\"\(escaped)\"") { _ in #expect(Method(name: reader.unescaped(0)) == method) }
        reader.with("\"\(escaped)\\u0000\"") { _ in #expect(Method(name: reader.unescaped(0)) == nil) }
    }

    @Test func credentials() {
        #expect(Method.allCases.filter(\.returnsCredentials) == [.register, .generate, .rotate])
    }

    @Test("codes and reasons are the contract's")
    func codes() {
        let contract: [(Int, String)] = [
            (-32700, "parse_error"), (-32600, "invalid_request"), (-32601, "method_not_found"),
            (-32602, "invalid_params"),
            (-32603, "internal_error"), (-32001, "not_registered"), (-32002, "already_registered"),
            (-32003, "token_not_found"),
            (-32004, "token_exists"), (-32005, "permission_denied"), (-32006, "busy"), (-32007, "storage_unavailable"),
            (-32008, "shutting_down"), (-32009, "rate_limited"), (-32010, "history_gone"), (-32011, "quota_exceeded"),
            (-32012, "invalid_configuration"),
        ]
        #expect(ErrorCode.allCases.map(\.rawValue).sorted() == contract.map(\.0).sorted())
        for (code, reason) in contract {
            #expect(ErrorCode(rawValue: code).map { "\($0.reason)" } == reason)
            let message = ErrorCode(rawValue: code).map { "\($0.message)" } ?? ""
            #expect(message.hasSuffix(".") && message.first?.isUppercase == true)
        }
        #expect(ErrorCode(rawValue: -32000) == nil)
        #expect(WireError.lineTooLong != WireError.batchTooLarge)
        #expect(WireError(.busy) == WireError(.busy, message: "Other words."))
        #expect([WireError.lineTooLong, .batchTooLarge, .duplicateKey].allSatisfy { $0.code == .invalidRequest })
        #expect(
            [WireError.lineTooLong, .batchTooLarge, .duplicateKey].map { "\($0.reason)" }
                == ["line_too_long", "batch_too_large", "duplicate_key"])
    }
}
