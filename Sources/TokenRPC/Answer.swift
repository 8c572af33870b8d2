/// A message from the daemon as a client reads it; good as long as what the reader gives out.
public enum AnswerView: Equatable, Sendable {
    /// The values of `id` and `result`.
    case result(id: Int32, result: Int32)
    /// The value of `id`, and the error.
    case error(id: Int32, ErrorView)
    /// A notification: the values of `method` and, or -1, `params`.
    case notification(method: Int32, params: Int32)
}

/// An error's object. A code that this version does not know is kept as a number.
public struct ErrorView: Equatable, Sendable {
    /// The number in `code`.
    public let code: Int64
    /// The value of `message`, a string.
    public let message: Int32
    /// The value of `data`, an object, or -1.
    public let data: Int32

    /// The code as one of this contract, or nil.
    public var known: ErrorCode? { Int(exactly: code).flatMap(ErrorCode.init(rawValue:)) }

    /// Reads an error's object, as answers and `error` notifications carry it; nil where it is none.
    public init?(_ reader: JSONReader, _ node: Int32) {
        let codeNode = reader.member("code", of: node)
        let message = reader.member("message", of: node)
        guard codeNode >= 0, let code = reader.plainInteger(codeNode), message >= 0, reader.kind(message) == .string
        else { return nil }
        let data = reader.member("data", of: node)
        self.code = code
        self.message = message
        self.data = data >= 0 && reader.kind(data) == .object ? data : -1
    }
}

/// Reads one message from the daemon: a line's only value, or an entry of a batch's answer. Nil where it is none.
public func readAnswer(_ reader: JSONReader, _ node: Int32) -> AnswerView? {
    let version = reader.member("jsonrpc", of: node)
    guard version >= 0, reader.equals(version, Wire.version) else { return nil }
    let id = reader.member("id", of: node)
    let result = reader.member("result", of: node)
    let error = reader.member("error", of: node)
    guard id >= 0 else {
        let method = reader.member("method", of: node)
        guard method >= 0, reader.kind(method) == .string, result < 0, error < 0 else { return nil }
        return .notification(method: method, params: reader.member("params", of: node))
    }
    if result >= 0 { return error < 0 ? .result(id: id, result: result) : nil }
    guard let view = ErrorView(reader, error) else { return nil }
    return .error(id: id, view)
}
