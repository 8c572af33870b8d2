import Glibc

/// Reads the bytes of a configuration file, and only of one that nobody but root or the daemon's user can have
/// written: who writes it decides who gets which token.
enum ConfigurationFile {
    /// Some three hundred credential entries; a file beyond it is not a configuration.
    static let maxBytes = 65_536

    /// Reads a file whole.
    /// - Parameter uid: the user that runs the daemon.
    /// - Returns: nil where the file does not exist.
    static func read(_ path: String, uid: UInt32) throws(ConfigurationError) -> [UInt8]? {
        // O_NONBLOCK: a FIFO in its place must not hang the start.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)
        guard descriptor >= 0 else {
            let error = errno
            var status = stat()
            if error == ENOENT, lstat(path, &status) != 0 { return nil }
            throw failure(path, error == ENOENT ? "is a symbolic link to what is not there" : "cannot be opened", error)
        }
        defer { close(descriptor) }
        try check(descriptor, path, uid: uid)
        return try contents(descriptor, path)
    }

    private static func check(_ descriptor: Int32, _ path: String, uid: UInt32) throws(ConfigurationError) {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw failure(path, "cannot be read", errno) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw ConfigurationError(file: path, "must be a regular file")
        }
        guard status.st_uid == 0 || status.st_uid == uid else {
            throw ConfigurationError(
                file: path,
                "belongs to uid \(status.st_uid): must belong to root or to the daemon's user (uid \(uid)); "
                    + "chown root \(path)")
        }
        guard status.st_mode & (S_IWGRP | S_IWOTH) == 0 else {
            let mode = String(status.st_mode & 0o7777, radix: 8)
            throw ConfigurationError(
                file: path, "may be written by others (mode 0\(mode)): only its owner may; chmod go-w \(path)")
        }
    }

    private static func contents(_ descriptor: Int32, _ path: String) throws(ConfigurationError) -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: maxBytes + 1)
        var filled = 0
        while filled < buffer.count {
            let count = buffer.withUnsafeMutableBytes {
                Glibc.read(descriptor, $0.baseAddress.map { $0 + filled }, $0.count - filled)
            }
            if count < 0 {
                if errno == EINTR { continue }
                throw failure(path, "cannot be read", errno)
            }
            if count == 0 { break }
            filled += count
        }
        guard filled <= maxBytes else {
            throw ConfigurationError(file: path, "is longer than \(maxBytes) bytes")
        }
        return Array(buffer[..<filled])
    }

    private static func failure(_ path: String, _ what: String, _ code: Int32) -> ConfigurationError {
        ConfigurationError(file: path, "\(what): \(String(cString: strerror(code)))")
    }
}
