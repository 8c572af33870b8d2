import Glibc
import ScaemTokenClient
import TokenModel
import TokenRPC

/// The commands that issue a token, look at one, or end some.
extension Session {
    /// register, generate, rotate.
    func issue(_ method: String) throws(Failure) -> ExitCode {
        let request = try IssueRequest(self)
        let file = try outputFile()
        let printed: Result<Void, Failure>
        do throws(TokenClientError) {
            printed = try step(method, request, file)
        } catch {
            throw failure(error, isReadOnly: false)
        }
        try printed.get()
        return .success
    }

    /// Whichever of them gives a token now.
    func obtain() throws(Failure) -> ExitCode {
        let request = try IssueRequest(self)
        let file = try outputFile()
        let printed: Result<Void, Failure>
        do throws(TokenClientError) {
            printed = try client.followNext { (method) throws(TokenClientError) in try step(method, request, file) }
        } catch {
            throw failure(error, isReadOnly: false)
        }
        try printed.get()
        return .success
    }

    /// What all of them send, checked before anything is asked or written.
    private struct IssueRequest {
        let project: ProjectCode
        let application: ApplicationName?
        let ttlSeconds: Int64?
        let graceSeconds: Int64?

        init(_ session: Session) throws(Failure) {
            project = try session.project(session.invocation.arguments[0])
            application = try session.application()
            ttlSeconds = try session.seconds(.ttl)
            graceSeconds = try session.seconds(.grace)
        }
    }

    private func outputFile() throws(Failure) -> TokenFile? {
        guard let name = invocation[.output] else { return nil }
        return try TokenFile(name)
    }

    private func step(
        _ method: String, _ request: IssueRequest, _ file: TokenFile?
    ) throws(TokenClientError) -> Result<Void, Failure> {
        try exchange(
            method, isReadOnly: false,
            parameters: { writer in
                let object = ParameterWriter(writer)
                object.add("project_code", request.project.text)
                object.add("application", request.application?.text)
                object.add("ttl_seconds", request.ttlSeconds)
                object.add("grace_seconds", method == "rotate" ? request.graceSeconds : nil)
                object.end()
            },
            print: { (answer) throws(Failure) in try deliver(answer, file) })
    }

    /// The token to the file and the rest to standard output, or all of it there.
    private func deliver(_ credentials: Answer, _ file: TokenFile?) throws(Failure) {
        guard let file else {
            do { return try print(credentials, without: nil) } catch {
                throw Failure(error.exitCode, error.message + "; the token that was issued is lost, rotate again")
            }
        }
        guard let token = credentials.member("registration_token"), token.kind == .string,
            !token.reader.hasEscapes(token.node), token.bytes.count > 2
        else { throw Failure(.software, "the daemon's answer holds no token; rotate again") }
        try file.commit(token.reader.content(token.node))
        signal(SIGPIPE, SIG_IGN)
        // The file is what was asked for, and cannot be taken back: a failure would say that it is as it was.
        do { try print(credentials, without: "registration_token") } catch { error.report() }
    }

    /// An object's members, but for one.
    private func print(_ object: Answer, without left: StaticString?) throws(Failure) {
        let writer = ByteWriter(capacity: 4_096)
        if printsText {
            TextRendering.members(of: object, without: left, to: writer)
        } else if let left {
            JSONRendering.object(object, without: left, to: writer)
        } else {
            writer.append(object.bytes)
            writer.append(UInt8(ascii: "\n"))
        }
        try StandardOutput.write(writer)
    }

    /// Exit code 0 where the token is active, 1 where it is not.
    func introspect() throws(Failure) -> ExitCode {
        let token = try TokenInput.read(invocation.arguments.first)
        var isActive = false
        try call(
            "introspect", isReadOnly: true, parameters: { Session.writeToken(token, to: $0) },
            print: { (answer) throws(Failure) in
                isActive = answer.member("active")?.boolean ?? false
                guard printsText else { return try StandardOutput.write(line: answer.bytes) }
                let writer = ByteWriter()
                TextRendering.introspection(answer, isActive: isActive, to: writer)
                try StandardOutput.write(writer)
            })
        return isActive ? .success : .refused
    }

    func revoke() throws(Failure) -> ExitCode {
        if let file = invocation[.tokenFile] {
            let token = try TokenInput.read(file)
            return try end("revoke") { Session.writeToken(token, to: $0) }
        }
        let project = try project(invocation.arguments[0])
        // An administrator's word for every application's; no name looks like it.
        let application = invocation[.application] == "*" ? "*" : try application()?.text
        return try end("revoke") { writer in
            let object = ParameterWriter(writer)
            object.add("project_code", project.text)
            object.add("application", application)
            object.end()
        }
    }

    func unregister() throws(Failure) -> ExitCode {
        let application = try application()
        return try end("unregister") { writer in
            let object = ParameterWriter(writer)
            object.add("application", application?.text)
            object.end()
        }
    }

    private func end(_ method: String, parameters: @escaping (ByteWriter) -> Void) throws(Failure) -> ExitCode {
        try call(method, isReadOnly: false, parameters: parameters) { (answer) throws(Failure) in
            guard printsText else { return try StandardOutput.write(line: answer.bytes) }
            let count = answer.member("revoked")?.integer ?? 0
            try StandardOutput.write(text: count == 1 ? "1 token ended\n" : "\(count) tokens ended\n")
        }
        return .success
    }

    private static func writeToken(_ token: SecretBytes, to writer: ByteWriter) {
        let object = ParameterWriter(writer)
        object.add("token", bytes: token.bytes)
        object.end()
    }

    /// Asks nobody. Exit code 0 where it is one of our tokens, 1 where it is not.
    func fingerprint() throws(Failure) -> ExitCode {
        let token = try TokenInput.read(invocation.arguments.first)
        guard TokenSecret.isWellFormed(token.bytes) else {
            try StandardOutput.write(
                text: printsText
                    ? "not one of our tokens: its form or checksum is wrong\n" : "{\"well_formed\":false}\n")
            return .refused
        }
        let fingerprint = TokenDigest(hashing: token.bytes).fingerprint.description
        try StandardOutput.write(
            text: printsText
                ? "one of our tokens, fingerprint \(fingerprint)\n"
                : "{\"well_formed\":true,\"fingerprint\":\"\(fingerprint)\"}\n")
        return .success
    }
}
