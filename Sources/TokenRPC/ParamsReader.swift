public import TokenModel

/// -32602: a parameter that is unknown, missing, of the wrong type or out of its bounds.
public struct InvalidParams: Error, Equatable, Sendable {
    /// Goes into `data.param`.
    public let param: String
    /// One plain sentence, without any value that was sent.
    public let sentence: String

    /// Names a parameter and says what is wrong with it.
    public init(param: String, sentence: String) {
        self.param = param
        self.sentence = sentence
    }

    /// Names a parameter and says what is wrong with it: "The parameter NAME " and then `problem`, with its full stop.
    public init(_ name: StaticString, _ problem: String) {
        self.init(param: "\(name)", sentence: "The parameter \(name) \(problem)")
    }
}

/// Takes a request's params apart, strictly: each getter takes one key, and `finish` refuses what nobody took.
///
///     var params = ParamsReader(reader, request.params)
///     let project = try params.projectCode("project_code")
///     let ttlSeconds = try params.integer("ttl_seconds", in: bounds, default: 5_184_000)
///     try params.finish()
///
/// Nothing is allocated on the way of a valid request but the names that a handler keeps.
public struct ParamsReader {
    private let reader: JSONReader
    private let object: Int32
    /// The keys that were asked for and are there, and how many.
    private var taken = SIMD8<Int32>(repeating: -1)
    private var takenCount = 0

    /// Reads the object `params`; -1, params that were left out, is an object without members.
    public init(_ reader: JSONReader, _ params: Int32) {
        precondition(params < 0 || reader.kind(params) == .object, "readRequest lets only objects through")
        self.reader = reader
        object = params
    }

    /// Whether the key is there. Does not count as taking it.
    public func has(_ name: StaticString) -> Bool { key(name) >= 0 }

    /// The value of a key, of any type, or -1 where it was left out.
    public mutating func value(_ name: StaticString) -> Int32 {
        let key = key(name)
        guard key >= 0 else { return -1 }
        if !(0..<takenCount).contains(where: { taken[$0] == key }) {
            precondition(takenCount < taken.scalarCount, "no method has more than eight params")
            taken[takenCount] = key
            takenCount += 1
        }
        return reader.next(key)
    }

    /// The bytes of a string, escapes resolved; good until the reader unescapes the next one.
    public mutating func content(_ name: StaticString) throws(InvalidParams) -> UnsafeRawBufferPointer {
        guard let content = try optionalContent(name) else { throw Self.missing(name) }
        return content
    }

    /// The bytes of a string, escapes resolved, or nil where it was left out.
    public mutating func optionalContent(_ name: StaticString) throws(InvalidParams) -> UnsafeRawBufferPointer? {
        let node = value(name)
        guard node >= 0 else { return nil }
        guard reader.kind(node) == .string else { throw InvalidParams(name, "must be a string.") }
        return reader.unescaped(node)
    }

    /// A whole number of plain digits within bounds.
    public mutating func integer(
        _ name: StaticString, in bounds: ClosedRange<Int64>
    ) throws(InvalidParams) -> Int64 {
        guard let value = try optionalInteger(name, in: bounds) else { throw Self.missing(name) }
        return value
    }

    /// A whole number of plain digits within bounds, or `fallback` where it was left out.
    public mutating func integer(
        _ name: StaticString, in bounds: ClosedRange<Int64>, default fallback: Int64
    ) throws(InvalidParams) -> Int64 {
        try optionalInteger(name, in: bounds) ?? fallback
    }

    /// A whole number of plain digits within bounds, or nil where it was left out.
    public mutating func optionalInteger(
        _ name: StaticString, in bounds: ClosedRange<Int64>
    ) throws(InvalidParams) -> Int64? {
        let node = value(name)
        guard node >= 0 else { return nil }
        guard let number = reader.plainInteger(node), bounds.contains(number) else {
            throw InvalidParams(
                name, "must be a whole number from \(bounds.lowerBound) to \(bounds.upperBound), in plain digits.")
        }
        return number
    }

    /// A project.
    public mutating func projectCode(_ name: StaticString) throws(InvalidParams) -> ProjectCode {
        guard let project = try optionalProjectCode(name) else { throw Self.missing(name) }
        return project
    }

    /// A project, or nil where it was left out.
    public mutating func optionalProjectCode(_ name: StaticString) throws(InvalidParams) -> ProjectCode? {
        guard let content = try optionalContent(name) else { return nil }
        guard let project = ProjectCode(bytes: content) else { throw Self.malformedName(name) }
        return project
    }

    /// An application, or nil where it was left out.
    public mutating func optionalApplicationName(_ name: StaticString) throws(InvalidParams) -> ApplicationName? {
        guard let content = try optionalContent(name) else { return nil }
        guard let application = ApplicationName(bytes: content) else { throw Self.malformedName(name) }
        return application
    }

    /// A time, or nil where it was left out.
    public mutating func optionalInstant(_ name: StaticString) throws(InvalidParams) -> Instant? {
        guard let content = try optionalContent(name) else { return nil }
        guard let instant = Instant(text: content) else {
            throw InvalidParams(name, "must be a time such as 2025-05-24T18:18:22.265Z.")
        }
        return instant
    }

    /// Refuses keys that no getter asked for.
    public func finish() throws(InvalidParams) {
        guard object >= 0, takenCount < reader.count(object) else { return }
        var key = reader.firstChild(object)
        while key >= 0 {
            if !(0..<takenCount).contains(where: { taken[$0] == key }) { throw unknown(key) }
            key = reader.next(reader.next(key))
        }
    }

    private func key(_ name: StaticString) -> Int32 {
        guard object >= 0 else { return -1 }
        var key = reader.firstChild(object)
        while key >= 0 {
            if reader.equals(key, name) { return key }
            key = reader.next(reader.next(key))
        }
        return -1
    }

    private func unknown(_ key: Int32) -> InvalidParams {
        let bytes = reader.unescaped(key)
        // A token that stands where a name belongs is not sent back: what follows its prefix is left out.
        let shown =
            bytes.hasPrefix(Wire.tokenPrefix)
            ? Wire.tokenPrefix.utf8CodeUnitCount : min(bytes.count, Wire.maxEchoedNameBytes)
        var end = shown
        while end > 0, end < bytes.count, bytes[end] & 0xC0 == 0x80 { end -= 1 }
        let name = String(decoding: UnsafeRawBufferPointer(rebasing: bytes[..<end]), as: UTF8.self)
        return InvalidParams(param: name, sentence: "The method has no such parameter.")
    }

    private static func missing(_ name: StaticString) -> InvalidParams { InvalidParams(name, "is missing.") }

    private static func malformedName(_ name: StaticString) -> InvalidParams {
        InvalidParams(name, "must be 1 to 128 of A-Z a-z 0-9 . _ : @ / - and not begin with one of . : @ / -.")
    }
}
