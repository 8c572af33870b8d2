/// Where a request's id stands in its line: it goes back in the bytes in which it came.
public struct IDRange: Equatable, Sendable {
    let start: Int32
    let end: Int32

    /// What is answered to a request whose own id cannot be known.
    public static let null = IDRange(start: -1, end: -1)
}

/// A request in the bytes of its line; good as long as what the reader gives out.
public struct RequestView: Equatable, Sendable {
    /// What the answer's id is; nil for a notification, which is never answered.
    public internal(set) var id: IDRange?
    /// What is asked for; nil where `problem` says why.
    public internal(set) var method: Method?
    /// The value of `method`, -1 where there is none.
    public internal(set) var methodNode: Int32 = -1
    /// The value of `params`, -1 where it was left out. An object wherever there is no problem.
    public internal(set) var params: Int32 = -1
    /// The first thing that is wrong, in the order form, method, params by position.
    public internal(set) var problem: WireError?
}

/// What a line turned out to be.
public enum IncomingLine: Equatable, Sendable {
    /// White space alone: no message.
    case blank
    /// Answered once, with id null.
    case refused(WireError)
    case single(RequestView)
    /// The first entry, and how many there are, 1 to `Wire.maxBatch`; `readRequest` reads each, `next` leads on.
    case batch(first: Int32, count: Int)
}

/// Reads a line, with or without its LF, up to the requests' form.
///
/// What is wrong is found in this order: JSON, duplicate keys, form, method, params by position.
public func readLine(_ bytes: UnsafeRawBufferPointer, with reader: JSONReader) -> IncomingLine {
    switch reader.read(bytes) {
    case .document: break
    case .duplicateKey: return .refused(.duplicateKey)
    case .notJSON(let offset):
        // A document of white space fails only at its end.
        return offset == bytes.count && isBlank(bytes) ? .blank : .refused(WireError(.parseError))
    }
    guard reader.kind(0) == .array else { return .single(readRequest(reader, 0)) }
    let count = reader.count(0)
    guard (1...Wire.maxBatch).contains(count) else { return .refused(.batchTooLarge) }
    return .batch(first: reader.firstChild(0), count: count)
}

private func isBlank(_ bytes: UnsafeRawBufferPointer) -> Bool {
    bytes.allSatisfy { $0 == 0x20 || $0 == 0x09 || $0 == 0x0A || $0 == 0x0D }
}

/// Reads one request: a line's only value, or an entry of a batch.
///
/// A valid id comes back with every problem. One that is missing makes a notification, but where the form is wrong
/// nobody knows whether it was meant as one: that is answered with id null.
public func readRequest(_ reader: JSONReader, _ node: Int32) -> RequestView {
    var request = RequestView()
    guard reader.kind(node) == .object else {
        request.id = .null
        request.problem = WireError(.invalidRequest, message: "A request is an object.")
        return request
    }
    var version: Int32 = -1
    var id: Int32 = -1
    var key = reader.firstChild(node)
    while key >= 0 {
        let value = reader.next(key)
        let name = reader.unescaped(key)
        if name.isEqual(to: "jsonrpc") {
            version = value
        } else if name.isEqual(to: "id") {
            id = value
        } else if name.isEqual(to: "method") {
            request.methodNode = value
        } else if name.isEqual(to: "params") {
            request.params = value
        }
        key = reader.next(value)
    }
    let formProblem = readID(reader, id, &request) ?? checkForm(reader, version: version, request)
    if let formProblem {
        request.problem = formProblem
        if request.id == nil { request.id = .null }
        return request
    }
    guard let method = Method(name: reader.unescaped(request.methodNode)) else {
        request.problem = WireError(.methodNotFound)
        return request
    }
    if request.params >= 0, reader.kind(request.params) == .array {
        request.problem = WireError(.invalidParams, message: "Params are given by name, as an object.")
        return request
    }
    request.method = method
    return request
}

/// Notes the id where it is one; else says why not.
private func readID(_ reader: JSONReader, _ node: Int32, _ request: inout RequestView) -> WireError? {
    guard node >= 0 else { return nil }
    switch reader.kind(node) {
    case .string, .number, .null:
        let extent = reader.extent(node)
        request.id = IDRange(start: extent.start, end: extent.end)
        return nil
    case .object, .array, .true, .false:
        return WireError(.invalidRequest, message: "The id is a string, a number or null.")
    }
}

private func checkForm(_ reader: JSONReader, version: Int32, _ request: RequestView) -> WireError? {
    guard version >= 0, reader.equals(version, Wire.version) else {
        return WireError(.invalidRequest, message: "The member jsonrpc must be \"2.0\".")
    }
    guard request.methodNode >= 0, reader.kind(request.methodNode) == .string else {
        return WireError(.invalidRequest, message: "The member method must be a string.")
    }
    guard request.params >= 0 else { return nil }
    switch reader.kind(request.params) {
    case .object, .array: return nil
    case .string, .number, .true, .false, .null:
        return WireError(.invalidRequest, message: "The member params must be an object, or left out.")
    }
}

extension JSONReader {
    /// An id's bytes as they came: `null` for `IDRange.null`.
    public func bytes(of id: IDRange) -> UnsafeRawBufferPointer {
        guard id.start >= 0 else { return ("null" as StaticString).rawBytes }
        return bytes(from: id.start, to: id.end)
    }
}
