import Glibc
import ScaemTokenClient
import TokenModel
import TokenRPC

/// The commands about the daemon, and any method of it.
extension Session {
    /// A method without parameters whose result is an object.
    func show(_ method: String) throws(Failure) -> ExitCode {
        try call(method, isReadOnly: true) { (answer) throws(Failure) in
            guard printsText else { return try StandardOutput.write(line: answer.bytes) }
            let writer = ByteWriter()
            TextRendering.members(of: answer, without: nil, to: writer)
            try StandardOutput.write(writer)
        }
        return .success
    }

    func status() throws(Failure) -> ExitCode {
        guard invocation.has(.prometheus) else { return try show("status") }
        guard !invocation.has(.format) else {
            throw Failure(.usage, "--prometheus is a format of its own: leave --format out")
        }
        try call("status", isReadOnly: true) { (answer) throws(Failure) in
            let writer = ByteWriter(capacity: 4_096)
            Prometheus.write(answer, to: writer)
            try StandardOutput.write(writer)
        }
        return .success
    }

    func ping() throws(Failure) -> ExitCode {
        try call("ping", isReadOnly: true) { (answer) throws(Failure) in
            guard printsText else { return try StandardOutput.write(line: answer.bytes) }
            try StandardOutput.write(text: "the daemon answers at \(client.socketPath)\n")
        }
        return .success
    }

    /// Any method, with its result as it came.
    func callMethod() throws(Failure) -> ExitCode {
        let method = invocation.arguments[0]
        let parameters = try invocation.arguments.count > 1 ? callParameters(invocation.arguments[1]) : nil
        try call(
            method, isReadOnly: Self.readingMethods.contains(method),
            parameters: parameters.map { parameters in { $0.append(parameters.bytes) } },
            print: { (answer) throws(Failure) in try StandardOutput.write(line: answer.bytes) })
        return .success
    }

    private static let readingMethods = ["introspect", "list", "whoami", "status", "ping"]

    /// What stands around them: `{"jsonrpc":"2.0","id":1,"method":"","params":}`, LF, the longest method's name.
    private static let requestBytes = 64

    /// PARAMS, known to be JSON and on one line.
    private func callParameters(_ argument: String) throws(Failure) -> SecretBytes {
        let isArgument = argument != "-"
        let wrong: ExitCode = isArgument ? .usage : .data
        let parameters: SecretBytes
        if isArgument {
            parameters = SecretBytes(copying: argument)
        } else {
            parameters = SecretBytes(capacity: Wire.maxLineBytes + 1)
            let error = parameters.read(from: STDIN_FILENO, isLine: false)
            guard error == 0 else { throw Failure(.data, "standard input cannot be read", errno: error) }
        }
        guard parameters.count <= Wire.maxLineBytes - Self.requestBytes else {
            throw Failure(
                wrong, "PARAMS make a request longer than the \(Wire.maxLineBytes) bytes that the daemon reads")
        }
        let reader = JSONReader()
        switch reader.read(parameters.bytes) {
        case .document: break
        case .notJSON(let offset): throw Failure(wrong, "PARAMS are not JSON: see byte \(offset + 1)")
        case .duplicateKey: throw Failure(wrong, "PARAMS have the same key twice in an object")
        }
        guard !isArgument || !Self.holdsToken(reader) else {
            throw Failure(
                .usage,
                "PARAMS hold a token, which other users can read in an argument: give them on standard input (-)")
        }
        parameters.flattenLines()
        return parameters
    }

    /// Whether any text or key of the document, escapes resolved, holds what a token begins with.
    private static func holdsToken(_ reader: JSONReader) -> Bool {
        // As many as are open at once: the reader refuses what nests deeper than 32 levels.
        var open: [Int32] = [0]
        while var node = open.popLast() {
            while node >= 0 {
                switch reader.kind(node) {
                case .string: if TokenText.isIn(reader.unescaped(node)) { return true }
                case .object, .array: open.append(reader.firstChild(node))
                default: break
                }
                node = node == 0 ? -1 : reader.next(node)
            }
        }
        return false
    }
}
