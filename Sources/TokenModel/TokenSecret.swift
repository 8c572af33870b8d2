internal import COpenSSL

/// A token in clear text, from when it is drawn until it was sent: `api_key|` and 64 of `0-9A-Za-z`. Wiped when the
/// last reference goes; no description, dump or mirror shows it.
public final class TokenSecret: @unchecked Sendable {
    // @unchecked: the bytes are written in the initialiser and in deinit only, when nobody else holds a reference.
    private let storage: UnsafeMutableRawPointer

    /// Bytes of a token: 8 of prefix, 58 random digits, 6 of checksum.
    public static let length = 72
    /// What each token begins with, so that a leak is recognised.
    public static let prefix: StaticString = "api_key|"
    static let prefixLength = 8
    static let randomLength = 58
    static let checksumLength = 6

    private init(uninitialized: Void) {
        storage = UnsafeMutableRawPointer.allocate(byteCount: Self.length, alignment: 8)
    }

    /// Copies a token that someone else holds, or gives nil where it is not well formed. The caller wipes its own copy.
    public convenience init?(bytes: UnsafeRawBufferPointer) {
        guard Self.isWellFormed(bytes) else { return nil }
        self.init(uninitialized: ())
        storage.copyMemory(from: bytes.baseAddress!, byteCount: Self.length)  // 72 bytes have an address
    }

    deinit {
        OPENSSL_cleanse(storage, Self.length)
        storage.deallocate()
    }

    /// Lends the 72 bytes.
    public func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try body(UnsafeRawBufferPointer(start: storage, count: Self.length))
    }

    /// SHA-256 of the 72 bytes.
    public var digest: TokenDigest { withBytes { TokenDigest(hashing: $0) } }

    /// Draws a token: 58 digits, uniform, then the CRC-32 of those 58 ASCII bytes as 6 base-62 digits.
    /// - Throws: what the source throws; `RandomError` where it gives hardly anything but bytes that are passed over.
    public static func generate(from source: some RandomSource) throws -> TokenSecret {
        let secret = TokenSecret(uninitialized: ())
        let text = secret.storage.assumingMemoryBound(to: UInt8.self)
        text.update(from: prefix.utf8Start, count: prefixLength)
        try drawDigits(randomLength, to: text + prefixLength, from: source)
        let random = UnsafeRawBufferPointer(start: text + prefixLength, count: randomLength)
        Base62.write(CRC32.checksum(random), to: text + prefixLength + randomLength)
        return secret
    }

    /// Whether the bytes have the prefix, the alphabet and the checksum of a token.
    public static func isWellFormed(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard bytes.count == length else { return false }
        for offset in 0..<prefixLength where bytes[offset] != prefix.utf8Start[offset] { return false }
        for offset in prefixLength..<length where !Base62.isDigit(bytes[offset]) { return false }
        let random = UnsafeRawBufferPointer(rebasing: bytes[prefixLength..<prefixLength + randomLength])
        var expected: (UInt8, UInt8, UInt8, UInt8, UInt8, UInt8) = (0, 0, 0, 0, 0, 0)
        return withUnsafeMutableBytes(of: &expected) { room in
            let text = room.assumingMemoryBound(to: UInt8.self).baseAddress!  // six bytes have an address
            Base62.write(CRC32.checksum(random), to: text)
            return (0..<checksumLength).allSatisfy { text[$0] == bytes[prefixLength + randomLength + $0] }
        }
    }

    /// A byte below 248 = 4 × 62 gives a digit, a greater one is passed over: so each digit is as likely.
    private static func drawDigits(
        _ count: Int, to text: UnsafeMutablePointer<UInt8>, from source: some RandomSource
    ) throws {
        // 64 bytes give 58 digits in 99 of 100 draws. Sixteen draws that do not are a broken source.
        var drawn: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0, 0, 0)
        defer { withUnsafeMutableBytes(of: &drawn) { OPENSSL_cleanse($0.baseAddress, $0.count) } }
        var written = 0
        for _ in 0..<16 {
            try withUnsafeMutableBytes(of: &drawn) { bytes in
                try source.fill(bytes)
                for byte in bytes where written < count {
                    // Written in any case, for nobody can predict which byte is passed over; the next one takes its place.
                    text[written] = Base62.digit(byte % 62)
                    written += byte < 248 ? 1 : 0
                }
            }
            if written == count { return }
        }
        throw RandomError(errno: 0)
    }
}

/// A token that was drawn before it is known whether one is made, and the identity of the registration that would begin
/// with it. Wiped like any other where none is made.
package struct DrawnToken: Sendable {
    package let secret: TokenSecret
    package let digest: TokenDigest
    /// Nil where the command begins no registration.
    package let registrationID: RegistrationID?

    /// Draws what a command may need; nil where it makes no token, or there is no randomness.
    package init?(for command: Command, from source: any RandomSource) {
        do {
            switch command {
            case .register: registrationID = try .random(from: source)
            case .generate, .rotate: registrationID = nil
            case .revokeToken, .revoke, .revokeProject, .unregister: return nil
            }
            secret = try .generate(from: source)
            digest = secret.digest
        } catch {
            return nil
        }
    }
}

extension TokenSecret: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// Never the token.
    public var description: String { "TokenSecret(hidden)" }
    /// Never the token.
    public var debugDescription: String { description }
    /// Shows nothing inside.
    public var customMirror: Mirror { Mirror(self, children: []) }
}
