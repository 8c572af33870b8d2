public import TokenModel
import TokenRPC

/// The contract's methods. Each throws `TokenClientError`; `nil` for an application means the caller's own.
extension TokenClient {
    /// Registers the application and gives it its first token.
    /// - Throws: -32002 where it is registered already; `next` then says `generate` or `rotate`. Nothing has changed.
    public func register(
        project: ProjectCode, application: ApplicationName? = nil, ttlSeconds: Int64? = nil
    ) throws(TokenClientError) -> Credentials {
        try issue("register", project, application, ttlSeconds)
    }

    /// Gives a registered application a token for a further project.
    /// - Throws: -32001 where it is not registered, -32004 where it has a token for the project. Nothing has changed.
    public func generate(
        project: ProjectCode, application: ApplicationName? = nil, ttlSeconds: Int64? = nil
    ) throws(TokenClientError) -> Credentials {
        try issue("generate", project, application, ttlSeconds)
    }

    /// Replaces the application's token. The old one is dead on return, or good for `graceSeconds` more. Where it
    /// throws with `nothingWasDone == false`, the old token may be dead: rotate again, with the same grace.
    /// - Throws: -32001 where it is not registered, -32003 where it has no token for the project. Nothing has changed.
    public func rotate(
        project: ProjectCode, application: ApplicationName? = nil, ttlSeconds: Int64? = nil,
        graceSeconds: Int64? = nil
    ) throws(TokenClientError) -> Credentials {
        try issue("rotate", project, application, ttlSeconds, graceSeconds)
    }

    /// Gets a token, whatever the application holds now: registers, generates or rotates, as the daemon's `next`
    /// says, in at most four steps. An existing token is replaced.
    /// - Throws: as the steps do.
    public func obtain(
        project: ProjectCode, application: ApplicationName? = nil, ttlSeconds: Int64? = nil,
        graceSeconds: Int64? = nil
    ) throws(TokenClientError) -> Credentials {
        try followNext { (method) throws(TokenClientError) in
            try issue(method, project, application, ttlSeconds, method == "rotate" ? graceSeconds : nil)
        }
    }

    /// Asks with `register`, then with the method that each refusal names: four steps are enough unless others change
    /// the same application at the same time.
    /// - Parameter step: calls the method that it is given.
    /// - Throws: what the last step threw.
    public func followNext<Value>(
        _ step: (_ method: String) throws(TokenClientError) -> Value
    ) throws(TokenClientError) -> Value {
        var method = "register"
        var stepsLeft = 4
        while true {
            stepsLeft -= 1
            do {
                return try step(method)
            } catch {
                guard stepsLeft > 0, let next = error.next, ["register", "generate", "rotate"].contains(next) else {
                    throw error
                }
                method = next
            }
        }
    }

    /// Whether a presented token is alive, and what it is good for.
    public func introspect(_ token: TokenSecret) throws(TokenClientError) -> Introspection {
        // The typed rethrow does not reach through TokenSecret's closure: the result carries the error.
        try token.withBytes { bytes in
            Result { () throws(TokenClientError) in try introspect(presented: bytes) }
        }.get()
    }

    /// The same for whatever a caller presented, which must be UTF-8: what is not a token of ours is `.inactive`,
    /// without asking the daemon. The caller wipes its own copy.
    public func introspect(presented: UnsafeRawBufferPointer) throws(TokenClientError) -> Introspection {
        guard TokenSecret.isWellFormed(presented) else { return .inactive }
        return try call(
            "introspect", isReadOnly: true, parameters: { Self.writeToken($0, presented) },
            read: { (answer) throws(TokenClientError) in try answer.introspection() })
    }

    /// Ends a token that the caller holds; the current one takes its previous ones with it.
    /// - Returns: how many living tokens ended; 0 is success.
    public func revoke(_ token: TokenSecret) throws(TokenClientError) -> Int64 {
        try token.withBytes { bytes in
            Result { () throws(TokenClientError) in
                try count("revoke") { Self.writeToken($0, bytes) }
            }
        }.get()
    }

