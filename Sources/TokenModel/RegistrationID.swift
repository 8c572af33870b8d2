/// An application's identity for as long as it is registered: a version 4 UUID (RFC 9562), lower case.
@frozen
public struct RegistrationID: Hashable, Sendable, BitwiseCopyable, CustomStringConvertible {
    /// The first eight bytes, big-endian.
    public let high: UInt64
    /// The last eight bytes, big-endian.
    public let low: UInt64

    /// Bytes that `write(to:)` writes.
    public static let textLength = 36

    /// Takes the sixteen bytes as two big-endian words.
    @inlinable
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// Draws a version 4 UUID.
    /// - Throws: what the source throws.
    public static func random(from source: some RandomSource) throws -> RegistrationID {
        var words: (UInt64, UInt64) = (0, 0)
        try withUnsafeMutableBytes(of: &words) { try source.fill($0) }
        // RFC 9562, 5.4: four bits of version, two of variant; the other 122 are random.
        return RegistrationID(
            high: words.0 & 0xFFFF_FFFF_FFFF_0FFF | 0x4000, low: words.1 & 0x3FFF_FFFF_FFFF_FFFF | 1 << 63)
    }

    /// Reads exactly the form that `write(to:)` writes.
    public init?(text: String) {
        guard text.utf8.count == Self.textLength else { return nil }
        var words: (high: UInt64, low: UInt64) = (0, 0)
        for (offset, byte) in text.utf8.enumerated() {
            if Self.isDash(offset) {
                guard byte == UInt8(ascii: "-") else { return nil }
                continue
            }
            guard let digit = Hex.value(byte) else { return nil }
            words.high = words.high << 4 | words.low >> 60
            words.low = words.low << 4 | UInt64(digit)
        }
        self.init(high: words.high, low: words.low)
    }

    /// Writes the 36 bytes of text.
    public func write(to text: UnsafeMutablePointer<UInt8>) {
        let room = UnsafeMutableRawPointer(text)
        let groups = Hex.digits(UInt32(truncatingIfNeeded: high))
        let rest = Hex.digits(UInt32(truncatingIfNeeded: low >> 32))
        room.storeBytes(of: Hex.digits(UInt32(truncatingIfNeeded: high >> 32)), as: UInt64.self)
        room.storeBytes(of: UInt32(truncatingIfNeeded: groups), toByteOffset: 9, as: UInt32.self)
        room.storeBytes(of: UInt32(truncatingIfNeeded: groups >> 32), toByteOffset: 14, as: UInt32.self)
        room.storeBytes(of: UInt32(truncatingIfNeeded: rest), toByteOffset: 19, as: UInt32.self)
        room.storeBytes(of: UInt32(truncatingIfNeeded: rest >> 32), toByteOffset: 24, as: UInt32.self)
        room.storeBytes(of: Hex.digits(UInt32(truncatingIfNeeded: low)), toByteOffset: 28, as: UInt64.self)
        let dash = UInt8(ascii: "-")
        (text[8], text[13], text[18], text[23]) = (dash, dash, dash, dash)
    }

    /// 36 bytes of text.
    public var description: String {
        String(unsafeUninitializedCapacity: Self.textLength) { buffer in
            guard let base = buffer.baseAddress else { return 0 }
            write(to: base)
            return Self.textLength
        }
    }

    private static func isDash(_ offset: Int) -> Bool {
        offset == 8 || offset == 13 || offset == 18 || offset == 23
    }
}
