import Glibc
import TokenRPC

/// Finds the lines in bytes that keep coming: no byte is looked at twice, and a line that would be too long is known as
/// soon as it cannot end in time.
struct LineScanner {
    enum Step: Equatable {
        /// The bytes begin with a line of this length, its LF included.
        case line(length: Int)
        case needsMore
        case tooLong
    }

    /// How many bytes at the front are known to hold no LF.
    private var scanned = 0

    /// Says what stands at the front of `bytes`, which begin where the last consumed line ended.
    mutating func next(_ bytes: UnsafeRawBufferPointer) -> Step {
        let end = min(bytes.count, Wire.maxLineBytes)
        if scanned < end, let base = bytes.baseAddress,
            let found = memchr(base + scanned, CInt(UInt8(ascii: "\n")), end - scanned)
        {
            // Stays before the LF: where the line cannot be taken yet, it is found again at once.
            scanned = UnsafeRawPointer(found) - base
            return .line(length: scanned + 1)
        }
        scanned = end
        return bytes.count >= Wire.maxLineBytes ? .tooLong : .needsMore
    }

    /// The line that `next` found was taken.
    mutating func consume() { scanned = 0 }
}
