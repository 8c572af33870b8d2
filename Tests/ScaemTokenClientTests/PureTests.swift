import Testing
import TokenRPC

@testable import ScaemTokenClient

/// An error answer of the daemon's.
func daemonError(_ json: String) -> TokenClientError {
    let reader = JSONReader()
    return Array(json.utf8).withUnsafeBytes { bytes in
        #expect(reader.read(bytes) == .document)
        guard let view = ErrorView(reader, 0) else { return TokenClientError(.system, "no error") }
        return TokenClientError(view, reader)
    }
}

@Suite struct RetryRuleTests {
    private func pause(_ error: TokenClientError, isReadOnly: Bool) -> Int64? {
        var rule = RetryRule(isReadOnly: isReadOnly)
        return rule.pauseMilliseconds(after: error)
    }

    @Test func `a lost answer is asked for again only by readers`() {
        let lost = TokenClientError(.connectionBroken, "")
        #expect(pause(lost, isReadOnly: true) != nil)
        #expect(pause(lost, isReadOnly: false) == nil)
    }

    @Test(arguments: [true, false])
    func `what was certainly not done is asked again by all`(isReadOnly: Bool) {
        #expect(pause(TokenClientError(.notSent, ""), isReadOnly: isReadOnly) != nil)
        #expect(pause(daemonError(#"{"code":-32008,"message":""}"#), isReadOnly: isReadOnly) != nil)
    }

    @Test func `no other error is tried again`() {
        for code in ErrorCode.allCases where code != .busy && code != .shuttingDown {
            #expect(pause(daemonError(#"{"code":\#(code.rawValue),"message":""}"#), isReadOnly: true) == nil)
        }
        for code: TokenClientError.Code in [.noDaemon, .connectForbidden, .notAccepted, .timedOut, .malformedAnswer] {
            #expect(pause(TokenClientError(code, ""), isReadOnly: true) == nil)
        }
    }

