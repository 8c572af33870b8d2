/// What a JSON value is.
public enum JSONKind: UInt8, Sendable {
    case object, array, string, number, `true`, `false`, null
}

/// One value, or one key, of a document: where it stands and what comes after it.
struct JSONNode {
    /// Offset of the first byte.
    var start: UInt32
    /// Offset after the last byte.
    var end: UInt32
    /// The next sibling, -1 at the end. While a container is open: its parent.
    var next: Int32
    /// Kind in 3 bits, escapes in 1, the count of entries above.
    var info: UInt32

    static let escapes: UInt32 = 1 << 3
    static let entry: UInt32 = 1 << 4

    @inline(__always)
    var kind: JSONKind { JSONKind(rawValue: UInt8(info & 7)) ?? .null }
    var hasEscapes: Bool { info & Self.escapes != 0 }
    var count: Int { Int(info >> 4) }
}

/// A document's values in the order in which they stand, and the bytes that they point into.
///
/// Kept in memory of its own, not in a class's properties: each access to those is checked for exclusivity, several
/// times for each byte of a line.
struct JSONTape {
    var bytes: UnsafePointer<UInt8>?
    var byteCount = 0
    var nodes: UnsafeMutablePointer<JSONNode>
    var used = 0
    private(set) var capacity: Int

    /// What a short request takes; more is made room for once and kept.
    static let initialCapacity = 256

    init() {
        capacity = Self.initialCapacity
        nodes = .allocate(capacity: capacity)
    }

    /// Makes room for every document of so many bytes, so that the scanner need not look.
    ///
    /// A scalar takes a byte, and a comma or colon before it or, as a first child, its container's opening bracket; so
    /// does a container, whose closing bracket makes up for the opening one. So nodes <= (bytes + 1) / 2, and where the
    /// document breaks off, one more for each container that is open.
    mutating func prepare(for byteCount: Int) {
        let needed = byteCount / 2 + Wire.maxDepth + 2
        guard needed > capacity else { return }
        nodes.deallocate()
        capacity = max(needed, capacity * 2)
        nodes = .allocate(capacity: capacity)
    }

    func deallocate() { nodes.deallocate() }
}

extension JSONTape {
    /// A node's bytes as they were sent.
    func raw(_ node: JSONNode) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: bytes.map { $0 + Int(node.start) }, count: Int(node.end - node.start))
    }

    /// A string's bytes between its quotes.
    func content(of node: JSONNode) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: bytes.map { $0 + Int(node.start) + 1 }, count: Int(node.end - node.start) - 2)
    }
}
