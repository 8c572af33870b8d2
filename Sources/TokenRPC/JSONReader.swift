/// Reads JSON documents strictly by RFC 8259 (UTF-8, no byte order mark, no half of a surrogate pair, nothing after the
/// value but white space, `Wire.maxDepth` levels at most) and refuses keys that an object has twice.
///
/// One for each event loop: it keeps its memory from line to line and allocates nothing once that is large enough. It
/// does not copy the bytes: what it gives out is good while they stay where they are, and until the next `read`.
///
/// Values are named by their place on the tape; the document itself is 0, and -1 stands for none.
public final class JSONReader {
    /// What a line is.
    public enum Verdict: Equatable, Sendable {
        case document
        /// Not JSON; the offset of the first byte that does not belong there.
        case notJSON(offset: Int)
        /// JSON, in which an object has a key twice (compared by bytes after unescaping).
        case duplicateKey
    }

    private struct State {
        var tape = JSONTape()
        var keys = JSONKeys()
        var scratch = JSONScratch()
    }

    // Behind a pointer, for a class's properties are checked for exclusivity at each access.
    private let state: UnsafeMutablePointer<State>

    /// A reader that has read nothing.
    public init() {
        state = .allocate(capacity: 1)
        state.initialize(to: State())
    }

    deinit {
        state.pointee.tape.deallocate()
        state.pointee.keys.deallocate()
        state.pointee.scratch.deallocate()
        state.deinitialize(count: 1)
        state.deallocate()
    }

