/// Reads a document strictly by RFC 8259 and lays its values out on a tape. A value type on the stack: what it advances
/// lives in registers.
struct JSONScanner {
    let base: UnsafePointer<UInt8>
    let end: Int
    let nodes: UnsafeMutablePointer<JSONNode>
    let capacity: Int
    /// The next byte to look at; where scanning failed, the byte that does not belong there.
    var position = 0
    var used = 0
    /// Objects with two keys or more.
    var crowdedObjects = 0
    /// Whether a key has an escape.
    var hasEscapedKey = false

    /// Scans `end` bytes; the tape was prepared for them.
    init(base: UnsafePointer<UInt8>, end: Int, tape: JSONTape) {
        self.base = base
        self.end = end
        nodes = tape.nodes
        capacity = tape.capacity
    }

    /// Reads the whole document; false where it is not JSON.
    mutating func scanDocument() -> Bool {
        var parent: Int32 = -1
        var previous: Int32 = -1
        var depth = 0
        while true {
            skipSpace()
            guard position < end else { return false }
            let node = Int32(truncatingIfNeeded: used)
            if previous >= 0 { nodes[Int(previous)].next = node }
            previous = node
            let byte = base[position]
            if byte == UInt8(ascii: "\"") {
                guard scanString() else { return false }
            } else if byte == UInt8(ascii: "{") || byte == UInt8(ascii: "[") {
                guard depth < Wire.maxDepth else { return false }
                depth += 1
                append(byte == UInt8(ascii: "{") ? .object : .array, from: position, parent: parent)
                parent = node
                previous = -1
                position += 1
                skipSpace()
                guard position < end else { return false }
                if byte == UInt8(ascii: "[") {
                    if base[position] != UInt8(ascii: "]") {
                        nodes[Int(node)].info += JSONNode.entry
                        continue
                    }
                } else if base[position] != UInt8(ascii: "}") {
                    guard scanKey(of: node, after: &previous) else { return false }
                    continue
                }
            } else {
                guard scanScalar(byte) else { return false }
            }
            guard scanSeparators(&parent, &previous, &depth) else { return false }
            if parent < 0 { return position == end }
        }
    }

    /// Reads what stands between two values: closing brackets, then a comma and, in an object, a key. At the end of the
    /// document `parent` is -1, and what is left is not white space.
    @inline(__always)
    private mutating func scanSeparators(_ parent: inout Int32, _ previous: inout Int32, _ depth: inout Int) -> Bool {
        while true {
            skipSpace()
            guard parent >= 0 else { return true }
            guard position < end else { return false }
            let container = nodes + Int(parent)
            let isObject = container.pointee.info & 7 == UInt32(JSONKind.object.rawValue)
            let byte = base[position]
            if byte == UInt8(ascii: ",") {
                position += 1
                guard isObject else {
                    container.pointee.info += JSONNode.entry
                    return true
                }
                if container.pointee.count == 1 { crowdedObjects += 1 }
                skipSpace()
                return scanKey(of: parent, after: &previous)
            }
            guard byte == (isObject ? UInt8(ascii: "}") : UInt8(ascii: "]")) else { return false }
            position += 1
            container.pointee.end = UInt32(truncatingIfNeeded: position)
            previous = parent
            parent = container.pointee.next
            container.pointee.next = -1
            depth -= 1
        }
    }

    /// Reads a key and its colon.
    @inline(__always)
    private mutating func scanKey(of object: Int32, after previous: inout Int32) -> Bool {
        guard position < end, base[position] == UInt8(ascii: "\"") else { return false }
        let key = Int32(truncatingIfNeeded: used)
        if previous >= 0 { nodes[Int(previous)].next = key }
        previous = key
        nodes[Int(object)].info += JSONNode.entry
        guard scanString() else { return false }
        if nodes[Int(key)].hasEscapes { hasEscapedKey = true }
        skipSpace()
        guard position < end, base[position] == UInt8(ascii: ":") else { return false }
        position += 1
        return true
    }

