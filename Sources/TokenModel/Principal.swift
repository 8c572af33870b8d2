/// Who is calling, by name: a user name, `uid-N` where that cannot be used, or `unit:NAME`.
public struct Principal: Sendable, CustomStringConvertible {
    /// What the audit says and what ownership is compared with, by bytes.
    public let text: String
    /// False for a caller without a user name whose uid is recycled or delegated: it may own nothing.
    public let mayOwn: Bool

    static let unitPrefix = "unit:"

    /// The principal of a user. `name` is the user name of `uid`, or nil where there is no such user. It becomes
    /// `uid-N` where a name could be taken for another principal: one that does not fit the pattern, has a `/` or a
    /// colon, looks like `uid-N` itself or ends like a unit.
    public static func user(name: String?, uid: UInt32) -> Principal {
        let mayOwn = mayOwn(uid: uid, hasName: name != nil)
        if let name, isUsable(name) { return Principal(text: name, mayOwn: mayOwn) }
        return Principal(text: "uid-\(uid)", mayOwn: mayOwn)
    }

    /// The principal of a systemd unit that the credential socket serves.
    public static func unit(_ name: String) -> Principal {
        Principal(text: unitPrefix + name, mayOwn: true)
    }

    /// The principal that an audit row names; good for comparing and showing, and owns nothing.
    public static func recorded(_ text: String) -> Principal { Principal(text: text, mayOwn: false) }

    /// The principal itself as an application; nil where the name of a unit is too long for one.
    public var application: ApplicationName? {
        ApplicationName(text) ?? ApplicationName(unitPrincipal: text)
    }

    /// Whether a caller may own applications. 61184 to 65519 are systemd's dynamic users, whose numbers are recycled;
    /// above 65535 lie containers' and subordinate ranges, which are delegated. A name vouches for either.
    public static func mayOwn(uid: UInt32, hasName: Bool) -> Bool {
        hasName || !(isRecycled(uid: uid) || uid > 65_535)
    }

    /// Whether the number may be another user's a moment later.
    public static func isRecycled(uid: UInt32) -> Bool { (61_184...65_519).contains(uid) }

    /// The name.
    public var description: String { text }

    private static let unitSuffixes = [
        ".service", ".socket", ".device", ".mount", ".automount", ".swap", ".target", ".path", ".timer", ".slice",
        ".scope",
    ]

    private static func isUsable(_ name: String) -> Bool {
        guard NamePattern.matches(name, allowsBackslash: false) else { return false }
        if name.utf8.contains(UInt8(ascii: "/")) || name.utf8.contains(UInt8(ascii: ":")) { return false }
        if unitSuffixes.contains(where: { name.hasSuffix($0) }) { return false }
        let looksLikeUID =
            name.hasPrefix("uid-") && name.utf8.count > 4
            && name.utf8.dropFirst(4).allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        return !looksLikeUID
    }
}

extension Principal: Hashable {
    /// By name alone: a name read back from the audit equals the one that was written.
    public static func == (left: Principal, right: Principal) -> Bool { left.text == right.text }

    /// Hashes what is compared.
    public func hash(into hasher: inout Hasher) { hasher.combine(text) }
}
