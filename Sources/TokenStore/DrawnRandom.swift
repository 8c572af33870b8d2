internal import Glibc
internal import TokenModel

/// Randomness for what was taken from the queue, drawn in one call: a call for each token is a twentieth of the writer's
/// time. What is handed out is wiped here at once, and the rest when the work is done: nothing of it is there for a token
/// that nobody has asked for yet.
final class DrawnRandom: RandomSource, @unchecked Sendable {
    // @unchecked: used by the writer's thread alone.
    private let source: any RandomSource
    private let room = UnsafeMutableRawBufferPointer.allocate(byteCount: roomBytes, alignment: 8)
    private var rest = 0..<0

    /// For 64 tokens; of more, each is drawn for itself.
    private static let roomBytes = 4_096
    /// What a token takes, nearly always.
    private static let tokenBytes = 64

    init(source: any RandomSource) { self.source = source }

    deinit {
        wipe()
        room.deallocate()
    }

    /// Draws for so many tokens. Where there is no randomness, `fill` finds that out again and says so.
    func draw(for tokens: Int) {
        // A single one is drawn where it is needed, if it is.
        guard tokens > 1 else { return }
        let count = min(tokens * Self.tokenBytes, Self.roomBytes)
        guard (try? source.fill(UnsafeMutableRawBufferPointer(rebasing: room[..<count]))) != nil else { return }
        rest = 0..<count
    }

    func fill(_ buffer: UnsafeMutableRawBufferPointer) throws {
        guard buffer.count <= rest.count, let target = buffer.baseAddress, let start = room.baseAddress else {
            return try source.fill(buffer)
        }
        let drawn = start + rest.lowerBound
        target.copyMemory(from: drawn, byteCount: buffer.count)
        explicit_bzero(drawn, buffer.count)
        rest = rest.lowerBound + buffer.count..<rest.upperBound
    }

    /// Forgets what was drawn and not needed.
    func wipe() {
        if let start = room.baseAddress, !rest.isEmpty { explicit_bzero(start + rest.lowerBound, rest.count) }
        rest = 0..<0
    }
}
