internal import COpenSSL

/// A token's SHA-256, all that is ever stored of it.
@frozen
public struct TokenDigest: Hashable, Sendable, BitwiseCopyable {
    /// The 32 bytes, read as four big-endian words.
    public let words: (UInt64, UInt64, UInt64, UInt64)

    /// Bytes of a digest.
    public static let length = 32

    /// Takes four big-endian words.
    @inlinable
    public init(words: (UInt64, UInt64, UInt64, UInt64)) { self.words = words }

    /// Hashes the bytes, without allocating.
    public init(hashing bytes: UnsafeRawBufferPointer) {
        var context = SHA256_CTX()
        var digest: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        // These three fail only where the library's own state is corrupt; they always return 1.
        _ = SHA256_Init(&context)
        _ = SHA256_Update(&context, bytes.baseAddress, bytes.count)
        withUnsafeMutableBytes(of: &digest) { room in
            _ = SHA256_Final(room.baseAddress?.assumingMemoryBound(to: UInt8.self), &context)
        }
        words = (digest.0.bigEndian, digest.1.bigEndian, digest.2.bigEndian, digest.3.bigEndian)
    }

    /// Takes exactly 32 bytes of a digest; nil for another length.
    @inlinable
    public init?(bytes: UnsafeRawBufferPointer) {
        guard bytes.count == Self.length else { return nil }
        words = (
            UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 0, as: UInt64.self)),
            UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)),
            UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self)),
            UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 24, as: UInt64.self))
        )
    }

    /// Writes the 32 bytes.
    @inlinable
    public func write(to room: UnsafeMutableRawPointer) {
        room.storeBytes(of: words.0.bigEndian, toByteOffset: 0, as: UInt64.self)
        room.storeBytes(of: words.1.bigEndian, toByteOffset: 8, as: UInt64.self)
        room.storeBytes(of: words.2.bigEndian, toByteOffset: 16, as: UInt64.self)
        room.storeBytes(of: words.3.bigEndian, toByteOffset: 24, as: UInt64.self)
    }

    /// Lends the 32 bytes.
    @inlinable
    public func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        let ordered = (words.0.bigEndian, words.1.bigEndian, words.2.bigEndian, words.3.bigEndian)
        return try withUnsafeBytes(of: ordered, body)
    }

    /// The digest's first 64 bits.
    @inlinable public var fingerprint: Fingerprint { Fingerprint(value: words.0) }

    /// Compares all 256 bits whatever the first ones say: the time does not tell where two digests part.
    @inlinable
    public static func == (left: TokenDigest, right: TokenDigest) -> Bool {
        (left.words.0 ^ right.words.0) | (left.words.1 ^ right.words.1) | (left.words.2 ^ right.words.2)
            | (left.words.3 ^ right.words.3) == 0
    }

    /// A digest is uniform already: its first word is enough.
    @inlinable
    public func hash(into hasher: inout Hasher) { hasher.combine(words.0) }
}

/// The first 64 bits of a token's SHA-256: names a token in lists and logs without giving it away.
@frozen
public struct Fingerprint: Hashable, Sendable, BitwiseCopyable, CustomStringConvertible {
    /// The digest's first eight bytes, big-endian.
    public let value: UInt64

    /// Bytes that `write(to:)` writes.
    public static let textLength = 16

    /// Takes the digest's first eight bytes.
    @inlinable
    public init(value: UInt64) { self.value = value }

    /// Reads exactly 16 lower-case hex digits.
    public init?(text: String) {
        guard text.utf8.count == Self.textLength else { return nil }
        var value: UInt64 = 0
        for byte in text.utf8 {
            guard let digit = Hex.value(byte) else { return nil }
            value = value << 4 | UInt64(digit)
        }
        self.value = value
    }

    /// Writes 16 lower-case hex digits.
    public func write(to text: UnsafeMutablePointer<UInt8>) {
        let room = UnsafeMutableRawPointer(text)
        room.storeBytes(of: Hex.digits(UInt32(truncatingIfNeeded: value >> 32)), as: UInt64.self)
        room.storeBytes(of: Hex.digits(UInt32(truncatingIfNeeded: value)), toByteOffset: 8, as: UInt64.self)
    }

    /// 16 lower-case hex digits.
    public var description: String {
        String(unsafeUninitializedCapacity: Self.textLength) { buffer in
            guard let base = buffer.baseAddress else { return 0 }
            write(to: base)
            return Self.textLength
        }
    }
}

/// Lower-case hexadecimal digits.
enum Hex {
    /// The eight digits of a word, as they stand in memory on a little-endian machine: the first in the lowest byte.
    /// All eight at once, because each answer of `introspect` holds 32 of them.
    @inline(__always)
    static func digits(_ word: UInt32) -> UInt64 {
        var nibbles = UInt64(word.byteSwapped)
        nibbles = (nibbles | nibbles << 16) & 0x0000_FFFF_0000_FFFF
        nibbles = (nibbles | nibbles << 8) & 0x00FF_00FF_00FF_00FF
        nibbles = (nibbles >> 4 | nibbles << 8) & 0x0F0F_0F0F_0F0F_0F0F
        let letters = ((nibbles + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101
        return nibbles + 0x3030_3030_3030_3030 + letters * 39
    }

    /// Nil for what is no lower-case hex digit.
    static func value(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        default: nil
        }
    }
}
