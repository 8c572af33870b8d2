// Messages are written without their LF, so that they may be entries of a batch: `appendLineFeed` ends a line.
extension ByteWriter {
    /// Begins an answer: `{"jsonrpc":"2.0","id":ID,"result":`. The result follows, then `appendResultTail`.
    /// - Parameter id: the id's bytes as they came (`JSONReader.bytes(of:)`).
    @inlinable
    public func appendResultHead(id: UnsafeRawBufferPointer) {
        reserve(64 + id.count)
        append(#"{"jsonrpc":"2.0","id":"#)
        append(id)
        append(#","result":"#)
    }

    /// Ends an answer: `}`.
    @inlinable
    public func appendResultTail() { append(UInt8(ascii: "}")) }

    /// Ends a line.
    @inlinable
    public func appendLineFeed() { append(UInt8(ascii: "\n")) }

    /// Writes an error answer: `{"jsonrpc":"2.0","id":ID,"error":{"code":C,"message":M,"data":{"reason":R}}}`.
    /// - Parameters:
    ///   - id: the id's bytes as they came.
    ///   - error: code, reason and sentence.
    ///   - message: a sentence that says more than the error's own; no secret.
    ///   - data: writes further members of `data`, each with `appendKey` and a value.
    public func appendError(
        id: UnsafeRawBufferPointer, _ error: WireError, message: String? = nil, data: (ByteWriter) -> Void = { _ in }
    ) {
        append(#"{"jsonrpc":"2.0","id":"#)
        append(id)
        append(#","error":"#)
        appendErrorObject(error, message: message, data: data)
        append(UInt8(ascii: "}"))
    }

    /// Writes an error's object alone, as notifications of the method `error` carry it.
    public func appendErrorObject(
        _ error: WireError, message: String? = nil, data: (ByteWriter) -> Void = { _ in }
    ) {
        append(#"{"code":"#)
        appendInteger(Int64(error.code.rawValue))
        append(#","message":"#)
        if let message { appendJSONString(message) } else { appendJSONString(error.message) }
        append(#","data":{"reason":"#)
        appendJSONString(error.reason)
        data(self)
        append("}}")
    }

    /// Begins a notification: `{"jsonrpc":"2.0","method":NAME,"params":`. The params follow, then `appendResultTail`.
    public func appendNotificationHead(_ name: StaticString) {
        append(#"{"jsonrpc":"2.0","method":"#)
        appendJSONString(name)
        append(#","params":"#)
    }
}
