import TokenModel
import TokenRPC

/// The contract's results as JSON. Keys stand in the order in which the contract lists them.
extension ByteWriter {
    /// RFC 7662, section 2.2, with the project beside it.
    func append(_ token: ActiveToken) {
        append(#"{"active":true,"token_type":""#)
        append(Wire.tokenType)
        append(#"","client_id":"#)
        append(token.registrationID)
        append(#","sub":"#)
        appendJSONString(token.application)
        append(#","project_code":"#)
        appendJSONString(token.project)
        append(#","iat":"#)
        appendInteger(token.issuedAt.seconds)
        append(#","exp":"#)
        appendInteger(token.expiration.seconds)
        append(UInt8(ascii: "}"))
    }

    /// Exactly the seed's four fields in their order, and a fifth where an old token was kept.
    func append(_ credentials: Credentials) {
        append(#"{"registration_id":"#)
        append(credentials.registrationID)
        append(#","registration_token":""#)
        credentials.token.withBytes { append($0) }
        append(#"","token_expiration":"#)
        append(credentials.expiration)
        append(#","token_type":""#)
        append(Wire.tokenType)
        append(UInt8(ascii: "\""))
        if let previousExpiration = credentials.previousExpiration {
            append(#","previous_token_expiration":"#)
            append(previousExpiration)
        }
        append(UInt8(ascii: "}"))
    }

    /// `whoami`.
    func append(_ caller: Caller) {
        append(#"{"principal":"#)
        appendJSONString(caller.principal.text)
        append(#","uid":"#)
        appendInteger(Int64(caller.uid))
        append(#","gid":"#)
        appendInteger(Int64(caller.gid))
        append(#","pid":"#)
        appendInteger(Int64(caller.process.pid))
        append(#","unit":"#)
        if let unit = caller.process.unit { appendJSONString(unit) } else { append("null") }
        append(caller.isAdministrator ? #","administrator":true}"# : #","administrator":false}"#)
    }

    /// A row of `list`.
    func append(_ row: ListRow) {
        append(#"{"registration_id":"#)
        append(row.registrationID)
        append(#","application":"#)
        appendJSONString(row.application.text)
        append(#","project_code":"#)
        appendJSONString(row.project.text)
        append(#","issued_at":"#)
        append(row.issuedAt)
        append(#","token_expiration":"#)
        append(row.expiration)
        append(#","last_used_at":"#)
        if let lastUsedAt = row.lastUsedAt { append(lastUsedAt) } else { append("null") }
        append(row.isActive ? #","state":"active""# : #","state":"expired""#)
        append(#","fingerprint":"#)
        append(row.fingerprint)
        append(#","previous":"#)
        append(row.previous)
        append(UInt8(ascii: "}"))
    }

    /// Tokens by fingerprint and end: `previous` in `list`, `shortened` in events.
    func append(_ tokens: [ShortenedToken]) {
        append(UInt8(ascii: "["))
        for (index, token) in tokens.enumerated() {
            if index > 0 { append(UInt8(ascii: ",")) }
            append(#"{"fingerprint":"#)
            append(token.fingerprint)
            append(#","token_expiration":"#)
            append(token.expiration)
            append(UInt8(ascii: "}"))
        }
        append(UInt8(ascii: "]"))
    }
}
