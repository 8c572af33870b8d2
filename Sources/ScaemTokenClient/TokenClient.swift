public import TokenRPC

/// A connection to the daemon: one request at a time, and each call blocks until its answer is there.
///
/// It connects at the first call and again when the connection broke. What is safe to ask twice is tried again by
/// itself for `Options.patienceMilliseconds` (`RetryRule` says what that is); a mutation whose answer was lost never
/// is. It is not `Sendable`: give each thread its own. Buffers that held tokens are overwritten.
///
/// ```swift
/// let client = TokenClient()
/// let credentials = try client.obtain(project: project)
/// ```
public final class TokenClient {
    /// How long things may take.
    public struct Options: Sendable {
        /// How long what is safe to ask again is asked again. 0: never.
        public let patienceMilliseconds: Int64
        /// How long an answer may take. A mutation waits for the daemon's disk, which may stall for seconds.
        public let answerMilliseconds: Int64

        /// Five seconds of patience, a minute for an answer, unless said otherwise.
        public init(patienceMilliseconds: Int64 = 5_000, answerMilliseconds: Int64 = 60_000) {
            self.patienceMilliseconds = min(patienceMilliseconds, Self.longestMilliseconds)
            self.answerMilliseconds = min(answerMilliseconds, Self.longestMilliseconds)
        }

        /// A year: as good as for ever, and a clock's reading can be added to it.
        private static var longestMilliseconds: Int64 { 366 * 86_400_000 }
    }

    /// Where it connects to.
    public let socketPath: String
    /// How long things may take.
    public let options: Options

    let connection: Connection
    let reader = JSONReader()
    private let request = ByteWriter()
    private var lastID: Int64 = 0

    /// A client of the daemon at `socketPath`; nil: `SocketPath.resolve()`. Connects only with the first call.
    public init(socketPath: String? = nil, options: Options = Options()) {
        let path = socketPath ?? SocketPath.resolve()
        self.socketPath = path
        self.options = options
        connection = Connection(path: path)
    }

    /// Closes the connection; the next call makes a new one.
    public func close() { connection.close() }

    /// Calls a method and reads its result.
    /// - Parameters:
    ///   - method: its name on the wire.
    ///   - isReadOnly: whether it may be asked again after a connection that broke before the answer.
    ///   - parameters: writes the `params` value, one JSON object without line ends; nil: none are sent. What it wrote
    ///     is overwritten after the call.
    ///   - read: takes what is needed of the `result`; the view is not to leave it.
    /// - Throws: `TokenClientError`; also what `read` throws, which is never tried again.
    public func call<Value>(
        _ method: String, isReadOnly: Bool, parameters: ((ByteWriter) -> Void)? = nil,
        read: (Answer) throws(TokenClientError) -> Value
    ) throws(TokenClientError) -> Value {
        defer { connection.wipe() }
        return try callKeepingReceived(method, isReadOnly: isReadOnly, parameters: parameters, read: read)
    }

    /// Like `call`, but what came behind the answer stays to be read: the events of a watch.
    func callKeepingReceived<Value>(
        _ method: String, isReadOnly: Bool, parameters: ((ByteWriter) -> Void)?,
        read: (Answer) throws(TokenClientError) -> Value
    ) throws(TokenClientError) -> Value {
        let deadline = MonotonicTime.milliseconds() + options.patienceMilliseconds
        var rule = RetryRule(isReadOnly: isReadOnly)
        defer {
            request.removeAll(wiping: true)
            reader.wipe()
        }
        try writeRequest(method, parameters)
        while true {
            let result: Answer
            do {
                result = try exchange(deadline)
            } catch {
                guard let pause = rule.pauseMilliseconds(after: error),
                    pause <= deadline - MonotonicTime.milliseconds()
                else { throw error }
                MonotonicTime.sleep(milliseconds: pause)
                continue
            }
            return try read(result)
        }
    }

    private func writeRequest(
        _ method: String, _ parameters: ((ByteWriter) -> Void)?
    ) throws(TokenClientError) {
        lastID += 1
        request.append("{\"jsonrpc\":\"2.0\",\"id\":")
        request.appendInteger(lastID)
        request.append(",\"method\":")
        request.appendJSONString(method)
        if let parameters {
            request.append(",\"params\":")
            parameters(request)
        }
        request.append("}\n")
        guard request.count <= Wire.maxLineBytes else {
            throw TokenClientError(
                .requestTooLong, "the request is longer than the \(Wire.maxLineBytes) bytes that the daemon reads")
        }
    }

    /// One attempt: the request's line out, its answer's line in.
    private func exchange(_ connectDeadline: Int64) throws(TokenClientError) -> Answer {
        try connection.open(deadline: connectDeadline)
        let deadline = MonotonicTime.milliseconds() + options.answerMilliseconds
        do {
            try sendRequest(deadline)
            return try receiveAnswer(deadline)
        } catch {
            // Only an error answer to this very request leaves the connection as it was. After anything else, bytes
            // that belong to nobody may follow.
            if error.code != .refused || error.knownCode == .shuttingDown {
                connection.close()
            }
            throw error
        }
    }

    private func sendRequest(_ deadline: Int64) throws(TokenClientError) {
        do {
            try connection.send(request.bytes, deadline: deadline)
        } catch {
            // A daemon that has no room for the connection says so in a line before it closes. Where there is none,
            // the connection broke before.
            guard let line = try? connection.receiveLine(deadline: deadline) else { throw error }
            _ = try answer(line)
            throw error
        }
    }

    private func receiveAnswer(_ deadline: Int64) throws(TokenClientError) -> Answer {
        try answer(try connection.receiveLine(deadline: deadline))
    }

    /// Finds the result in a line that must be the answer to the last request, or throws its error.
    private func answer(_ line: UnsafeRawBufferPointer) throws(TokenClientError) -> Answer {
        switch try message(line) {
        case .result(let id, let result):
            guard reader.plainInteger(id) == lastID else { throw unexpectedID }
            return Answer(reader: reader, node: result)
        case .error(let id, let error):
            let isConnections = reader.kind(id) == .null
            guard isConnections || reader.plainInteger(id) == lastID else { throw unexpectedID }
            let failure = TokenClientError(error, reader)
            // An error without an id is about the connection, which the daemon then closes.
            if isConnections { connection.close() }
            throw failure
        case .notification:
            throw TokenClientError(.malformedAnswer, "the daemon sent something that is not an answer")
        }
    }

    private var unexpectedID: TokenClientError {
        TokenClientError(.malformedAnswer, "the daemon answered something else than what was asked")
    }

    /// Reads a line as one message of the daemon's.
    func message(_ line: UnsafeRawBufferPointer) throws(TokenClientError) -> AnswerView {
        guard case .document = reader.read(line), let message = readAnswer(reader, 0) else {
            throw TokenClientError(.malformedAnswer, "the daemon sent a line that is not one of its messages")
        }
        return message
    }
}
