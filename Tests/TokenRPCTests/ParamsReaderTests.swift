import Testing
import TokenModel

@testable import TokenRPC

struct ParamsReaderTests {
    let reader = JSONReader()

    /// What a handler makes of params: its result, or `PARAM: SENTENCE`.
    private func handle(
        _ params: String?, _ handler: (inout ParamsReader) throws(InvalidParams) -> String
    ) -> String {
        guard let params else { return run(-1, handler) }
        return reader.with(params) { verdict in
            #expect(verdict == .document)
            return run(0, handler)
        }
    }

    private func run(_ node: Int32, _ handler: (inout ParamsReader) throws(InvalidParams) -> String) -> String {
        var params = ParamsReader(reader, node)
        do throws(InvalidParams) {
            let result = try handler(&params)
            try params.finish()
            return result
        } catch {
            return "\(error.param): \(error.sentence)"
        }
    }

    private func rotate(_ params: String?) -> String {
        handle(params) { (params) throws(InvalidParams) in
            let project = try params.projectCode("project_code")
            let application = try params.optionalApplicationName("application")
            let ttlSeconds = try params.integer("ttl_seconds", in: 60...31_536_000, default: 5_184_000)
            let graceSeconds = try params.optionalInteger("grace_seconds", in: 0...86_400)
            return "\(project) \(application?.text ?? "-") \(ttlSeconds) \(graceSeconds.map(String.init) ?? "-")"
        }
    }

