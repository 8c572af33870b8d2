import Glibc

extension StaticString {
    /// The UTF-8 bytes of a literal; they live as long as the process.
    package var rawBytes: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: utf8Start, count: utf8CodeUnitCount)
    }
}

extension UnsafeRawBufferPointer {
    /// Whether the bytes are exactly those of the literal. Inlined, for the comparison is then one of a length that is known.
    @inline(__always)
    func isEqual(to text: StaticString) -> Bool { isEqual(to: text.rawBytes) }

    /// Whether both hold the same bytes.
    @inline(__always)
    func isEqual(to other: UnsafeRawBufferPointer) -> Bool {
        guard count == other.count else { return false }
        guard let left = baseAddress, let right = other.baseAddress else { return true }
        return memcmp(left, right, count) == 0
    }

    /// Whether the bytes begin with those of the literal.
    func hasPrefix(_ text: StaticString) -> Bool {
        count >= text.utf8CodeUnitCount
            && UnsafeRawBufferPointer(rebasing: self[..<text.utf8CodeUnitCount]).isEqual(to: text)
    }
}

/// UTF-8 as RFC 3629, section 4, has it: no overlong form, no surrogate, nothing above U+10FFFF.
enum StrictUTF8 {
    /// How many bytes the well-formed sequence at `bytes` takes, or 0 where there is none within `room` bytes.
    static func length(at bytes: UnsafePointer<UInt8>, room: Int) -> Int {
        guard room > 0 else { return 0 }
        let second: ClosedRange<UInt8>
        let length: Int
        switch bytes[0] {
        case 0x00...0x7F: return 1
        case 0xC2...0xDF: (length, second) = (2, 0x80...0xBF)
        case 0xE0: (length, second) = (3, 0xA0...0xBF)
        case 0xE1...0xEC, 0xEE...0xEF: (length, second) = (3, 0x80...0xBF)
        case 0xED: (length, second) = (3, 0x80...0x9F)
        case 0xF0: (length, second) = (4, 0x90...0xBF)
        case 0xF1...0xF3: (length, second) = (4, 0x80...0xBF)
        case 0xF4: (length, second) = (4, 0x80...0x8F)
        default: return 0
        }
        guard room >= length, second.contains(bytes[1]) else { return 0 }
        if length > 2, bytes[2] & 0xC0 != 0x80 { return 0 }
        if length > 3, bytes[3] & 0xC0 != 0x80 { return 0 }
        return length
    }
}

/// Eight bytes of a string looked at at once.
enum StringWord {
    /// The high bit of the first byte that does not simply stand for itself: a quote, a backslash, a control character
    /// or a byte above 0x7F. Bits above the lowest that is set may be wrong (a borrow runs upwards); 0 is exact.
    @inline(__always)
    static func stops(_ word: UInt64) -> UInt64 {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let quotes = word ^ (ones &* 0x22)
        let backslashes = word ^ (ones &* 0x5C)
        let found =
            ((quotes &- ones) & ~quotes) | ((backslashes &- ones) & ~backslashes) | (word &- ones &* 0x20) | word
        return found & (ones &* 0x80)
    }

    /// How many bytes from the first on stand for themselves.
    @inline(__always)
    static func plainPrefix(_ base: UnsafePointer<UInt8>, count: Int) -> Int {
        var position = 0
        while position + 8 <= count {
            let word = UnsafeRawPointer(base + position).loadUnaligned(as: UInt64.self)
            let stops = stops(UInt64(littleEndian: word))
            guard stops == 0 else { return position + firstIndex(stops) }
            position += 8
        }
        while position < count {
            let byte = base[position]
            guard byte >= 0x20, byte < 0x80, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\") else {
                return position
            }
            position += 1
        }
        return position
    }

    /// Which byte the lowest bit of `stops` belongs to.
    @inline(__always)
    static func firstIndex(_ stops: UInt64) -> Int { stops.trailingZeroBitCount >> 3 }
}