    @inline(__always)
    private mutating func append(_ kind: JSONKind, from start: Int, parent: Int32 = -1, flags: UInt32 = 0) {
        assert(used < capacity, "JSONTape.prepare makes room for every document")
        (nodes + used).initialize(
            to: JSONNode(
                start: UInt32(truncatingIfNeeded: start), end: UInt32(truncatingIfNeeded: position), next: parent,
                info: UInt32(kind.rawValue) | flags))
        used += 1
    }

    @inline(__always)
    private mutating func skipSpace() {
        // What is not white space is mostly greater: one comparison.
        while position < end, base[position] <= 0x20 {
            // RFC 8259, section 2: space, tab, LF, CR, and nothing else.
            switch base[position] {
            case 0x20, 0x09, 0x0A, 0x0D: position += 1
            default: return
            }
        }
    }

    /// Reads a string from its opening quote on.
    @inline(__always)
    private mutating func scanString() -> Bool {
        let start = position
        var flags: UInt32 = 0
        position += 1
        while true {
            position += StringWord.plainPrefix(base + position, count: end - position)
            guard position < end else { return false }
            let byte = base[position]
            if byte == UInt8(ascii: "\"") {
                position += 1
                append(.string, from: start, flags: flags)
                return true
            } else if byte == UInt8(ascii: "\\") {
                flags = JSONNode.escapes
                guard scanEscape() else { return false }
            } else if byte >= 0x80 {
                let length = StrictUTF8.length(at: base + position, room: end - position)
                guard length > 0 else { return false }
                position += length
            } else {
                // A control character.
                return false
            }
        }
    }

    /// Reads an escape from its backslash on. A code point above U+FFFF is two escapes, and half of one is not JSON
    /// here: no UTF-8 can hold it.
    private mutating func scanEscape() -> Bool {
        guard position + 1 < end else {
            position = end
            return false
        }
        switch base[position + 1] {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
            UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
            position += 2
            return true
        case UInt8(ascii: "u"):
            guard let unit = JSONEscape.unit(at: base + position, room: end - position) else { return false }
            switch unit {
            case 0xD800...0xDBFF:
                let rest = position + JSONEscape.length
                guard let low = JSONEscape.unit(at: base + rest, room: end - rest), 0xDC00...0xDFFF ~= low else {
                    return false
                }
                position += 2 * JSONEscape.length
            case 0xDC00...0xDFFF: return false
            default: position += JSONEscape.length
            }
            return true
        default: return false
        }
    }

    @inline(__always)
    private mutating func scanScalar(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return scanNumber()
        case UInt8(ascii: "t"): return scanWord("true", .true)
        case UInt8(ascii: "f"): return scanWord("false", .false)
        case UInt8(ascii: "n"): return scanWord("null", .null)
        default: return false
        }
    }

    private mutating func scanWord(_ word: StaticString, _ kind: JSONKind) -> Bool {
        let start = position
        for byte in word.rawBytes {
            guard position < end, base[position] == byte else { return false }
            position += 1
        }
        append(kind, from: start)
        return true
    }

    /// RFC 8259, section 6: `-`? (`0` | [1-9][0-9]*) (`.` [0-9]+)? ([eE] [-+]? [0-9]+)?
    private mutating func scanNumber() -> Bool {
        let start = position
        if base[position] == UInt8(ascii: "-") { position += 1 }
        if position < end, base[position] == UInt8(ascii: "0") {
            position += 1
        } else {
            guard scanDigits() else { return false }
        }
        if position < end, base[position] == UInt8(ascii: ".") {
            position += 1
            guard scanDigits() else { return false }
        }
        if position < end, base[position] | 0x20 == UInt8(ascii: "e") {
            position += 1
            if position < end, base[position] == UInt8(ascii: "+") || base[position] == UInt8(ascii: "-") {
                position += 1
            }
            guard scanDigits() else { return false }
        }
        append(.number, from: start)
        return true
    }

    private mutating func scanDigits() -> Bool {
        let start = position
        while position < end, base[position] &- UInt8(ascii: "0") < 10 { position += 1 }
        return position > start
    }
}
