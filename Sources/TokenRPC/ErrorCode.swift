/// The error codes of the wire contract: JSON-RPC 2.0's own, then this protocol's.
public enum ErrorCode: Int, CaseIterable, Sendable {
    case parseError = -32700
    case invalidRequest = -32600
    case methodNotFound = -32601
    case invalidParams = -32602
    case internalError = -32603
    case notRegistered = -32001
    case alreadyRegistered = -32002
    case tokenNotFound = -32003
    case tokenExists = -32004
    case permissionDenied = -32005
    case busy = -32006
    case storageUnavailable = -32007
    case shuttingDown = -32008
    case rateLimited = -32009
    case historyGone = -32010
    case quotaExceeded = -32011
    case invalidConfiguration = -32012

    /// The word that stands in `data.reason` unless a more exact one does (`WireError.reason`).
    public var reason: StaticString {
        switch self {
        case .parseError: "parse_error"
        case .invalidRequest: "invalid_request"
        case .methodNotFound: "method_not_found"
        case .invalidParams: "invalid_params"
        case .internalError: "internal_error"
        case .notRegistered: "not_registered"
        case .alreadyRegistered: "already_registered"
        case .tokenNotFound: "token_not_found"
        case .tokenExists: "token_exists"
        case .permissionDenied: "permission_denied"
        case .busy: "busy"
        case .storageUnavailable: "storage_unavailable"
        case .shuttingDown: "shutting_down"
        case .rateLimited: "rate_limited"
        case .historyGone: "history_gone"
        case .quotaExceeded: "quota_exceeded"
        case .invalidConfiguration: "invalid_configuration"
        }
    }

    /// One plain sentence for where nothing more exact can be said.
    public var message: StaticString {
        switch self {
        case .parseError: "The line is not JSON."
        case .invalidRequest: "The request is not a JSON-RPC 2.0 request."
        case .methodNotFound: "There is no such method."
        case .invalidParams: "The parameters do not fit the method."
        case .internalError: "The daemon failed; its log says more."
        case .notRegistered: "The application is not registered."
        case .alreadyRegistered: "The application is registered already."
        case .tokenNotFound: "The application has no token for this project."
        case .tokenExists: "The application has a token for this project already."
        case .permissionDenied: "The caller may not do this."
        case .busy: "The daemon is busy and has done nothing; try again shortly."
        case .storageUnavailable: "The disk refuses the change and nothing was done."
        case .shuttingDown: "The daemon is shutting down and nothing was done."
        case .rateLimited: "The caller asks too often and nothing was done."
        case .historyGone: "The events since that sequence number are no longer kept; read the list, then watch anew."
        case .quotaExceeded: "The owner has as many tokens as it may have."
        case .invalidConfiguration: "The configuration is wrong; the old one stays in force."
        }
    }
}

/// What an error answer says: a code with its reason and sentence, or a more exact reason of the same code.
public struct WireError: Error, Sendable {
    /// The number in `code`.
    public let code: ErrorCode
    /// The word in `data.reason`; part of the contract.
    public let reason: StaticString
    /// One plain sentence for people; not part of the contract.
    public let message: StaticString

    /// An error with its code's own reason and sentence.
    public init(_ code: ErrorCode) {
        self.init(code, reason: code.reason, message: code.message)
    }

    /// An error with its code's own reason and a more exact sentence.
    public init(_ code: ErrorCode, message: StaticString) {
        self.init(code, reason: code.reason, message: message)
    }

    /// An error with a reason of its own.
    public init(_ code: ErrorCode, reason: StaticString, message: StaticString) {
        self.code = code
        self.reason = reason
        self.message = message
    }

    /// 65,536 bytes hold no LF; `data.max_line_bytes` says the limit, then the connection is closed.
    public static let lineTooLong = WireError(
        .invalidRequest, reason: "line_too_long", message: "The line is longer than the daemon reads.")
    /// No entry, or more than `Wire.maxBatch`.
    public static let batchTooLarge = WireError(
        .invalidRequest, reason: "batch_too_large", message: "A batch has 1 to 128 entries.")
    /// An object of the line has a key twice.
    public static let duplicateKey = WireError(
        .invalidRequest, reason: "duplicate_key", message: "An object of the request has the same key twice.")
}

extension WireError: Equatable {
    /// By code and reason; the sentence is for people only.
    public static func == (left: WireError, right: WireError) -> Bool {
        left.code == right.code && left.reason.rawBytes.isEqual(to: right.reason)
    }
}
