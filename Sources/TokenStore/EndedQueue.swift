/// Tokens that have ended, the oldest first, in blocks that never move: a million in one array would be copied each time it
/// grows and each time its front is let go, for which the writer, and so everybody, waited up to a twentieth of a second.
struct EndedQueue: ~Copyable {
    /// 64 KiB of them: made in no time, and few.
    private static let perBlock = 4_096

    private var blocks: [UnsafeMutablePointer<EndedTokens.Ended>] = []
    /// Where in the first block the oldest is.
    private var first = 0
    private(set) var count = 0

    deinit { for block in blocks { block.deallocate() } }

    /// The oldest, if there is one.
    var oldest: EndedTokens.Ended? { count > 0 ? self[0] : nil }

    private subscript(place: Int) -> EndedTokens.Ended {
        let (block, offset) = (first + place).quotientAndRemainder(dividingBy: Self.perBlock)
        return blocks[block][offset]
    }

    mutating func append(_ ended: EndedTokens.Ended) {
        let (block, offset) = (first + count).quotientAndRemainder(dividingBy: Self.perBlock)
        if block == blocks.count { blocks.append(.allocate(capacity: Self.perBlock)) }
        (blocks[block] + offset).initialize(to: ended)
        count += 1
    }

    /// Forgets the oldest; there is one.
    mutating func removeOldest() {
        precondition(count > 0, "nothing has ended")
        count -= 1
        first += 1
        guard first == Self.perBlock else { return }
        blocks.removeFirst().deallocate()
        first = 0
    }

    func forEach(_ body: (EndedTokens.Ended) -> Void) {
        for place in 0..<count { body(self[place]) }
    }
}
