import Glibc
import TokenRPC

/// A batch on its way: its line, which entry is next, and the answers so far. It has a reader of its own, because it
/// may wait for the writer while the loop reads other lines.
final class Batch {
    private let bytes: UnsafeMutableRawBufferPointer
    let reader = JSONReader()
    /// The answers, parted by commas, without the brackets.
    let answers = ByteWriter()
    private var node: Int32 = -1
    private var entriesLeft = 0

    /// Takes over a line that was read as a batch.
    init(copying line: UnsafeRawBufferPointer) {
        bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: line.count, alignment: 16)
        bytes.copyMemory(from: line)
        if case .batch(let first, let count) = readLine(UnsafeRawBufferPointer(bytes), with: reader) {
            node = first
            entriesLeft = count
        }
    }

    /// The entry whose turn it is, or nil at the end.
    var current: RequestView? { node < 0 ? nil : readRequest(reader, node) }

    /// Turns to the next entry.
    func step() {
        node = reader.next(node)
        entriesLeft -= 1
    }

    /// How many bytes the answer of the current entry may have: what the line has left when each of the others gets an
    /// error at least. Their ids are as long together as the line at most.
    var room: Int {
        Wire.maxAnswerBytes - answers.count - bytes.count - entriesLeft * Bounds.batchEntryReserveBytes
    }

    /// Whether one of the answers holds a token.
    var holdsSecret = false

    /// Writes the answers as one line; none where all entries were notifications.
    func finish(into writer: ByteWriter) {
        guard answers.count > 0 else { return }
        writer.append(UInt8(ascii: "["))
        writer.append(answers.bytes)
        writer.append("]\n")
    }

    deinit {
        if let base = bytes.baseAddress { explicit_bzero(base, bytes.count) }
        bytes.deallocate()
        answers.removeAll(wiping: true)
    }
}
