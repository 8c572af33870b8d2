import Testing
import TokenRPC

@testable import ScaemTokenClient
@testable import scaem_token

/// What a renderer makes of a JSON text.
private func rendered(_ json: String, _ render: (Answer, ByteWriter) -> Void) -> String {
    let reader = JSONReader()
    let writer = ByteWriter()
    let bytes = Array(json.utf8)
    bytes.withUnsafeBytes { bytes in
        #expect(reader.read(bytes) == .document)
        render(Answer(reader: reader, node: 0), writer)
    }
    return String(decoding: writer.bytes, as: UTF8.self)
}

@Suite struct RenderingTests {
    @Test func `prometheus has numbers and yes or no, by their path`() {
        let json =
            #"{"version":"1\"2","ready":true,"tokens":4,"storage":{"a-b":{"c":1.5e3}},"off":false,"x":[1],"y":null}"#
        let text = rendered(json) { Prometheus.write($0, to: $1) }
        let samples = text.split(separator: "\n").filter { !$0.hasPrefix("#") }
        #expect(
            samples == [
                #"scaem_tokend_info{version="1\"2"} 1"#, "scaem_tokend_ready 1", "scaem_tokend_tokens 4",
                "scaem_tokend_storage_a_b_c 1.5e3", "scaem_tokend_off 0",
            ])
    }

    @Test func `each sample has its type before it`() {
        let text = rendered(#"{"requests_total":7,"total":1}"#) { Prometheus.write($0, to: $1) }
        let lines = text.split(separator: "\n").filter { !$0.hasPrefix("# HELP") }
        #expect(
            lines == [
                "# TYPE scaem_tokend_requests_total counter", "scaem_tokend_requests_total 7",
                "# TYPE scaem_tokend_total gauge", "scaem_tokend_total 1",
            ])
    }

    @Test func `an object without a member stays valid wherever that stood`() {
        for (json, rest) in [
            (#"{"a":1,"b":2,"c":3}"#, #"{"a":1,"c":3}"#), (#"{"b":2,"c":3}"#, #"{"c":3}"#), (#"{"b":2}"#, "{}"),
            (#"{"a":"x\n"}"#, #"{"a":"x\n"}"#), (#"{"\u0062":2}"#, "{}"), ("{}", "{}"),
        ] {
            #expect(rendered(json) { JSONRendering.object($0, without: "b", to: $1) } == rest + "\n")
        }
    }

    @Test func `pages become one array`() {
        var array = TokenArray()
        let pages = [("[1,2]", false), ("[]", false), ("[3]", true)]
        let text = pages.map { page, isLast in
            rendered(page) { array.write(page: $0, isLast: isLast, to: $1) }
        }
        #expect(joined(text, "") == #"{"tokens":[1,2,3]}"# + "\n")
    }

    /// A first page without rows (its rows may all have been filtered) is not to leave a comma behind.
    @Test func `an empty page first`() {
        var array = TokenArray()
        let pages = [("[]", false), ("[3]", true)]
        let text = pages.map { page, isLast in
            rendered(page) { array.write(page: $0, isLast: isLast, to: $1) }
        }
        #expect(joined(text, "") == #"{"tokens":[3]}"# + "\n")
    }

    @Test func `no control character reaches a terminal`() {
        let text = rendered(#"{"a":"x\u001b[31m","b\u0007":{"c":"\u007f"}}"#) {
            TextRendering.members(of: $0, without: nil, to: $1)
        }
        #expect(text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F || $0 == 0x0A })
    }
}

@Suite struct FailureTests {
    private func failure(_ code: ErrorCode?, data: String = "{}", project: String? = "P") -> Failure {
        let number = code?.rawValue ?? -1
        return Failure(
            clientError(#"{"code":\#(number),"message":"The daemon says so.","data":\#(data)}"#), isReadOnly: false,
            nextLine: { method in project.map { "scaem-token \(method) \($0)" } })
    }

    private func clientError(_ json: String) -> TokenClientError {
        let reader = JSONReader()
        return Array(json.utf8).withUnsafeBytes { bytes in
            #expect(reader.read(bytes) == .document)
            guard let view = ErrorView(reader, 0) else { return TokenClientError(.system, "no error") }
            return TokenClientError(view, reader)
        }
    }

    @Test func `each code has the exit code that scripts may rely on`() {
        let expected: [ErrorCode: Int32] = [
            .notRegistered: 1, .alreadyRegistered: 1, .tokenNotFound: 1, .tokenExists: 1, .historyGone: 1,
            .quotaExceeded: 1, .invalidParams: 64, .invalidRequest: 64, .methodNotFound: 64, .busy: 75,
            .storageUnavailable: 75, .shuttingDown: 75, .rateLimited: 75, .permissionDenied: 77,
            .invalidConfiguration: 78, .parseError: 70, .internalError: 70,
        ]
        for code in ErrorCode.allCases { #expect(failure(code).exitCode.rawValue == expected[code]) }
        #expect(failure(nil).exitCode == .software)
    }

    @Test func `the next step is a command only where it is one of ours`() {
        let known = failure(.tokenNotFound, data: #"{"next":"generate"}"#)
        #expect(known.message == "the daemon says so (-32003); next: scaem-token generate P")
        let strange = failure(.tokenNotFound, data: #"{"next":"rm -rf"}"#)
        #expect(strange.message == "the daemon says so (-32003)")
        let nowhere = failure(.tokenNotFound, data: #"{"next":"generate"}"#, project: nil)
        #expect(nowhere.message == "the daemon says so (-32003)")
    }

    @Test func `what a command line repeats is one word to a shell`() {
        #expect(ShellWord.quoted("/run/a_b-1.c:d@e+f,g=h") == "/run/a_b-1.c:d@e+f,g=h")
        #expect(ShellWord.quoted("a b") == "'a b'")
        #expect(ShellWord.quoted("it's $(here)") == #"'it'\''s $(here)'"#)
        #expect(ShellWord.quoted("") == "''")
        #expect(ShellWord.quoted("~x") == "'~x'")
        #expect(ShellWord.quoted("é\n") == "'é\n'")
    }

    @Test func `a lost answer says whether it matters`() {
        let lost = TokenClientError(.connectionBroken, "the connection broke before the answer")
        #expect(TokenText.contains(Failure(lost, isReadOnly: false, nextLine: { _ in nil }).message, "unknown"))
        #expect(!TokenText.contains(Failure(lost, isReadOnly: true, nextLine: { _ in nil }).message, "unknown"))
    }
}
