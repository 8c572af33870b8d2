import CLinux
import Glibc
import TokenModel

/// Where a token comes from: a file or standard input, never an argument.
enum TokenInput {
    /// Whatever is presented as a token: ours have 72 bytes, others' some hundreds.
    static let maxBytes = 4_096

    /// Reads a presented token.
    /// - Parameter file: nil and `-` are standard input.
    /// - Throws: 65 where there is none: nothing, too much, or what is no text of one line.
    static func read(_ file: String?) throws(Failure) -> SecretBytes {
        let name = file == nil || file == "-" ? "standard input" : file ?? ""
        let token = SecretBytes(capacity: maxBytes + 2 + 1)  // with its line end, and one byte that is too much
        let error: Int32
        if let file, file != "-" {
            let descriptor = linux_open(file, O_RDONLY | O_CLOEXEC, 0)
            guard descriptor >= 0 else { throw Failure(.data, "\(file) cannot be read", errno: errno) }
            defer { close(descriptor) }
            error = token.read(from: descriptor, isLine: false)
        } else if isatty(STDIN_FILENO) == 1 {
            error = HiddenPrompt.read("Token: ", into: token)
        } else {
            error = token.read(from: STDIN_FILENO, isLine: false)
        }
        guard error == 0 else { throw Failure(.data, "\(name) cannot be read", errno: error) }
        token.dropLineEnd()
        guard token.count > 0 else { throw Failure(.data, "\(name) is empty where a token was expected") }
        guard token.count <= maxBytes else {
            throw Failure(.data, "\(name) holds more than a token: over \(maxBytes) bytes")
        }
        guard isOneLineOfText(token.bytes) else {
            throw Failure(.data, "\(name) holds something that is not a token: not one line of text")
        }
        return token
    }

    /// UTF-8 without control characters.
    private static func isOneLineOfText(_ bytes: UnsafeRawBufferPointer) -> Bool {
        if bytes.contains(where: { $0 < 0x20 || $0 == 0x7F }) { return false }
        // Nearly always all of it is ASCII; only the rest needs a string, which cannot be wiped but is no token of ours.
        if bytes.allSatisfy({ $0 < 0x80 }) { return true }
        return String(validating: bytes, as: UTF8.self) != nil
    }
}

/// Whether a text holds what a token begins with. That is enough to refuse it where everybody can read it.
enum TokenText {
    static func isIn(_ text: String) -> Bool { contains(text, "\(TokenSecret.prefix)") }

    static func isIn(_ bytes: UnsafeRawBufferPointer) -> Bool { contains(bytes, "\(TokenSecret.prefix)".utf8) }

    /// Whether a text holds another, by bytes.
    static func contains(_ text: String, _ part: String) -> Bool { contains(Array(text.utf8), part.utf8) }

    private static func contains(_ bytes: some RandomAccessCollection<UInt8>, _ part: String.UTF8View) -> Bool {
        guard bytes.count >= part.count else { return false }
        return (0...bytes.count - part.count).contains { bytes.dropFirst($0).starts(with: part) }
    }
}

/// Asks on a terminal without showing what is typed.
enum HiddenPrompt {
    /// - Returns: 0 or the errno.
    static func read(_ prompt: StaticString, into secret: SecretBytes) -> Int32 {
        var settings = termios()
        guard tcgetattr(STDIN_FILENO, &settings) == 0 else { return errno }
        let shown = settings
        settings.c_lflag &= ~tcflag_t(ECHO)
        // Who stops the process would come back to a terminal that its shell has made show everything again.
        withUnsafeMutableBytes(of: &settings.c_cc) { $0[Int(VSUSP)] = 0 }  // _POSIX_VDISABLE
        // A signal in between must not leave the terminal mute.
        SignalCleanup.terminal = shown
        SignalCleanup.install()
        // Before the prompt, for what is typed behind it is to be kept (TCSAFLUSH drops what came before) and not shown.
        guard tcsetattr(STDIN_FILENO, TCSAFLUSH, &settings) == 0 else { return errno }
        write(STDERR_FILENO, prompt.utf8Start, prompt.utf8CodeUnitCount)
        let error = secret.read(from: STDIN_FILENO, isLine: true)
        settings = shown
        tcsetattr(STDIN_FILENO, TCSANOW, &settings)
        SignalCleanup.terminal = nil
        write(STDERR_FILENO, "\n", 1)
        return error
    }
}
