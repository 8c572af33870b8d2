public import TokenModel
public import TokenRPC

/// A JSON value of an answer: a view into the client's buffer, good only within the closure that gets it.
public struct Answer {
    /// What reads the buffer.
    public let reader: JSONReader
    /// The value's node in it.
    public let node: Int32

    init(reader: JSONReader, node: Int32) {
        self.reader = reader
        self.node = node
    }

    /// The value as the daemon sent it.
    public var bytes: UnsafeRawBufferPointer { reader.raw(node) }

    /// What kind of value it is.
    public var kind: JSONKind { reader.kind(node) }

    /// An object's member; nil where there is none, or where this is no object.
    public func member(_ name: StaticString) -> Answer? {
        let value = reader.member(name, of: node)
        return value >= 0 ? Answer(reader: reader, node: value) : nil
    }

    /// Gives an object's members, in their order; none where this is no object.
    public func forEachMember(_ body: (_ key: Answer, _ value: Answer) -> Void) {
        guard kind == .object else { return }
        var key = reader.firstChild(node)
        while key >= 0 {
            let value = reader.next(key)
            body(Answer(reader: reader, node: key), Answer(reader: reader, node: value))
            key = reader.next(value)
        }
    }

    /// Gives an array's elements, in their order; none where this is no array.
    public func forEachElement<Failure: Error>(_ body: (Answer) throws(Failure) -> Void) throws(Failure) {
        guard kind == .array else { return }
        var element = reader.firstChild(node)
        while element >= 0 {
            try body(Answer(reader: reader, node: element))
            element = reader.next(element)
        }
    }

    /// The text of a string; nil for another kind.
    public var string: String? { kind == .string ? reader.string(node) : nil }

    /// A number that is plain digits; nil for another kind.
    public var integer: Int64? { kind == .number ? reader.plainInteger(node) : nil }

    /// True or false; nil for another kind.
    public var boolean: Bool? {
        switch kind {
        case .true: true
        case .false: false
        default: nil
        }
    }

    /// A time of the contract's form; nil for anything else.
    public var instant: Instant? {
        guard kind == .string, !reader.hasEscapes(node) else { return nil }
        return Instant(text: reader.content(node))
    }
}

/// The members that an answer must have: their absence is an answer that is malformed.
extension Answer {
    private func missing(_ name: StaticString) -> TokenClientError {
        TokenClientError(.malformedAnswer, "the daemon's answer lacks a usable \(name)")
    }

    func need<Value>(_ name: StaticString, _ value: (Answer) -> Value?) throws(TokenClientError) -> Value {
        guard let member = member(name), let found = value(member) else { throw missing(name) }
        return found
    }

    /// A member that may be absent or null, but not something else.
    func option<Value>(_ name: StaticString, _ value: (Answer) -> Value?) throws(TokenClientError) -> Value? {
        guard let member = member(name), member.kind != .null else { return nil }
        guard let found = value(member) else { throw missing(name) }
        return found
    }

    var registrationID: RegistrationID? { string.flatMap { RegistrationID(text: $0) } }
    var fingerprint: Fingerprint? { string.flatMap { Fingerprint(text: $0) } }
    var applicationName: ApplicationName? {
        string.flatMap { ApplicationName($0) ?? ApplicationName(unitPrincipal: $0) }
    }
    var projectCode: ProjectCode? { string.flatMap { ProjectCode($0) } }
    /// As an error's text may be shown: see `TokenClientError`.
    var harmlessText: String? { string.map(Harmless.text) }
}

/// What comes from outside and goes into an error's text: on one line, and without a token whatever happened.
enum Harmless {
    /// A sentence as a part of a longer one: without its full stop.
    static func clause(_ sentence: String) -> String {
        guard sentence.utf8.last == UInt8(ascii: ".") else { return sentence }
        return String(sentence.dropLast())
    }

    /// C0, DEL and C1, of which U+009B alone begins a terminal's command.
    private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
    }

    static func text(_ text: String) -> String {
        let bytes = Array(text.utf8)
        let prefix = Array("api_key|".utf8)
        if bytes.count >= prefix.count {
            for start in 0...(bytes.count - prefix.count) where bytes[start...].starts(with: prefix) {
                return "(a text that holds a token is not shown)"
            }
        }
        return String(String.UnicodeScalarView(text.unicodeScalars.map { isControl($0) ? " " : $0 }))
    }
}
