/// An `introspect` in the form in which programs write it:
/// `{"jsonrpc":"2.0","id":ID,"method":"introspect","params":{"token":"TOKEN"}}`, without white space, the members in this
/// order, ID a whole number, TOKEN without escapes and in ASCII.
///
/// It is the line that a daemon gets most, so it is compared and not read. A line that differs in anything is none and goes to
/// `readLine`, which would find in this one the same: that rules of JSON are kept here too is what the tests hold it to.
public struct PlainIntrospect {
    /// The request's id as it came, and the content of `token`; both lie in the line.
    public let id, token: UnsafeRawBufferPointer

    private static let head: StaticString = #"{"jsonrpc":"2.0","id":"#
    private static let middle: StaticString = #","method":"introspect","params":{"token":""#
    private static let tail: StaticString = "\"}}\n"

    /// - Parameter line: one line, its LF included.
    public init?(_ line: UnsafeRawBufferPointer) {
        let idStart = Self.head.utf8CodeUnitCount
        guard line.hasPrefix(Self.head) else { return nil }
        var idEnd = idStart
        while idEnd < line.count, line[idEnd] &- UInt8(ascii: "0") < 10 { idEnd += 1 }
        // JSON has no number with a zero ahead of it (RFC 8259, section 6).
        guard idEnd > idStart, line[idStart] != UInt8(ascii: "0") || idEnd == idStart + 1 else { return nil }
        let tokenStart = idEnd + Self.middle.utf8CodeUnitCount
        let tokenEnd = line.count - Self.tail.utf8CodeUnitCount
        guard tokenStart <= tokenEnd,
            UnsafeRawBufferPointer(rebasing: line[idEnd..<tokenStart]).isEqual(to: Self.middle),
            UnsafeRawBufferPointer(rebasing: line[tokenEnd...]).isEqual(to: Self.tail)
        else { return nil }
        token = UnsafeRawBufferPointer(rebasing: line[tokenStart..<tokenEnd])
        id = UnsafeRawBufferPointer(rebasing: line[idStart..<idEnd])
        guard let start = token.baseAddress?.assumingMemoryBound(to: UInt8.self),
            StringWord.plainPrefix(start, count: token.count) == token.count
        else { return nil }
    }
}
