public import TokenModel

extension ByteWriter {
    /// Writes a comma where a value or a member stands before, then `"name":`. The name needs no escapes.
    @inlinable
    public func appendKey(_ name: StaticString) {
        appendSeparator()
        append(UInt8(ascii: "\""))
        append(name)
        append("\":")
    }

    /// Writes a comma unless a container has just been opened: before each element of an array.
    @inlinable
    public func appendSeparator() {
        guard let last = bytes.last else { return }
        if last != UInt8(ascii: "{"), last != UInt8(ascii: "["), last != UInt8(ascii: ":") { append(UInt8(ascii: ",")) }
    }

    /// Writes a JSON string of UTF-8 bytes. What is not UTF-8 becomes U+FFFD.
    public func appendJSONString(_ text: UnsafeRawBufferPointer) {
        append(UInt8(ascii: "\""))
        if let base = text.baseAddress?.assumingMemoryBound(to: UInt8.self) { appendEscaped(base, count: text.count) }
        append(UInt8(ascii: "\""))
    }

    /// Writes a JSON string.
    public func appendJSONString(_ text: String) {
        var text = text
        text.withUTF8 { appendJSONString(UnsafeRawBufferPointer($0)) }
    }

    /// Writes a JSON string.
    public func appendJSONString(_ text: StaticString) { appendJSONString(text.rawBytes) }

    /// Writes a number.
    public func appendInteger(_ value: Int64) {
        append(room: 20) { target in
            // From the right end of the room, two digits a step; then moved to its place.
            var start = 20
            var rest = value.magnitude
            while rest >= 100 {
                start -= 2
                Self.twoDigits(rest % 100, to: target + start)
                rest /= 100
            }
            if rest >= 10 {
                start -= 2
                Self.twoDigits(rest, to: target + start)
            } else {
                start -= 1
                target[start] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest)
            }
            if value < 0 {
                start -= 1
                target[start] = UInt8(ascii: "-")
            }
            UnsafeMutableRawPointer(target).copyMemory(from: target + start, byteCount: 20 - start)
            return 20 - start
        }
    }

    @inline(__always)
    private static func twoDigits(_ number: UInt64, to target: UnsafeMutablePointer<UInt8>) {
        let tens = (UInt16(truncatingIfNeeded: number) &* 103) &>> 10
        let ones = UInt16(truncatingIfNeeded: number) &- tens &* 10
        target[0] = UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: tens)
        target[1] = UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: ones)
    }

    /// Writes `true` or `false`.
    @inlinable
    public func append(_ value: Bool) { append(value ? "true" : "false") }

    /// Writes a time as a JSON string, `"2025-05-24T18:18:22.265Z"`.
    @inlinable
    public func append(_ instant: Instant) {
        appendQuoted(Instant.textLength) { instant.write(to: $0) }
    }

    /// Writes a fingerprint as a JSON string.
    @inlinable
    public func append(_ fingerprint: Fingerprint) {
        appendQuoted(Fingerprint.textLength) { fingerprint.write(to: $0) }
    }

    /// Writes a registration's id as a JSON string.
    @inlinable
    public func append(_ id: RegistrationID) {
        appendQuoted(RegistrationID.textLength) { id.write(to: $0) }
    }

    @usableFromInline
    @inline(__always)
    func appendQuoted(_ length: Int, _ write: (UnsafeMutablePointer<UInt8>) -> Void) {
        append(room: length + 2) { target in
            target[0] = UInt8(ascii: "\"")
            write(target + 1)
            target[length + 1] = UInt8(ascii: "\"")
            return length + 2
        }
    }

    /// Copies runs of bytes that stand for themselves, and writes the rest by RFC 8259, section 7.
    private func appendEscaped(_ base: UnsafePointer<UInt8>, count: Int) {
        var position = 0
        while true {
            let plain = StringWord.plainPrefix(base + position, count: count - position)
            append(UnsafeRawBufferPointer(start: base + position, count: plain))
            position += plain
            guard position < count else { return }
            let length = StrictUTF8.length(at: base + position, room: count - position)
            switch length {
            case 0: append("\u{FFFD}")
            case 1: appendEscape(base[position])
            default: append(UnsafeRawBufferPointer(start: base + position, count: length))
            }
            position += max(length, 1)
        }
    }

    private func appendEscape(_ byte: UInt8) {
        switch byte {
        case UInt8(ascii: "\""): append("\\\"")
        case UInt8(ascii: "\\"): append("\\\\")
        case 0x08: append("\\b")
        case 0x09: append("\\t")
        case 0x0A: append("\\n")
        case 0x0C: append("\\f")
        case 0x0D: append("\\r")
        default:
            let digits: StaticString = "0123456789abcdef"
            append("\\u00")
            append(digits.utf8Start[Int(byte >> 4)])
            append(digits.utf8Start[Int(byte & 15)])
        }
    }
}
