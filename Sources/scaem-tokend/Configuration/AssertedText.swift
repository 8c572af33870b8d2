/// What TOMLKit's parser does not refuse but ends the whole process over, by an assertion in it that does not hold:
/// brackets at the beginning of a line without a table's name, and in an array, where a value must be, a closing brace or
/// a line break that only Unicode knows. A running daemon must outlive a reload of these.
///
/// Knows of TOML no more than strings, comments and brackets, and need not agree with the library on what is wrong in
/// another way: the library stops there.
struct AssertedText {
    private let bytes: [UInt8]
    private var position = 0
    private var line = 1
    /// How many brackets and braces are open.
    private var depth = 0
    /// The last byte that is neither white space nor comment; a line feed at the beginning of a line.
    private var previous = UInt8(ascii: "\n")

    /// Nil where the text holds nothing of the kind.
    static func problem(in bytes: [UInt8]) -> ConfigurationError.Problem? {
        var text = AssertedText(bytes: bytes)
        return text.find()
    }

    private init(bytes: [UInt8]) {
        self.bytes = bytes
        // A byte order mark.
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { position = 3 }
    }

    private mutating func find() -> ConfigurationError.Problem? {
        while position < bytes.count {
            let byte = bytes[position]
            switch byte {
            case UInt8(ascii: "\n"):
                line += 1
                if depth == 0 { previous = byte }
            case UInt8(ascii: "#"):
                position = bytes[position...].firstIndex(of: UInt8(ascii: "\n")) ?? bytes.count
                continue
            case UInt8(ascii: "\""), UInt8(ascii: "'"):
                guard skipString(byte) else { return nil }
                previous = byte
                continue
            case UInt8(ascii: "["), UInt8(ascii: "{"):
                let isHeader = byte == UInt8(ascii: "[") && depth == 0 && previous == UInt8(ascii: "\n")
                if isHeader, !hasName { return found("the brackets must begin with a table's name") }
                depth += 1
                previous = byte
            case UInt8(ascii: "}") where previous == UInt8(ascii: "[") || previous == UInt8(ascii: ","):
                return found("a closing brace stands where a value must be")
            case UInt8(ascii: "]"), UInt8(ascii: "}"):
                depth = max(0, depth - 1)
                previous = byte
            case 0x21...0x7E: previous = byte
            case 0x20, 0x09, 0x0D: break
            default: return found("a character that may stand in strings and comments alone")
            }
            position += 1
        }
        return nil
    }

    private func found(_ message: String) -> ConfigurationError.Problem { .init(line: line, message: message) }

    /// Whether a bare or quoted key follows the bracket or two at `position`.
    private var hasName: Bool {
        func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
        var rest = bytes[(position + 1)...].drop(while: isSpace)
        if rest.first == UInt8(ascii: "[") { rest = rest.dropFirst().drop(while: isSpace) }
        guard let first = rest.first else { return false }
        switch first {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            return true
        default: return "-_\"'".utf8.contains(first)
        }
    }

    /// Goes behind the string at `position`.
    /// - Returns: false where it does not end.
    private mutating func skipString(_ quote: UInt8) -> Bool {
        let isLong = bytes[position...].starts(with: [quote, quote, quote])
        position += isLong ? 3 : 1
        while position < bytes.count {
            let byte = bytes[position]
            if byte == quote {
                guard isLong else {
                    position += 1
                    return true
                }
                // Up to five quotes end a long string; the first two of them are its own then.
                let quotes = bytes[position...].prefix(5).prefix { $0 == quote }.count
                position += quotes
                if quotes >= 3 { return true }
                continue
            }
            if byte == UInt8(ascii: "\n") {
                guard isLong else { return false }
                line += 1
            }
            // An escape is two bytes at least, and the second may be a quote.
            let isEscape = quote == UInt8(ascii: "\"") && byte == UInt8(ascii: "\\")
            if isEscape, position + 1 < bytes.count, bytes[position + 1] != UInt8(ascii: "\n") { position += 1 }
            position += 1
        }
        return false
    }
}