    /// Reads a document, at most 2 GiB of it. Duplicate keys are looked for only once all of it proved to be JSON.
    public func read(_ bytes: UnsafeRawBufferPointer) -> Verdict {
        precondition(bytes.count <= Int32.max, "the tape's offsets have 32 bits")
        wipe()
        state.pointee.tape.used = 0
        guard let base = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return .notJSON(offset: 0) }
        state.pointee.tape.prepare(for: bytes.count)
        var scanner = JSONScanner(base: base, end: bytes.count, tape: state.pointee.tape)
        guard scanner.scanDocument() else { return .notJSON(offset: scanner.position) }
        state.pointee.tape.bytes = base
        state.pointee.tape.byteCount = bytes.count
        state.pointee.tape.used = scanner.used
        let repeats = state.pointee.keys.anyRepeats(
            in: state.pointee.tape, crowdedObjects: scanner.crowdedObjects, hasEscapedKey: scanner.hasEscapedKey)
        return repeats ? .duplicateKey : .document
    }

    /// What a value is.
    @inline(__always)
    public func kind(_ node: Int32) -> JSONKind { self[node].kind }

    /// The first element of an array, or the first key of an object (its value is the key's `next`); -1 where it is
    /// empty or the value is no container.
    public func firstChild(_ node: Int32) -> Int32 {
        self[node].count > 0 ? node + 1 : -1
    }

    /// What follows in the same container, -1 at its end. In an object keys and values alternate.
    public func next(_ node: Int32) -> Int32 { self[node].next }

    /// The elements of an array or the members of an object; 0 for anything else.
    public func count(_ node: Int32) -> Int { self[node].count }

    /// A value as it was sent; a string with its quotes.
    public func raw(_ node: Int32) -> UnsafeRawBufferPointer { state.pointee.tape.raw(self[node]) }

    /// A string between its quotes, as it was sent.
    public func content(_ node: Int32) -> UnsafeRawBufferPointer {
        precondition(kind(node) == .string, "only a string has content")
        return state.pointee.tape.content(of: self[node])
    }

    /// Whether a string holds an escape, so that its content is not what it means.
    public func hasEscapes(_ node: Int32) -> Bool { self[node].hasEscapes }

    /// A string's bytes with escapes resolved, good until the next call of this or `equals`.
    @inline(__always)
    public func unescaped(_ node: Int32) -> UnsafeRawBufferPointer {
        let value = self[node]
        precondition(value.kind == .string, "only a string has content")
        return value.hasEscapes
            ? state.pointee.scratch.unescaped(value, of: state.pointee.tape) : state.pointee.tape.content(of: value)
    }

    /// Writes a string's bytes with escapes resolved, at most as many as its content has.
    /// - Returns: the bytes written.
    public func unescape(_ node: Int32, into target: UnsafeMutableRawBufferPointer) -> Int {
        let content = content(node)
        precondition(target.count >= content.count, "the target must hold the content")
        guard let memory = target.baseAddress else { return 0 }
        return JSONEscape.unescape(content, into: memory)
    }

    /// Whether a value is the string `text`, escapes resolved.
    @inline(__always)
    public func equals(_ node: Int32, _ text: StaticString) -> Bool {
        let value = self[node]
        guard value.kind == .string else { return false }
        return value.hasEscapes
            ? equalsUnescaped(node, value, text) : state.pointee.tape.content(of: value).isEqual(to: text)
    }

    private func equalsUnescaped(_ node: Int32, _ value: JSONNode, _ text: StaticString) -> Bool {
        // An escape is at most six bytes for one: what is longer cannot be equal.
        guard Int(value.end - value.start) - 2 <= JSONEscape.length * text.utf8CodeUnitCount else { return false }
        return unescaped(node).isEqual(to: text)
    }

    /// A string, escapes resolved.
    public func string(_ node: Int32) -> String { String(decoding: unescaped(node), as: UTF8.self) }

    /// A number of plain digits, with or without a minus; nil for any other value, for a fraction or an exponent, for `-0`,
    /// and where 64 bits do not hold it.
    public func plainInteger(_ node: Int32) -> Int64? {
        guard kind(node) == .number else { return nil }
        let digits = raw(node)
        let isNegative = digits[0] == UInt8(ascii: "-")
        var value: Int64 = 0
        for byte in digits.dropFirst(isNegative ? 1 : 0) {
            let digit = byte &- UInt8(ascii: "0")
            guard digit < 10 else { return nil }
            let (tenfold, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = tenfold.subtractingReportingOverflow(Int64(digit))
            guard !overflow, !carry else { return nil }
            value = sum
        }
        // Gathered below zero, where there is one number more than above.
        if isNegative { return value == 0 ? nil : value }
        return value == .min ? nil : -value
    }

    /// The value of an object's member, or -1 where it has none of that name or is no object.
    public func member(_ name: StaticString, of object: Int32) -> Int32 {
        guard object >= 0, kind(object) == .object else { return -1 }
        var key = firstChild(object)
        while key >= 0 {
            let value = next(key)
            if equals(key, name) { return value }
            key = next(value)
        }
        return -1
    }

    /// Overwrites what was unescaped, which the next `read` does as well.
    public func wipe() {
        state.pointee.scratch.wipe()
        state.pointee.keys.wipe()
    }

    /// How much work looking for duplicate keys was, all documents together.
    var keySteps: Int { state.pointee.keys.steps }

    @inline(__always)
    private subscript(_ node: Int32) -> JSONNode {
        precondition(node >= 0 && Int(node) < state.pointee.tape.used, "no such value on the tape")
        return state.pointee.tape.nodes[Int(node)]
    }

    /// Where a value stands in the bytes.
    func extent(_ node: Int32) -> (start: Int32, end: Int32) {
        let value = self[node]
        return (Int32(bitPattern: value.start), Int32(bitPattern: value.end))
    }

    /// The bytes between two offsets of the document.
    func bytes(from start: Int32, to end: Int32) -> UnsafeRawBufferPointer {
        let tape = state.pointee.tape
        precondition(start >= 0 && start <= end && Int(end) <= tape.byteCount, "outside the document")
        return UnsafeRawBufferPointer(start: tape.bytes.map { $0 + Int(start) }, count: Int(end - start))
    }
}