    /// Ends an application's tokens for a project.
    /// - Returns: how many living tokens ended; 0 is success.
    public func revoke(
        project: ProjectCode, application: ApplicationName? = nil
    ) throws(TokenClientError) -> Int64 {
        try count("revoke") { writer in
            let object = ParameterWriter(writer)
            object.add("project_code", project.text)
            object.add("application", application?.text)
            object.end()
        }
    }

    /// Ends every application's tokens for a project; for administrators.
    /// - Returns: how many living tokens ended; 0 is success.
    public func revokeEveryApplication(project: ProjectCode) throws(TokenClientError) -> Int64 {
        try count("revoke") { writer in
            let object = ParameterWriter(writer)
            object.add("project_code", project.text)
            object.add("application", "*")
            object.end()
        }
    }

    /// Ends an application's registration and all of its tokens.
    /// - Returns: how many living tokens ended.
    /// - Throws: -32001 where it is not registered.
    public func unregister(application: ApplicationName? = nil) throws(TokenClientError) -> Int64 {
        try count("unregister") { writer in
            let object = ParameterWriter(writer)
            object.add("application", application?.text)
            object.end()
        }
    }

    /// One page of tokens' descriptions, at most `limit` rows (1 to 1,000); a page may end early.
    public func listPage(
        application: ApplicationName? = nil, project: ProjectCode? = nil, expiresBefore: Instant? = nil,
        limit: Int64 = 1_000, cursor: String? = nil
    ) throws(TokenClientError) -> TokenPage {
        try call(
            "list", isReadOnly: true,
            parameters: { writer in
                let object = ParameterWriter(writer)
                object.add("application", application?.text)
                object.add("project_code", project?.text)
                object.add("expires_before", expiresBefore?.description)
                object.add("limit", limit)
                object.add("cursor", cursor)
                object.end()
            },
            read: { (answer) throws(TokenClientError) in try answer.tokenPage() })
    }

    /// All pages, held in memory at once.
    public func list(
        application: ApplicationName? = nil, project: ProjectCode? = nil, expiresBefore: Instant? = nil
    ) throws(TokenClientError) -> [ListRow] {
        var rows: [ListRow] = []
        var cursor: String?
        repeat {
            let page = try listPage(
                application: application, project: project, expiresBefore: expiresBefore, cursor: cursor)
            rows += page.rows
            cursor = page.nextCursor
        } while cursor != nil
        return rows
    }

    /// Who the daemon takes this process for.
    public func whoami() throws(TokenClientError) -> CallerIdentity {
        try call(
            "whoami", isReadOnly: true,
            read: { (answer) throws(TokenClientError) in try answer.callerIdentity() })
    }

    /// What the daemon says of itself.
    public func status() throws(TokenClientError) -> DaemonStatus {
        try call(
            "status", isReadOnly: true, read: { (answer) throws(TokenClientError) in try answer.daemonStatus() })
    }

    /// Whether the daemon answers.
    public func ping() throws(TokenClientError) {
        try call("ping", isReadOnly: true, read: { _ in })
    }

    private func issue(
        _ method: String, _ project: ProjectCode, _ application: ApplicationName?, _ ttlSeconds: Int64?,
        _ graceSeconds: Int64? = nil
    ) throws(TokenClientError) -> Credentials {
        try call(
            method, isReadOnly: false,
            parameters: { writer in
                let object = ParameterWriter(writer)
                object.add("project_code", project.text)
                object.add("application", application?.text)
                object.add("ttl_seconds", ttlSeconds)
                object.add("grace_seconds", graceSeconds)
                object.end()
            },
            read: { (answer) throws(TokenClientError) in try answer.credentials() })
    }

    private func count(_ method: String, _ parameters: (ByteWriter) -> Void) throws(TokenClientError) -> Int64 {
        try withoutActuallyEscaping(parameters) { (parameters) throws(TokenClientError) in
            try call(
                method, isReadOnly: false, parameters: parameters,
                read: { (answer) throws(TokenClientError) in try answer.need("revoked") { $0.integer } })
        }
    }

    private static func writeToken(_ writer: ByteWriter, _ token: UnsafeRawBufferPointer) {
        let object = ParameterWriter(writer)
        object.add("token", bytes: token)
        object.end()
    }
}
