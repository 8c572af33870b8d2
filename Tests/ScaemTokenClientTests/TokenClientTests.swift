import Testing
import TokenModel
import TokenRPC

@testable import ScaemTokenClient

private let secret = "api_key|6O7A2yUY8gNAoc1GSpW1blcphw1EGJ654OGma05ane8jpXrCsAuzdQaoJABzQxII"

@Suite(.serialized) struct TokenClientTests {
    private let project: ProjectCode
    private let token: TokenSecret

    init() throws {
        project = try #require(ProjectCode("P"))
        token = try TokenSecret.generate(from: SystemRandom())
    }

    private func credentials() -> String {
        let text = token.withBytes { String(decoding: $0, as: UTF8.self) }
        return #""result":{"registration_id":"dfa45616-e9f9-45be-881e-a1ed8ae70224","registration_token":""#
            + text + #"","token_expiration":"2025-05-24T18:18:22.265Z","token_type":"Bearer"}"#
    }

    private func withDaemon(
        _ steps: ScriptedDaemon.Step..., options: TokenClient.Options = TokenClient.Options(),
        _ body: (ScriptedDaemon, TokenClient) throws -> Void
    ) rethrows {
        let daemon = ScriptedDaemon(steps)
        defer { daemon.stop() }
        try body(daemon, TokenClient(socketPath: daemon.path, options: options))
    }

    private func failure(_ body: () throws(TokenClientError) -> Void) -> TokenClientError? {
        do {
            try body()
            return nil
        } catch {
            return error
        }
    }

    @Test func `the credentials of register and rotate`() throws {
        let previous = credentials().dropLast() + #","previous_token_expiration":"2025-01-01T00:00:00.001Z","later":1}"#
        try withDaemon(.answer(credentials()), .answer(String(previous))) { daemon, client in
            let first = try client.register(project: project, application: ApplicationName("a/b"), ttlSeconds: 60)
            #expect(first.token.digest == token.digest)
            #expect(first.registrationID.description == "dfa45616-e9f9-45be-881e-a1ed8ae70224")
            #expect(first.expiration.description == "2025-05-24T18:18:22.265Z")
            #expect(first.previousExpiration == nil)
            let second = try client.rotate(project: project, graceSeconds: 5)
            #expect(second.previousExpiration?.description == "2025-01-01T00:00:00.001Z")
            #expect(daemon.connections == 1)
            #expect(daemon.requests[0].contains(#""params":{"project_code":"P","application":"a/b","ttl_seconds":60}"#))
            #expect(daemon.requests[1].contains(#""params":{"project_code":"P","grace_seconds":5}"#))
        }
    }

    /// A daemon that was restarted while the connection was idle: the line did not leave, so even a change is sent again.
    @Test func `a connection that has died while idle costs nothing`() throws {
        let pong = #""result":{}"#
        try withDaemon(.answerAndClose(pong), .answer(credentials())) { daemon, client in
            try client.ping()
            daemon.waitForEndOfConnection()
            _ = try client.rotate(project: project)
            #expect(daemon.requests.count == 2)
            #expect(daemon.connections == 2)
        }
    }

    @Test func `a change whose answer is lost is not repeated`() {
        withDaemon(.close, .answer(credentials())) { daemon, client in
            let error = failure { () throws(TokenClientError) in _ = try client.rotate(project: project) }
            #expect(error?.code == .connectionBroken)
            #expect(error?.nothingWasDone == false)
            #expect(daemon.requests.count == 1)
        }
    }

    @Test func `an answer that does not come in time`() {
        withDaemon(.silence, options: TokenClient.Options(answerMilliseconds: 50)) { _, client in
            #expect(failure { () throws(TokenClientError) in try client.ping() }?.code == .timedOut)
        }
    }

    @Test func `who waits for ever does so within what a clock can say`() throws {
        let forEver = TokenClient.Options(patienceMilliseconds: .max, answerMilliseconds: .max)
        try withDaemon(.answer(credentials()), options: forEver) { _, client in
            _ = try client.rotate(project: project)
        }
    }

    @Test func `without patience nothing is tried twice`() {
        let busy = #""error":{"code":-32006,"message":"Busy.","data":{"retry_after_ms":1}}"#
        withDaemon(.answer(busy), .answer(busy), options: TokenClient.Options(patienceMilliseconds: 0)) {
            daemon, client in
            #expect(failure { () throws(TokenClientError) in try client.ping() }?.knownCode == .busy)
            #expect(daemon.requests.count == 1)
        }
    }

