/// The escapes of a string that was found to be well formed.
enum JSONEscape {
    /// Bytes of `\uXXXX`.
    static let length = 6

    /// The UTF-16 code unit of the `\uXXXX` at `bytes`, or nil where there is none within `room` bytes.
    static func unit(at bytes: UnsafePointer<UInt8>, room: Int) -> UInt32? {
        guard room >= length, bytes[0] == UInt8(ascii: "\\"), bytes[1] == UInt8(ascii: "u") else { return nil }
        var unit: UInt32 = 0
        for offset in 2..<length {
            let digit: UInt8
            switch bytes[offset] {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = bytes[offset] - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = bytes[offset] - UInt8(ascii: "a") + 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = bytes[offset] - UInt8(ascii: "A") + 10
            default: return nil
            }
            unit = unit << 4 | UInt32(digit)
        }
        return unit
    }

    /// Writes a string's content with its escapes resolved; that is never longer than the content.
    /// - Returns: the bytes written.
    static func unescape(_ content: UnsafeRawBufferPointer, into target: UnsafeMutableRawPointer) -> Int {
        guard let base = content.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return 0 }
        let output = target.assumingMemoryBound(to: UInt8.self)
        var position = 0
        var written = 0
        while position < content.count {
            let byte = base[position]
            guard byte == UInt8(ascii: "\\"), position + 1 < content.count else {
                output[written] = byte
                written += 1
                position += 1
                continue
            }
            if let scalar = scalar(at: base + position, room: content.count - position) {
                written += encode(scalar.value, to: output + written)
                position += scalar.length
            } else {
                output[written] = plain(base[position + 1])
                written += 1
                position += 2
            }
        }
        return written
    }

    /// The code point of one `\uXXXX`, or of two that are a surrogate pair.
    private static func scalar(at bytes: UnsafePointer<UInt8>, room: Int) -> (value: UInt32, length: Int)? {
        guard let unit = unit(at: bytes, room: room) else { return nil }
        guard 0xD800...0xDBFF ~= unit, let low = self.unit(at: bytes + length, room: room - length) else {
            return (unit, length)
        }
        return (0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00), 2 * length)
    }

    private static func plain(_ letter: UInt8) -> UInt8 {
        switch letter {
        case UInt8(ascii: "b"): 0x08
        case UInt8(ascii: "f"): 0x0C
        case UInt8(ascii: "n"): 0x0A
        case UInt8(ascii: "r"): 0x0D
        case UInt8(ascii: "t"): 0x09
        default: letter
        }
    }

    private static func encode(_ scalar: UInt32, to output: UnsafeMutablePointer<UInt8>) -> Int {
        func tail(_ shift: UInt32) -> UInt8 { UInt8(truncatingIfNeeded: scalar >> shift) & 0x3F | 0x80 }
        switch scalar {
        case 0..<0x80:
            output[0] = UInt8(truncatingIfNeeded: scalar)
            return 1
        case 0x80..<0x800:
            output[0] = UInt8(truncatingIfNeeded: scalar >> 6) | 0xC0
            output[1] = tail(0)
            return 2
        case 0x800..<0x10000:
            output[0] = UInt8(truncatingIfNeeded: scalar >> 12) | 0xE0
            output[1] = tail(6)
            output[2] = tail(0)
            return 3
        default:
            output[0] = UInt8(truncatingIfNeeded: scalar >> 18) | 0xF0
            output[1] = tail(12)
            output[2] = tail(6)
            output[3] = tail(0)
            return 4
        }
    }
}