    @Test func `pauses grow to a bound, and are never shorter than the daemon asks`() {
        var rule = RetryRule(isReadOnly: true)
        let pauses = (0..<12).compactMap { _ in rule.pauseMilliseconds(after: TokenClientError(.notSent, "")) }
        #expect(pauses.prefix(3) == [5, 10, 20])
        #expect(pauses.last == RetryRule.longestPauseMilliseconds)
        let busy = daemonError(#"{"code":-32006,"message":"","data":{"retry_after_ms":750}}"#)
        #expect(pause(busy, isReadOnly: false) == 750)
        // A daemon that says 0 or less is not asked in a tight loop.
        let eager = daemonError(#"{"code":-32006,"message":"","data":{"retry_after_ms":-5}}"#)
        #expect(pause(eager, isReadOnly: false) == 5)
    }
}

@Suite struct SocketPathTests {
    private func resolve(_ named: String?, _ environment: [String: String], existing: Set<String> = []) -> String {
        SocketPath.resolve(named: named, environment: { environment[$0] }, exists: existing.contains)
    }

    @Test func `the order is option, environment, the system's, the user's own`() {
        let all = ["SCAEM_TOKEND_SOCKET": "/e", "XDG_RUNTIME_DIR": "/run/user/7"]
        let own = ["XDG_RUNTIME_DIR": "/run/user/7"]
        #expect(resolve("/o", all, existing: [SocketPath.system]) == "/o")
        #expect(resolve(nil, all, existing: [SocketPath.system]) == "/e")
        #expect(resolve(nil, own, existing: [SocketPath.system]) == SocketPath.system)
        #expect(resolve(nil, own) == "/run/user/7/scaem-tokend/tokend.sock")
        #expect(resolve(nil, [:]) == SocketPath.system)
    }

    @Test func `what is empty or relative does not count`() {
        #expect(resolve(nil, ["SCAEM_TOKEND_SOCKET": ""]) == SocketPath.system)
        #expect(resolve(nil, ["XDG_RUNTIME_DIR": "run"]) == SocketPath.system)
        #expect(resolve(nil, ["XDG_RUNTIME_DIR": ""]) == SocketPath.system)
    }
}

@Suite struct ReceiveBufferTests {
    private func feed(_ buffer: ReceiveBuffer, _ bytes: ArraySlice<UInt8>) -> Bool {
        var rest = bytes
        while !rest.isEmpty {
            guard let room = buffer.room() else { return false }
            let count = min(room.count, rest.count)
            room.copyBytes(from: rest.prefix(count))
            buffer.filled(count)
            rest = rest.dropFirst(count)
        }
        return true
    }

    @Test func `lines come whole wherever the bytes are cut`() {
        var generator = SeededGenerator.announced()
        for _ in 0..<200 {
            let lines = (0..<Int.random(in: 1...8, using: &generator)).map { _ in
                [UInt8](
                    repeating: .random(in: 0x20...0x7E, using: &generator),
                    count: .random(in: 0...9_000, using: &generator))
            }
            var stream = Array(lines.map { $0 + [0x0A] }.joined())[...]
            let buffer = ReceiveBuffer()
            var found: [[UInt8]] = []
            while !stream.isEmpty {
                let piece = stream.prefix(.random(in: 1...5_000, using: &generator))
                stream = stream.dropFirst(piece.count)
                #expect(feed(buffer, piece))
                while let line = buffer.nextLine() { found.append(Array(line)) }
            }
            #expect(found == lines)
        }
    }

    @Test func `a line has an end in length`() {
        let buffer = ReceiveBuffer()
        #expect(feed(buffer, [UInt8](repeating: 0x20, count: Wire.maxAnswerBytes)[...]))
        #expect(buffer.nextLine() == nil)
        #expect(!feed(buffer, [UInt8](repeating: 0x20, count: 65_536)[...]))
    }

    @Test func `a wipe forgets and overwrites`() throws {
        let buffer = ReceiveBuffer()
        #expect(feed(buffer, Array("secret\nmore".utf8)[...]))
        let line = try #require(buffer.nextLine())
        buffer.wipe()
        // The memory is still the buffer's: what is seen there is what is left.
        #expect(line.allSatisfy { $0 == 0 })
        #expect(buffer.nextLine() == nil)
    }
}

@Suite struct TokenClientErrorTests {
    @Test func `no token is in an error, whatever the daemon says`() {
        let token = "api_key|" + String(repeating: "k", count: 64)
        let error = daemonError(
            #"{"code":-32005,"message":"\#(token)","data":{"reason":"\#(token)","next":"api\u005fkey|x","param":"\#(token)","errors":["\#(token)"]}}"#
        )
        for text in ["\(error)", error.next ?? "", error.errors.first ?? "", String(reflecting: error)] {
            #expect(!text.contains("api_key"))
        }
    }

    @Test func `its text is one line`() {
        let error = daemonError(#"{"code":-32005,"message":"a\nb\u001b.","data":{"reason":"r"}}"#)
        #expect(error.description == "a b  (-32005 r)")
    }

    @Test func `only a lost answer leaves it open whether something was done`() {
        let unknown: [TokenClientError.Code] = [.connectionBroken, .timedOut, .malformedAnswer]
        for code in unknown { #expect(!TokenClientError(code, "").nothingWasDone) }
        for code: TokenClientError.Code in [.noDaemon, .notSent, .notAccepted, .connectForbidden, .requestTooLong] {
            #expect(TokenClientError(code, "").nothingWasDone)
        }
        #expect(daemonError(#"{"code":-32003,"message":""}"#).nothingWasDone)
    }
}

/// SplitMix64, so that a failure can be repeated.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    static func announced() -> SeededGenerator {
        let seed = UInt64.random(in: 0...UInt64.max)
        print("seed \(seed)")
        return SeededGenerator(state: seed)
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
