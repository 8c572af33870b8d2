import TokenModel
import TokenRPC

/// How each result is read from its JSON. Members that are not known are ignored: a later daemon may add some.
extension Answer {
    func credentials() throws(TokenClientError) -> Credentials {
        Credentials(
            registrationID: try need("registration_id") { $0.registrationID },
            token: try need("registration_token") { $0.secret },
            expiration: try need("token_expiration") { $0.instant },
            previousExpiration: try option("previous_token_expiration") { $0.instant })
    }

    private var secret: TokenSecret? {
        // A token has no character that JSON escapes, and the daemon writes it as it is.
        guard kind == .string, !reader.hasEscapes(node) else { return nil }
        return TokenSecret(bytes: reader.content(node))
    }

    func introspection() throws(TokenClientError) -> Introspection {
        guard try need("active", { $0.boolean }) else { return .inactive }
        return .active(
            Introspection.Grant(
                registrationID: try need("client_id") { $0.registrationID },
                application: try need("sub") { $0.applicationName },
                project: try need("project_code") { $0.projectCode },
                issuedAtSeconds: try need("iat") { $0.integer },
                expirationSeconds: try need("exp") { $0.integer }))
    }

    func callerIdentity() throws(TokenClientError) -> CallerIdentity {
        CallerIdentity(
            principal: try need("principal") { $0.string },
            uid: try need("uid") { $0.integer.flatMap(UInt32.init(exactly:)) },
            gid: try need("gid") { $0.integer.flatMap(UInt32.init(exactly:)) },
            pid: try need("pid") { $0.integer.flatMap(Int32.init(exactly:)) },
            unit: try option("unit") { $0.string },
            isAdministrator: try need("administrator") { $0.boolean })
    }

    func daemonStatus() throws(TokenClientError) -> DaemonStatus {
        var details: [DaemonStatus.Detail] = []
        for part: StaticString in ["storage", "audit"] {
            member(part)?.collectNumbers(below: part.description, into: &details)
        }
        return DaemonStatus(
            version: try need("version") { $0.string },
            protocolVersion: try need("protocol") { $0.integer },
            uptimeSeconds: try need("uptime_seconds") { $0.integer },
            isReady: try need("ready") { $0.boolean },
            applications: try need("applications") { $0.integer },
            tokens: try need("tokens") { $0.integer },
            details: details)
    }

    /// As deep as the reader let objects nest (`Wire.maxDepth`).
    private func collectNumbers(below path: String, into details: inout [DaemonStatus.Detail]) {
        if let value = integer { details.append(DaemonStatus.Detail(name: path, value: value)) }
        var found: [DaemonStatus.Detail] = []
        forEachMember { key, value in
            value.collectNumbers(below: path + "." + (key.string ?? ""), into: &found)
        }
        details += found
    }

    func tokenPage() throws(TokenClientError) -> TokenPage {
        guard let tokens = member("tokens"), tokens.kind == .array else {
            throw TokenClientError(.malformedAnswer, "the daemon's answer lacks a usable tokens")
        }
        var rows: [ListRow] = []
        try tokens.forEachElement { (row) throws(TokenClientError) in rows.append(try row.listRow()) }
        return TokenPage(rows: rows, nextCursor: try option("next_cursor") { $0.string })
    }

    private func listRow() throws(TokenClientError) -> ListRow {
        ListRow(
            registrationID: try need("registration_id") { $0.registrationID },
            application: try need("application") { $0.applicationName },
            project: try need("project_code") { $0.projectCode },
            issuedAt: try need("issued_at") { $0.instant },
            expiration: try need("token_expiration") { $0.instant },
            lastUsedAt: try option("last_used_at") { $0.instant },
            isActive: try need("state") { $0.string } == "active",
            fingerprint: try need("fingerprint") { $0.fingerprint },
            previous: try shortenedTokens("previous"))
    }

    func tokenEvent() throws(TokenClientError) -> TokenEvent {
        var ended: [Fingerprint] = []
        try member("ended")?.forEachElement { (element) throws(TokenClientError) in
            guard let fingerprint = element.fingerprint else {
                throw TokenClientError(.malformedAnswer, "the daemon's event has an unusable fingerprint")
            }
            ended.append(fingerprint)
        }
        return TokenEvent(
            sequence: try need("sequence") { $0.integer },
            event: try need("event") { $0.string },
            time: try option("time") { $0.instant },
            registrationID: try option("registration_id") { $0.registrationID },
            application: try option("application") { $0.applicationName },
            project: try option("project_code") { $0.projectCode },
            fingerprint: try option("fingerprint") { $0.fingerprint },
            ended: ended,
            shortened: try shortenedTokens("shortened"))
    }

    private func shortenedTokens(_ name: StaticString) throws(TokenClientError) -> [ShortenedToken] {
        var tokens: [ShortenedToken] = []
        try member(name)?.forEachElement { (element) throws(TokenClientError) in
            tokens.append(
                ShortenedToken(
                    fingerprint: try element.need("fingerprint") { $0.fingerprint },
                    expiration: try element.need("token_expiration") { $0.instant }))
        }
        return tokens
    }
}
