import Glibc
import TokenRPC

/// The bytes that came and were not yet taken as lines. Whatever it held is overwritten before its memory is given back:
/// answers hold tokens.
final class ReceiveBuffer {
    /// A page at least for each read.
    private static let readBytes = 4_096
    /// An answer line with its end.
    private static let maxBytes = Wire.maxAnswerBytes + readBytes

    private var base: UnsafeMutableRawPointer
    private var capacity: Int
    /// Bytes before this were handed out as lines.
    private var start = 0
    /// Bytes before this hold no line end that was not handed out.
    private var scanned = 0
    /// Bytes before this came.
    private var end = 0
    /// Bytes before this may hold something since the last wipe.
    private var dirty = 0

    init() {
        capacity = 4 * Self.readBytes
        base = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 16)
    }

    deinit {
        explicit_bzero(base, dirty)
        base.deallocate()
    }

    /// The next whole line without its LF; good until the next call of anything here. Nil: more must be read.
    func nextLine() -> UnsafeRawBufferPointer? {
        guard scanned < end, let found = memchr(base + scanned, Int32(UInt8(ascii: "\n")), end - scanned) else {
            scanned = end
            return nil
        }
        let lineEnd = UnsafeRawPointer(found) - UnsafeRawPointer(base)
        let line = UnsafeRawBufferPointer(start: base + start, count: lineEnd - start)
        start = lineEnd + 1
        scanned = start
        return line
    }

    /// Where the next bytes may be read to; nil once a line is longer than an answer may be.
    func room() -> UnsafeMutableRawBufferPointer? {
        if start > 0 {
            memmove(base, base + start, end - start)
            end -= start
            scanned -= start
            start = 0
        }
        if capacity - end < Self.readBytes {
            guard capacity < Self.maxBytes else { return nil }
            grow()
        }
        return UnsafeMutableRawBufferPointer(start: base + end, count: capacity - end)
    }

    /// Takes `count` bytes that were read into `room()`.
    func filled(_ count: Int) {
        end += count
        dirty = max(dirty, end)
    }

    /// Forgets everything, lines that were not taken as well.
    func wipe() {
        explicit_bzero(base, dirty)
        start = 0
        scanned = 0
        end = 0
        dirty = 0
    }

    private func grow() {
        let larger = min(capacity * 4, Self.maxBytes)
        let moved = UnsafeMutableRawPointer.allocate(byteCount: larger, alignment: 16)
        memcpy(moved, base, end)
        explicit_bzero(base, dirty)
        base.deallocate()
        base = moved
        capacity = larger
        dirty = end
    }
}
