import CLinux
import Glibc

/// Bytes that were read and may be a token. They never move, and are overwritten when they are let go.
final class SecretBytes {
    private let base: UnsafeMutableRawPointer
    private let capacity: Int
    private(set) var count = 0

    /// Room for `capacity` bytes.
    init(capacity: Int) {
        self.capacity = capacity
        base = .allocate(byteCount: capacity, alignment: 8)
    }

    deinit {
        explicit_bzero(base, capacity)
        base.deallocate()
    }

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: count) }

    /// Reads until the end of the file, or until there is no more room.
    /// - Parameter isLine: a terminal's line is the end.
    /// - Returns: 0 or the errno.
    func read(from descriptor: Int32, isLine: Bool) -> Int32 {
        while count < capacity {
            let received = Glibc.read(descriptor, base + count, capacity - count)
            if received == 0 { return 0 }
            if received > 0 {
                count += received
                if isLine, bytes[count - 1] == UInt8(ascii: "\n") { return 0 }
            } else if errno == EAGAIN {
                // Somebody made the terminal or pipe non-blocking: wait until it has something.
                var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
                _ = poll(&waiting, 1, -1)
            } else if errno != EINTR {
                return errno
            }
        }
        return 0
    }

    /// Copies bytes behind those that are there; there must be room.
    fileprivate func append(_ more: UnsafeRawBufferPointer) {
        precondition(more.count <= capacity - count, "the room was made for these bytes")
        guard let start = more.baseAddress else { return }
        memcpy(base + count, start, more.count)
        count += more.count
    }

    /// Takes one line end off, LF or CR LF.
    func dropLineEnd() {
        guard count > 0, bytes[count - 1] == UInt8(ascii: "\n") else { return }
        count -= 1
        if count > 0, bytes[count - 1] == UInt8(ascii: "\r") { count -= 1 }
    }

    /// Puts spaces for line ends. In JSON they stand between values only, where both mean the same.
    func flattenLines() {
        let text = UnsafeMutableRawBufferPointer(start: base, count: count)
        for offset in 0..<count where text[offset] == UInt8(ascii: "\n") || text[offset] == UInt8(ascii: "\r") {
            text[offset] = UInt8(ascii: " ")
        }
    }
}

extension SecretBytes {
    /// A copy of a text, to be worked on like what was read.
    convenience init(copying text: String) {
        let source = Array(text.utf8)
        self.init(capacity: max(1, source.count))
        source.withUnsafeBytes { append($0) }
    }
}
