import Glibc
import TokenRPC

/// Standard output. Nothing is kept back: when a command returns, everything was written or an error was thrown.
enum StandardOutput {
    static var isTerminal: Bool { isatty(STDOUT_FILENO) == 1 }

    static func write(_ bytes: UnsafeRawBufferPointer) throws(Failure) {
        var written = 0
        while written < bytes.count {
            guard let start = bytes.baseAddress else { return }
            let count = Glibc.write(STDOUT_FILENO, start + written, bytes.count - written)
            if count >= 0 {
                written += count
            } else if errno == EAGAIN {
                // Somebody made the terminal or pipe non-blocking: wait until it takes more.
                var descriptor = pollfd(fd: STDOUT_FILENO, events: Int16(POLLOUT), revents: 0)
                _ = poll(&descriptor, 1, -1)
            } else if errno != EINTR {
                throw Failure(.cannotWrite, "standard output cannot be written", errno: errno)
            }
        }
    }

    static func write(text: String) throws(Failure) {
        let bytes = Array(text.utf8)
        // The closure cannot carry the typed error; its result does.
        try bytes.withUnsafeBytes { bytes in Result { () throws(Failure) in try write(bytes) } }.get()
    }

    /// Writes what was built, then overwrites it: it may hold a token.
    static func write(_ writer: ByteWriter) throws(Failure) {
        defer { writer.removeAll(wiping: true) }
        try write(writer.bytes)
    }

    /// Writes one line of JSON as it came. One write, so that lines of several writers do not mix.
    static func write(line: UnsafeRawBufferPointer) throws(Failure) {
        let writer = ByteWriter(capacity: line.count + 1)
        writer.append(line)
        writer.append(UInt8(ascii: "\n"))
        try write(writer)
    }
}
