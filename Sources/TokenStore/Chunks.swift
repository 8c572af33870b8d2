/// Slots in chunks that never move: growth copies nothing and has no peak. Slot 0 is nobody's, so that 0 can mean none.
///
/// Only the writer takes and releases slots, under the index's lock; who reads holds the lock or is the writer. The
/// directory of chunks is reserved whole at the start (untouched pages of it take no memory).
final class Chunks<Element: BitwiseCopyable> {
    private static var bits: UInt32 { 12 }
    private static var perChunk: Int { 1 << Int(bits) }
    /// Slots at most: what 26 bits can name.
    static var maxSlots: Int { 1 << 26 }

    private let directory: UnsafeMutablePointer<UnsafeMutablePointer<Element>>
    private let empty: Element
    private var chunkCount = 0
    private(set) var end: UInt32 = 1
    private var free: [UInt32] = []

    init(empty: Element) {
        self.empty = empty
        directory = .allocate(capacity: Self.maxSlots >> Int(Self.bits))
    }

    deinit {
        for chunk in 0..<chunkCount { directory[chunk].deallocate() }
        directory.deallocate()
    }

    /// Slots that are taken.
    var count: Int { Int(end) - 1 - free.count }

    /// Where a slot that was taken lies.
    @inline(__always)
    subscript(slot: UInt32) -> UnsafeMutablePointer<Element> {
        directory[Int(slot >> Self.bits)] + Int(slot & UInt32(Self.perChunk - 1))
    }

    /// Takes a slot, one that was released first. Its element is the empty one.
    func take() -> UInt32 {
        if let slot = free.popLast() { return slot }
        // 67 million rows are ten gigabytes of index: the machine has given up long before.
        precondition(Int(end) < Self.maxSlots, "the index is full")
        if Int(end) >= chunkCount * Self.perChunk {
            let chunk = UnsafeMutablePointer<Element>.allocate(capacity: Self.perChunk)
            chunk.initialize(repeating: empty, count: Self.perChunk)
            directory[chunkCount] = chunk
            chunkCount += 1
        }
        if end == 1 { self[0].pointee = empty }
        defer { end += 1 }
        return end
    }

    /// Gives a slot back.
    func release(_ slot: UInt32) {
        self[slot].pointee = empty
        free.append(slot)
    }
}
