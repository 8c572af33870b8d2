public import TokenRPC

/// Writes the `params` object of a request, member by member; what is nil is left out.
public struct ParameterWriter {
    private let writer: ByteWriter

    /// Begins the object.
    public init(_ writer: ByteWriter) {
        self.writer = writer
        writer.append("{")
    }

    /// Adds a text.
    public func add(_ name: StaticString, _ text: String?) {
        guard let text else { return }
        writer.appendKey(name)
        writer.appendJSONString(text)
    }

    /// Adds a text that is given as bytes of UTF-8: no string is made of a token.
    public func add(_ name: StaticString, bytes: UnsafeRawBufferPointer) {
        writer.appendKey(name)
        // Room for the longest escape of each byte, so that no copy is left behind by growing.
        writer.reserve(6 * bytes.count + 16)
        writer.appendJSONString(bytes)
    }

    /// Adds a number.
    public func add(_ name: StaticString, _ number: Int64?) {
        guard let number else { return }
        writer.appendKey(name)
        writer.appendInteger(number)
    }

    /// Ends the object.
    public func end() { writer.append("}") }
}
