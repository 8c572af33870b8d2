/// The methods of the wire contract.
public enum Method: Int, CaseIterable, Sendable {
    case register, generate, rotate, introspect, revoke, unregister, list, watch, whoami, status, reload, ping

    /// As it stands in a request's `method`.
    public var name: StaticString {
        switch self {
        case .register: "register"
        case .generate: "generate"
        case .rotate: "rotate"
        case .introspect: "introspect"
        case .revoke: "revoke"
        case .unregister: "unregister"
        case .list: "list"
        case .watch: "watch"
        case .whoami: "whoami"
        case .status: "status"
        case .reload: "reload"
        case .ping: "ping"
        }
    }

    /// Whether a result holds a token. Sent as a notification such a method is not executed: its secret would be lost.
    public var returnsCredentials: Bool {
        switch self {
        case .register, .generate, .rotate: true
        case .introspect, .revoke, .unregister, .list, .watch, .whoami, .status, .reload, .ping: false
        }
    }

    /// Finds a method by its name's bytes, or nil. Length and one or two bytes leave one candidate, which is compared.
    public init?(name bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= 4 else { return nil }
        let candidate: Method
        switch (bytes.count, bytes[0]) {
        case (10, UInt8(ascii: "i")): candidate = .introspect
        case (6, UInt8(ascii: "r")):
            switch bytes[2] {
            case UInt8(ascii: "t"): candidate = .rotate
            case UInt8(ascii: "v"): candidate = .revoke
            default: candidate = .reload
            }
        case (8, UInt8(ascii: "r")): candidate = .register
        case (8, UInt8(ascii: "g")): candidate = .generate
        case (10, UInt8(ascii: "u")): candidate = .unregister
        case (4, UInt8(ascii: "l")): candidate = .list
        case (4, UInt8(ascii: "p")): candidate = .ping
        case (5, UInt8(ascii: "w")): candidate = .watch
        case (6, UInt8(ascii: "w")): candidate = .whoami
        case (6, UInt8(ascii: "s")): candidate = .status
        default: return nil
        }
        guard bytes.isEqual(to: candidate.name) else { return nil }
        self = candidate
    }
}
