import Glibc

/// Which unit asks for which credential, as systemd says it in the name that it binds its end to (systemd.exec(5),
/// LoadCredential=): `\0<random>/unit/<unit>/<credential>`. Anyone can bind such a name, so it means something only
/// where the kernel says that the peer is root.
struct CredentialAddress: Equatable, Sendable {
    let unit: String
    let credential: String

    /// unix(7): sun_path, which an abstract name may fill to its last byte.
    static let longestBytes = 108
    /// systemd writes 64 random bits in hexadecimal digits, without leading zeros.
    private static let mostRandomDigits = 16

    /// Reads the bytes of an address behind its family, the leading NUL included; nil where they are not exactly what
    /// systemd writes.
    init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count <= Self.longestBytes, bytes.first == 0 else { return nil }
        let parts = bytes.dropFirst().split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        guard parts.count == 4, Self.isRandom(parts[0]), parts[1].elementsEqual("unit".utf8),
            Self.isUnit(parts[2]), Self.isCredential(parts[3])
        else { return nil }
        unit = String(decoding: parts[2], as: UTF8.self)
        credential = String(decoding: parts[3], as: UTF8.self)
    }

    /// Asks the kernel for the address of a peer, or gives nil where it has none of this form.
    init?(peerOf descriptor: CInt) {
        var address = sockaddr_un()
        var length = socklen_t(MemoryLayout<sockaddr_un>.size)
        let result = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getpeername(descriptor, $0, &length) }
        }
        let familyBytes = MemoryLayout<sa_family_t>.size
        guard result == 0, address.sun_family == sa_family_t(AF_UNIX), length >= socklen_t(familyBytes) else {
            return nil
        }
        let name = withUnsafeBytes(of: &address.sun_path) { Array($0.prefix(Int(length) - familyBytes)) }
        self.init(name)
    }

    private static func isRandom(_ part: some Collection<UInt8>) -> Bool {
        (1...mostRandomDigits).contains(part.count)
            && part.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"): true
                default: false
                }
            }
    }

    /// systemd.unit(5): letters, digits and `:-_.\@`; whether the name is one that may have a credential, the
    /// configuration knows.
    private static func isUnit(_ part: some Collection<UInt8>) -> Bool {
        !part.isEmpty
            && part.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: ":"), UInt8(ascii: "-"), UInt8(ascii: "_"),
                    UInt8(ascii: "."), UInt8(ascii: "\\"), UInt8(ascii: "@"):
                    true
                default: false
                }
            }
    }

    /// What the configuration can name: printable ASCII without space, colon and slash.
    private static func isCredential(_ part: some Collection<UInt8>) -> Bool {
        !part.isEmpty && part.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: ":") }
    }
}