    @Test(arguments: [
        (#"{"project_code":"P"}"#, "P - 5184000 -"),
        (#"{"grace_seconds":0,"ttl_seconds":60,"application":"a/b","project_code":"P"}"#, "P a/b 60 0"),
        (#"{"project_code":"\u0050","ttl_seconds":31536000,"grace_seconds":86400}"#, "P - 31536000 86400"),
        (#"{"project\u005fcode":"P"}"#, "P - 5184000 -"),
    ])
    func accepted(_ params: String, _ expected: String) {
        #expect(rotate(params) == expected)
    }

    @Test(arguments: [
        (nil, "project_code: The parameter project_code is missing."),
        ("{}", "project_code: The parameter project_code is missing."),
        (#"{"project_code":null}"#, "project_code: The parameter project_code must be a string."),
        (#"{"project_code":1}"#, "project_code: The parameter project_code must be a string."),
        (#"{"project_code":["P"]}"#, "project_code: The parameter project_code must be a string."),
        (#"{"project_code":"P","application":null}"#, "application: The parameter application must be a string."),
        (#"{"project_code":"P","x":1}"#, "x: The method has no such parameter."),
        (#"{"x":1,"project_code":"P"}"#, "x: The method has no such parameter."),
        (#"{"project_code":"P","Project_code":"P"}"#, "Project_code: The method has no such parameter."),
        (#"{"project_code":"P","\u0078\n":1}"#, "x\n: The method has no such parameter."),
        (#"{"project_code":"P","":1}"#, ": The method has no such parameter."),
    ])
    func refused(_ params: String?, _ expected: String) {
        #expect(rotate(params) == expected)
    }

    @Test(
        "names that are not of the pattern",
        arguments: ["", "-a", "a b", "é", "a\\u0000", "*", String(repeating: "a", count: 129)])
    func names(_ name: String) {
        #expect(
            rotate(#"{"project_code":"\#(name)"}"#).hasPrefix(
                "project_code: The parameter project_code must be 1 to 128"))
        #expect(rotate(#"{"project_code":"P","application":"\#(name)"}"#).hasPrefix("application: "))
    }

    @Test(
        "numbers are plain digits within the bounds",
        arguments: [
            "59", "31536001", "60.0", "6e1", "6E1", "-60", "\"60\"", "null", "true", "[60]", "{}",
            "99999999999999999999",
        ])
    func numbers(_ number: String) {
        #expect(
            rotate(#"{"project_code":"P","ttl_seconds":\#(number)}"#)
                == "ttl_seconds: The parameter ttl_seconds must be a whole number from 60 to 31536000, in plain digits."
        )
    }

    @Test func times() {
        func expiry(_ value: String) -> String {
            handle(#"{"expires_before":\#(value)}"#) { (params) throws(InvalidParams) in
                try params.optionalInstant("expires_before").map { "\($0)" } ?? "-"
            }
        }
        #expect(expiry("\"2025-05-24T18:18:22.265Z\"") == "2025-05-24T18:18:22.265Z")
        for wrong in ["\"2025-05-24T18:18:22Z\"", "\"\"", "1748110702265", "null", "\"2025-02-30T18:18:22.265Z\""] {
            #expect(expiry(wrong).hasPrefix("expires_before: "))
        }
        #expect(
            handle("{}") { (params) throws(InvalidParams) in
                try params.optionalInstant("expires_before").map { "\($0)" } ?? "-"
            } == "-")
    }

    @Test func strings() {
        func token(_ params: String?) -> String {
            handle(params) { (params) throws(InvalidParams) in
                String(decoding: try params.content("token"), as: UTF8.self)
            }
        }
        #expect(token(#"{"token":"api_key|x"}"#) == "api_key|x")
        #expect(token(#"{"token":"api_key\u007cx\n"}"#) == "api_key|x\n")
        #expect(token(#"{"token":""}"#).isEmpty)
        #expect(token(#"{"token":5}"#) == "token: The parameter token must be a string.")
        #expect(token("{}") == "token: The parameter token is missing.")
        #expect(token(nil) == "token: The parameter token is missing.")
        #expect(token(#"{"token":"a","project_code":"P"}"#) == "project_code: The method has no such parameter.")
        for (document, cursor) in [(#"{"cursor":"a"}"#, "a"), ("{}", "-")] {
            #expect(
                handle(document) { (params) throws(InvalidParams) in
                    try params.optionalContent("cursor").map { String(decoding: $0, as: UTF8.self) } ?? "-"
                } == cursor)
        }
        #expect(
            handle(#"{"a":1}"#) { (params) throws(InvalidParams) in "\(try params.integer("a", in: 0...1))" } == "1")
        #expect(
            handle("{}") { (params) throws(InvalidParams) in "\(try params.integer("a", in: 0...1))" }
                == "a: The parameter a is missing.")
    }

    @Test("a key may be asked for twice, and what is only seen is not taken")
    func twice() {
        let result = handle(#"{"application":"*"}"#) { (params) throws(InvalidParams) in
            #expect(params.has("application"))
            #expect(!params.has("token"))
            for _ in 0..<20 { _ = try params.content("application") }
            return "\(params.value("token"))"
        }
        #expect(result == "-1")
        let unseen = handle(#"{"application":"*"}"#) { (params) throws(InvalidParams) in "\(params.has("application"))"
        }
        #expect(unseen == "application: The method has no such parameter.")
    }

    @Test("an unknown name is repeated in part, and never a token")
    func echo() {
        #expect(
            handle(#"{"\#(String(repeating: "a", count: 63))é":1}"#) { _ in "" }
                == String(repeating: "a", count: 63) + ": The method has no such parameter.")
        #expect(
            handle(#"{"\#(String(repeating: "a", count: 62))é":1}"#) { _ in "" }
                == String(repeating: "a", count: 62) + "é: The method has no such parameter.")
        let token = "6O7A2yUY8gNAoc1GSpW1blcphw1EGJ654OGma05ane8jpXrCsAuzdQaoJABzQxII"
        #expect(handle(#"{"api_key|\#(token)":1}"#) { _ in "" } == "api_key|: The method has no such parameter.")
        #expect(handle(#"{"api_key\u007c\#(token)":1}"#) { _ in "" } == "api_key|: The method has no such parameter.")
    }

    @Test("16,000 unknown keys take a moment")
    func manyKeys() {
        let params = "{" + (0..<16_000).map { "\"\($0)\":0" }.joined(separator: ",") + "}"
        #expect(rotate(params) == "project_code: The parameter project_code is missing.")
    }
}
