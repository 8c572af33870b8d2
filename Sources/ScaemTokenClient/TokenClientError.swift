public import TokenRPC

/// Why a call did not end in a result. No token is ever in it, nor in its description.
public struct TokenClientError: Error, Sendable, Equatable {
    /// What kind of failure it is. The set is open: later versions may add to it, so a switch needs its `default`.
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        private let name: String

        init(_ name: String) { self.name = name }

        /// The code's own name.
        public var description: String { name }

        /// The daemon answered with an error: `daemonCode` and `reason` say which. Nothing has changed.
        public static let refused = Code("refused")
        /// Nobody listens at the socket. Nothing was asked.
        public static let noDaemon = Code("no daemon")
        /// The kernel does not let this process connect to the socket. Nothing was asked.
        public static let connectForbidden = Code("connect forbidden")
        /// The daemon did not take the connection in time. Nothing was asked.
        public static let notAccepted = Code("not accepted")
        /// The connection broke before all of the request had left. Nothing was done.
        public static let notSent = Code("not sent")
        /// The connection broke after the request had left and before its answer: whether it was done is unknown.
        public static let connectionBroken = Code("connection broken")
        /// No answer came in time: whether the request was done is unknown.
        public static let timedOut = Code("timed out")
        /// What came is not an answer to what was asked: whether the request was done is unknown.
        public static let malformedAnswer = Code("malformed answer")
        /// The request would be longer than the daemon reads in one line. Nothing was asked.
        public static let requestTooLong = Code("request too long")
        /// The socket's path cannot be one. Nothing was asked.
        public static let invalidSocketPath = Code("invalid socket path")
        /// The operating system refused something else; `systemError` says what. Nothing was asked.
        public static let system = Code("system")
    }

    /// What kind of failure it is.
    public let code: Code
    /// One plain sentence without its full stop, for people.
    public let message: String
    /// The code of the daemon's error answer (-32001, ...), where `code` is `refused`.
    public let daemonCode: Int?
    /// The daemon's `data.reason`.
    public let reason: String?
    /// The daemon's `data.next`: the method that would succeed instead.
    public let next: String?
    /// The daemon's `data.param`: the parameter that is wrong.
    public let parameter: String?
    /// The daemon's `data.retry_after_ms`.
    public let retryAfterMilliseconds: Int64?
    /// The daemon's `data.errors`: what is wrong with its configuration (-32012).
    public let errors: [String]
    /// The errno beneath it, where there was one.
    public let systemError: Int32?

    init(_ code: Code, _ message: String, systemError: Int32? = nil) {
        self.code = code
        self.message = message
        self.systemError = systemError
        daemonCode = nil
        reason = nil
        next = nil
        parameter = nil
        retryAfterMilliseconds = nil
        errors = []
    }

    /// The daemon's error answer. Its texts are made harmless: see `Harmless`.
    init(_ error: ErrorView, _ reader: JSONReader) {
        let data = error.data >= 0 ? Answer(reader: reader, node: error.data) : nil
        code = .refused
        daemonCode = Int(error.code)
        message = Harmless.clause(Harmless.text(reader.string(error.message)))
        reason = data?.member("reason")?.harmlessText
        next = data?.member("next")?.harmlessText
        parameter = data?.member("param")?.harmlessText
        retryAfterMilliseconds = data?.member("retry_after_ms")?.integer
        var errors: [String] = []
        data?.member("errors")?.forEachElement { if let text = $0.harmlessText { errors.append(text) } }
        self.errors = errors
        systemError = nil
    }

    /// Whether it is certain that the request changed nothing, so that even a mutation may be sent again.
    public var nothingWasDone: Bool {
        switch code {
        case .connectionBroken, .timedOut, .malformedAnswer: false
        default: true
        }
    }

    /// `daemonCode` as one of the contract's codes; nil where there is none, or one that this version does not know.
    public var knownCode: ErrorCode? { daemonCode.flatMap(ErrorCode.init(rawValue:)) }
}

extension TokenClientError: CustomStringConvertible {
    /// The sentence, then the daemon's code and reason where there are some.
    public var description: String {
        var text = message
        if let daemonCode {
            text += " (\(daemonCode)"
            if let reason { text += " \(reason)" }
            text += ")"
        }
        return text
    }
}
