/// What tokens are issued to: a principal itself, or `<principal>/<name>`. Compared and sorted by bytes.
public struct ApplicationName: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// ASCII, `NamePattern.maxBytes` at most.
    public let text: String

    /// Takes a name of the pattern `[A-Za-z0-9_][A-Za-z0-9._:@/-]{0,127}`.
    public init?(_ text: String) {
        guard NamePattern.matches(text, allowsBackslash: false) else { return nil }
        self.text = text
    }

    /// Takes a unit's principal, `unit:NAME`, in which backslashes may stand (escaped template instances).
    public init?(unitPrincipal text: String) {
        guard text.hasPrefix(Principal.unitPrefix), NamePattern.matches(text, allowsBackslash: true) else {
            return nil
        }
        self.text = text
    }

    /// Takes the bytes of a name of the pattern or of a unit's principal. No string is made of others, for they may be a token,
    /// and a string is not wiped.
    public init?(bytes: UnsafeRawBufferPointer) {
        let isName =
            NamePattern.matches(bytes, allowsBackslash: false)
            || bytes.starts(with: Principal.unitPrefix.utf8) && NamePattern.matches(bytes, allowsBackslash: true)
        guard isName else { return nil }
        text = String(decoding: bytes, as: UTF8.self)
    }

    /// What stands before the first `/`: whose quota the application's tokens count for.
    public var owner: String {
        guard let slash = text.utf8.firstIndex(of: UInt8(ascii: "/")) else { return text }
        return String(text[..<slash])
    }

    /// Whether it is the principal itself or `<principal>/` and one character or more, by bytes.
    public func isOwned(by principal: Principal) -> Bool {
        guard principal.mayOwn else { return false }
        let mine = principal.text.utf8
        let name = text.utf8
        guard name.starts(with: mine) else { return false }
        let rest = name.dropFirst(mine.count)
        return rest.isEmpty || (rest.first == UInt8(ascii: "/") && rest.count > 1)
    }

    /// By bytes: ASCII strings are in canonical order when their bytes are.
    public static func < (left: ApplicationName, right: ApplicationName) -> Bool { left.text < right.text }

    /// The name.
    public var description: String { text }
}

/// What a token is good for. Compared and sorted by bytes.
public struct ProjectCode: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// ASCII, `NamePattern.maxBytes` at most.
    public let text: String

    /// Takes a code of the pattern `[A-Za-z0-9_][A-Za-z0-9._:@/-]{0,127}`.
    public init?(_ text: String) {
        guard NamePattern.matches(text, allowsBackslash: false) else { return nil }
        self.text = text
    }

    /// Takes the bytes of a code of the pattern; no string is made of others.
    public init?(bytes: UnsafeRawBufferPointer) {
        guard NamePattern.matches(bytes, allowsBackslash: false) else { return nil }
        text = String(decoding: bytes, as: UTF8.self)
    }

    /// By bytes.
    public static func < (left: ProjectCode, right: ProjectCode) -> Bool { left.text < right.text }

    /// The code.
    public var description: String { text }
}

/// The pattern of names: `[A-Za-z0-9_][A-Za-z0-9._:@/-]{0,127}`, whole.
public enum NamePattern {
    /// The longest name.
    public static let maxBytes = 128

    /// Whether the bytes are a name. A backslash counts as a letter where it is allowed.
    public static func matches(_ bytes: UnsafeRawBufferPointer, allowsBackslash: Bool) -> Bool {
        guard let first = bytes.first, bytes.count <= maxBytes, isLetterDigitOrUnderscore(first) else { return false }
        for byte in bytes where !isLetterDigitOrUnderscore(byte) {
            switch byte {
            case UInt8(ascii: "."), UInt8(ascii: ":"), UInt8(ascii: "@"), UInt8(ascii: "/"), UInt8(ascii: "-"): break
            case UInt8(ascii: "\\") where allowsBackslash: break
            default: return false
            }
        }
        return true
    }

    static func matches(_ text: String, allowsBackslash: Bool) -> Bool {
        var text = text
        return text.withUTF8 { matches(UnsafeRawBufferPointer($0), allowsBackslash: allowsBackslash) }
    }

    private static func isLetterDigitOrUnderscore(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
            return true
        default: return false
        }
    }
}
