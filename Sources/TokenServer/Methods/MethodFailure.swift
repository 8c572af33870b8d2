import TokenModel
import TokenRPC

/// Why a request was refused, as its caller gets it.
struct MethodFailure: Error, Sendable {
    /// What stands in `data` beside the reason.
    enum Detail: Sendable {
        case next(Method)
        case param(String)
        case retryAfterMilliseconds(Int)
        case maxLineBytes
        case maxBatch
        case limit(Int)
        case errors([String])
    }

    let error: WireError
    /// In place of the error's own sentence.
    let message: String?
    let details: [Detail]

    init(_ error: WireError, message: String? = nil, details: [Detail] = []) {
        self.error = error
        self.message = message
        self.details = error == .batchTooLarge ? [.maxBatch] : details
    }

    init(_ code: ErrorCode, message: String? = nil, details: [Detail] = []) {
        self.init(WireError(code), message: message, details: details)
    }

    /// What the rules refuse, and what to do next.
    init(_ refusal: Refusal) {
        switch refusal {
        case .notRegistered:
            self.init(
                .notRegistered, message: "The application is not registered; register it.",
                details: [.next(.register)])
        case .alreadyRegistered(let holdsToken):
            self.init(
                .alreadyRegistered,
                message: holdsToken
                    ? "The application is registered already and has a token for this project; rotate it."
                    : "The application is registered already; generate a token for this project.",
                details: [.next(holdsToken ? .rotate : .generate)])
        case .tokenNotFound:
            self.init(
                .tokenNotFound, message: "The application has no token for this project; generate one.",
                details: [.next(.generate)])
        case .tokenExists:
            self.init(
                .tokenExists, message: "The application has a token for this project already; rotate it.",
                details: [.next(.rotate)])
        case .quotaExceeded(let limit):
            self.init(
                .quotaExceeded,
                message: "The owner has \(limit) tokens, as many as it may have; revoke some, or ask an administrator.",
                details: [.limit(limit)])
        }
    }

    /// What a handler threw.
    init(thrown error: any Error) {
        switch error {
        case let failure as MethodFailure: self = failure
        case let invalid as InvalidParams:
            self.init(.invalidParams, message: invalid.sentence, details: [.param(invalid.param)])
        default: self.init(.internalError)
        }
    }

    static let lineTooLong = MethodFailure(.lineTooLong, details: [.maxLineBytes])
    static let queueFull = MethodFailure(
        .busy, message: "The writer's queue is full and nothing was done; try again shortly.",
        details: [.retryAfterMilliseconds(Bounds.retryAfterMilliseconds)])
    static let callerUnknown = MethodFailure(
        .busy, message: "The caller's user could not be looked up and nothing was done; try again shortly.",
        details: [.retryAfterMilliseconds(Bounds.retryAfterMilliseconds)])
    static let tooManyConnections = MethodFailure(
        .busy, message: "There are too many connections; close some, or try again later.",
        details: [.retryAfterMilliseconds(1_000)])
    static let answerFull = MethodFailure(
        .busy, message: "The batch's answer is full and nothing was done; ask again outside of this batch.",
        details: [.retryAfterMilliseconds(0)])
    static let answersUnread = MethodFailure(
        .busy, message: "Too many long answers are not read yet and nothing was done; read them, then try again.",
        details: [.retryAfterMilliseconds(Bounds.retryAfterMilliseconds)])
    static let notYours = MethodFailure(
        .permissionDenied,
        message: "The caller may act only on its own application and what stands below it; ask an administrator.")
    static let administratorsOnly = MethodFailure(
        .permissionDenied, message: "Only root and members of the group scaem-admin may do this; ask one of them.")
    static let mayOwnNothing = MethodFailure(
        .permissionDenied,
        message: "The caller has no user name and a number that others may get later, so it may own nothing; "
            + "give the service a user.")
    static let watchNotHere = MethodFailure(
        .invalidRequest, message: "A connection has one watch at most, and a batch none; open another connection.")

    static func invalidConfiguration(_ problems: [String]) -> MethodFailure {
        MethodFailure(
            .invalidConfiguration,
            message: "The configuration is wrong and the old one stays in force: \(problems.joined(separator: "; "))",
            details: [.errors(problems)])
    }

    /// What the last notification of a watch says.
    static func watchEnded(_ code: ErrorCode) -> MethodFailure {
        switch code {
        case .shuttingDown:
            MethodFailure(code, message: "The daemon is shutting down; connect again and go on with `since`.")
        case .historyGone: MethodFailure(code)
        case .storageUnavailable:
            MethodFailure(code, message: "The audit cannot be read; connect again later and go on with `since`.")
        default:
            MethodFailure(
                .busy, message: "The watcher reads too slowly; connect again and go on with `since`.",
                details: [.retryAfterMilliseconds(Bounds.retryAfterMilliseconds)])
        }
    }

    /// Writes a whole line to a caller whose request was not read: the id is null.
    func writeLine(to writer: ByteWriter) {
        writer.appendError(id: ("null" as StaticString).rawBytes, error, message: message, data: write(details:))
        writer.appendLineFeed()
    }

    /// Writes the whole answer, without the LF.
    func write(to writer: ByteWriter, id: UnsafeRawBufferPointer) {
        writer.appendError(id: id, error, message: message, data: write(details:))
    }

    /// Writes the error object: code, message and data.
    func writeBody(to writer: ByteWriter) {
        writer.appendErrorObject(error, message: message, data: write(details:))
    }

    private func write(details writer: ByteWriter) {
        for detail in details { writer.append(detail) }
    }
}

extension ByteWriter {
    fileprivate func append(_ detail: MethodFailure.Detail) {
        switch detail {
        case .next(let method):
            appendKey(Wire.ErrorData.next)
            appendJSONString(method.name)
        case .param(let name):
            appendKey(Wire.ErrorData.param)
            appendJSONString(name)
        case .retryAfterMilliseconds(let milliseconds):
            appendKey(Wire.ErrorData.retryAfterMilliseconds)
            appendInteger(Int64(milliseconds))
        case .maxLineBytes:
            appendKey(Wire.ErrorData.maxLineBytes)
            appendInteger(Int64(Wire.maxLineBytes))
        case .maxBatch:
            appendKey(Wire.ErrorData.maxBatch)
            appendInteger(Int64(Wire.maxBatch))
        case .limit(let limit):
            appendKey(Wire.ErrorData.limit)
            appendInteger(Int64(limit))
        case .errors(let errors):
            appendKey(Wire.ErrorData.errors)
            append(UInt8(ascii: "["))
            for error in errors {
                appendSeparator()
                appendJSONString(error)
            }
            append(UInt8(ascii: "]"))
        }
    }
}