    @Test func `introspect`() throws {
        let active =
            #""result":{"active":true,"token_type":"Bearer","client_id":"dfa45616-e9f9-45be-881e-a1ed8ae70224","#
            + #""sub":"unit:a\\x2d.service","project_code":"P","iat":1,"exp":2}"#
        try withDaemon(.answer(active), .answer(#""result":{"active":false}"#)) { daemon, client in
            guard case .active(let grant) = try client.introspect(token) else {
                Issue.record("not active")
                return
            }
            #expect(grant.application.text == #"unit:a\x2d.service"#)
            #expect(grant.expirationSeconds == 2)
            #expect(try client.introspect(token) == .inactive)
            // What cannot be ours is not sent about.
            let other = Array("someone else's".utf8)
            #expect(try other.withUnsafeBytes { try client.introspect(presented: $0) } == .inactive)
            #expect(daemon.requests.count == 2)
        }
    }

    @Test func `list, all pages`() throws {
        func row(_ application: String) -> String {
            #"{"registration_id":"dfa45616-e9f9-45be-881e-a1ed8ae70224","application":"\#(application)","project_code":"P","#
                + #""issued_at":"2025-05-24T18:18:22.265Z","token_expiration":"2025-05-25T18:18:22.265Z","last_used_at":null,"#
                + #""state":"expired","fingerprint":"00112233445566ff","previous":"#
                + #"[{"fingerprint":"0000000000000001","token_expiration":"2025-05-24T18:18:22.265Z"}]}"#
        }
        try withDaemon(
            .answer(#""result":{"tokens":[\#(row("a")),\#(row("b"))],"next_cursor":"c"}"#),
            .answer(#""result":{"tokens":[\#(row("c"))]}"#)
        ) { daemon, client in
            let rows = try client.list()
            #expect(rows.map(\.application.text) == ["a", "b", "c"])
            #expect(rows[0].previous.first?.fingerprint.value == 1)
            #expect(!rows[0].isActive && rows[0].lastUsedAt == nil)
            #expect(daemon.requests[1].contains(#""cursor":"c""#))
        }
    }

    @Test func `revoke, unregister, whoami, status`() throws {
        let who = #""result":{"principal":"alice","uid":4294967295,"gid":0,"pid":7,"unit":null,"administrator":false}"#
        let status =
            #""result":{"version":"1","protocol":1,"uptime_seconds":2,"ready":true,"applications":3,"tokens":4,"#
            + #""storage":{"a":1,"b":{"c":2,"d":"x"}},"audit":{}}"#
        try withDaemon(
            .answer(#""result":{"revoked":2}"#), .answer(#""result":{"revoked":0}"#),
            .answer(#""result":{"revoked":1}"#),
            .answer(#""result":{"revoked":3}"#), .answer(who), .answer(status)
        ) { daemon, client in
            #expect(try client.revoke(token) == 2)
            #expect(try client.revoke(project: project) == 0)
            #expect(try client.revokeEveryApplication(project: project) == 1)
            #expect(try client.unregister() == 3)
            #expect(try client.whoami().uid == UInt32.max)
            let details = try client.status().details
            #expect(details.map(\.name) == ["storage.a", "storage.b.c"])
            #expect(details.map(\.value) == [1, 2])
            #expect(daemon.requests[2].contains(#""application":"*""#))
        }
    }

    @Test func `obtain follows next`() throws {
        let refusals = ["generate", "rotate"].map {
            #""error":{"code":-32002,"message":"No.","data":{"next":"\#($0)"}}"#
        }
        try withDaemon(.answer(refusals[0]), .answer(refusals[1]), .answer(credentials())) { daemon, client in
            _ = try client.obtain(project: project, graceSeconds: 9)
            #expect(daemon.requests.map { $0.contains("grace_seconds") } == [false, false, true])
        }
    }

    @Test func `watch gives the events that came with the answer, until it is told to stop`() throws {
        func event(_ sequence: Int) -> String {
            #"{"jsonrpc":"2.0","method":"event","params":{"sequence":\#(sequence),"event":"revoked","ended":["00112233445566ff"]}}"#
        }
        let stream =
            #"{"jsonrpc":"2.0","id":ID,"result":{"sequence":4}}"# + "\n" + event(5) + "\n"
            + #"{"jsonrpc":"2.0","method":"later","params":{}}"# + "\n" + event(6) + "\n" + event(7) + "\n"
        try withDaemon(.raw(stream), .answer(#""result":{}"#)) { daemon, client in
            var started: Int64 = 0
            var seen: [Int64] = []
            try client.watch(since: 4, started: { started = $0 }) { (event) throws(TokenClientError) in
                #expect(event.ended.first?.description == "00112233445566ff")
                seen.append(event.sequence)
                return event.sequence == 6 ? .stop : .goOn
            }
            #expect(started == 4)
            #expect(seen == [5, 6])
            try client.ping()
            #expect(daemon.connections == 2)
        }
    }

    @Test func `the daemon's end of a watch is its error`() {
        let stream =
            #"{"jsonrpc":"2.0","id":ID,"result":{"sequence":4}}"# + "\n"
            + #"{"jsonrpc":"2.0","method":"error","params":{"code":-32008,"message":"Bye.","data":{"reason":"shutting_down"}}}"#
            + "\n"
        withDaemon(.raw(stream)) { _, client in
            let error = failure { () throws(TokenClientError) in try client.watch { _ in .goOn } }
            #expect(error?.knownCode == .shuttingDown)
        }
    }

    @Test(arguments: [
        #"{"registration_id":"x"}"#, "{}", "[]", "7", #"{"revoked":1.5}"#, #"{"revoked":"1"}"#,
        #"{"registration_id":"dfa45616-e9f9-45be-881e-a1ed8ae70224","registration_token":"\#(secret.dropLast())0","#
            + #""token_expiration":"2025-05-24T18:18:22.265Z"}"#,
    ])
    func `a result that is not what it should be`(result: String) {
        withDaemon(.answer(#""result":\#(result)"#), .answer(#""result":\#(result)"#)) { _, client in
            let issued = failure { () throws(TokenClientError) in _ = try client.rotate(project: project) }
            let counted = failure { () throws(TokenClientError) in _ = try client.unregister() }
            #expect(issued?.code == .malformedAnswer)
            #expect(counted?.code == .malformedAnswer)
        }
    }

    @Test func `a request that is too long is not sent`() {
        withDaemon(.answer(#""result":{}"#)) { daemon, client in
            let error = failure { () throws(TokenClientError) in
                try client.call(
                    "x", isReadOnly: true,
                    parameters: { writer in
                        writer.appendJSONString(String(repeating: "x", count: Wire.maxLineBytes))
                    }, read: { _ in })
            }
            #expect(error?.code == .requestTooLong)
            #expect(daemon.connections == 0)
        }
    }
}
