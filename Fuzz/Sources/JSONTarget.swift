import Glibc

@testable import TokenRPC

/// The JSON reader on any bytes. That it agrees with another reader is `JSONFoundationTarget`'s matter; here it has to
/// agree with itself: the tape with the document, the writer with the reader, and where it says that something is wrong
/// with what it says of the bytes before.
enum JSONTarget {
    nonisolated(unsafe) private static let reader = JSONReader()
    nonisolated(unsafe) private static let second = JSONReader()

    static func run(_ bytes: UnsafeRawBufferPointer) {
        switch reader.read(bytes) {
        case .document:
            let end = checkNode(0, in: 0...bytes.count, depth: 1)
            check(isBlank(bytes, 0..<reader.start(0)), "something stands before the document")
            check(isBlank(bytes, end..<bytes.count), "something stands behind the document")
            checkWritten()
        case .duplicateKey: break
        case .notJSON(let offset): checkOffset(offset, bytes)
        }
    }

    private static func isBlank(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> Bool {
        bytes[range].allSatisfy { [0x20, 0x09, 0x0A, 0x0D].contains($0) }
    }

    /// What comes before the byte that does not belong there could still become a document, or is one.
    private static func checkOffset(_ offset: Int, _ bytes: UnsafeRawBufferPointer) {
        check((0...bytes.count).contains(offset), "the wrong byte is outside of the document")
        // In memory of its own, so that a look behind its end is found.
        let front = UnsafeMutableRawBufferPointer.allocate(byteCount: offset, alignment: 1)
        defer { front.deallocate() }
        front.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<offset]))
        switch second.read(UnsafeRawBufferPointer(front)) {
        case .document, .duplicateKey: break
        case .notJSON(let earlier): check(earlier == offset, "byte \(earlier) is wrong already, not \(offset)")
        }
    }

    /// Checks that a value and all in it lie within `room`, in their order.
    /// - Returns: where it ends.
    @discardableResult
    private static func checkNode(_ node: Int32, in room: ClosedRange<Int>, depth: Int) -> Int {
        let (start, end) = (reader.start(node), reader.end(node))
        check(room.contains(start) && room.contains(end) && start < end, "a value is not where its container is")
        switch reader.kind(node) {
        case .string: checkString(node)
        case .object, .array:
            check(depth <= Wire.maxDepth, "deeper than the limit")
            checkEntries(of: node, in: start + 1...end - 1, depth: depth)
        case .number, .true, .false, .null:
            check(reader.count(node) == 0 && reader.firstChild(node) == -1, "a scalar has entries")
        }
        return end
    }

    private static func checkEntries(of node: Int32, in room: ClosedRange<Int>, depth: Int) {
        let isObject = reader.kind(node) == .object
        var entries = 0
        var position = room.lowerBound
        var child = reader.firstChild(node)
        while child >= 0 {
            if isObject {
                check(reader.kind(child) == .string, "a key is no string")
                position = checkNode(child, in: position...room.upperBound, depth: depth)
                child = reader.next(child)
            }
            position = checkNode(child, in: position...room.upperBound, depth: depth + 1)
            child = reader.next(child)
            entries += 1
        }
        check(entries == reader.count(node), "\(entries) entries, and the count says \(reader.count(node))")
    }

    private static func checkString(_ node: Int32) {
        let unescaped = reader.unescaped(node)
        let content = reader.content(node)
        check(unescaped.count <= content.count, "an escape became longer")
        check(reader.hasEscapes(node) == content.contains(UInt8(ascii: "\\")), "the mark of escapes is wrong")
        check(reader.hasEscapes(node) || unescaped.elementsEqual(content), "a string without escapes has changed")
        check(String(validating: unescaped, as: UTF8.self) != nil, "a string is not UTF-8")
        let isID = unescaped.elementsEqual("id".utf8)
        check(reader.equals(node, "id") == isID, "`equals` and `unescaped` disagree")
    }

    /// The document as our writer writes it is the same document.
    private static func checkWritten() {
        let writer = ByteWriter()
        write(0, to: writer)
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: writer.count, alignment: 1)
        defer { copy.deallocate() }
        copy.copyMemory(from: writer.bytes)
        check(second.read(UnsafeRawBufferPointer(copy)) == .document, "what was written is no document")
        checkSame(0, 0)
    }

    private static func write(_ node: Int32, to writer: ByteWriter) {
        switch reader.kind(node) {
        case .string: writer.appendJSONString(reader.unescaped(node))
        case .number, .true, .false, .null: writer.append(reader.raw(node))
        case .object, .array:
            let isObject = reader.kind(node) == .object
            writer.append(isObject ? "{" : "[")
            var child = reader.firstChild(node)
            while child >= 0 {
                if child != node + 1 { writer.append(",") }
                if isObject {
                    write(child, to: writer)
                    writer.append(":")
                    child = reader.next(child)
                }
                write(child, to: writer)
                child = reader.next(child)
            }
            writer.append(isObject ? "}" : "]")
        }
    }

    private static func checkSame(_ node: Int32, _ other: Int32) {
        check(reader.kind(node) == second.kind(other), "what was written is of another kind")
        check(reader.count(node) == second.count(other), "what was written has another count")
        switch reader.kind(node) {
        case .string:
            check(reader.unescaped(node).elementsEqual(second.unescaped(other)), "what was written is another string")
        case .number:
            check(reader.plainInteger(node) == second.plainInteger(other), "what was written is another number")
        case .true, .false, .null: break
        case .object, .array:
            var (child, otherChild) = (reader.firstChild(node), second.firstChild(other))
            while child >= 0, otherChild >= 0 {
                checkSame(child, otherChild)
                (child, otherChild) = (reader.next(child), second.next(otherChild))
            }
            check(child == otherChild, "what was written has another end")
        }
    }
}

extension JSONReader {
    fileprivate func start(_ node: Int32) -> Int { Int(extent(node).start) }
    fileprivate func end(_ node: Int32) -> Int { Int(extent(node).end) }
}
