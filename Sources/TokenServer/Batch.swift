import Glibc
import TokenRPC

/// A batch on its way: its line, where its entries stand in it, which is next, and the answers so far. It may wait for the
/// writer while the loop reads other lines, so it keeps no more than that: what a reader needs for the longest line is
/// sixteen times the line.
final class Batch {
    private let bytes: UnsafeMutableRawBufferPointer
    private let entries: [Range<Int32>]
    private var place = 0
    /// The answers, parted by commas, without the brackets.
    let answers = ByteWriter()

    /// Takes over a line that was read as a batch, and what `reader` knows of it.
    init(copying line: UnsafeRawBufferPointer, _ reader: JSONReader, first: Int32, count: Int) {
        bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: line.count, alignment: 16)
        bytes.copyMemory(from: line)
        var entries: [Range<Int32>] = []
        entries.reserveCapacity(count)
        var node = first
        while node >= 0, let start = line.baseAddress {
            let entry = reader.raw(node)
            let offset = Int32(entry.baseAddress.map { $0 - start } ?? 0)
            entries.append(offset..<offset + Int32(entry.count))
            node = reader.next(node)
        }
        self.entries = entries
    }

    /// Reads the entry whose turn it is; nil at the end. What it gives is good until the reader reads something else.
    func current(_ reader: JSONReader) -> RequestView? {
        guard place < entries.count else { return nil }
        let entry = entries[place]
        // Nothing is found here that was not found in the line.
        _ = reader.read(UnsafeRawBufferPointer(rebasing: bytes[Int(entry.lowerBound)..<Int(entry.upperBound)]))
        return readRequest(reader, 0)
    }

    /// Turns to the next entry.
    func step() { place += 1 }

    private var entriesLeft: Int { entries.count - place }

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
