import ArgumentParser
import Glibc

/// A command cannot do what it is for; the sentence says why.
struct CommandFailure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

extension ExitCode {
    /// sysexits.h, EX_CONFIG: the configuration is wrong, and starting again does not help.
    static let configuration = ExitCode(78)
    /// sysexits.h, EX_UNAVAILABLE.
    static let unavailable = ExitCode(69)
    /// sysexits.h, EX_CANTCREAT: the output cannot be made.
    static let cannotCreate = ExitCode(73)

    /// Says what is wrong on standard error, a line each, and gives the status to exit with.
    static func report(_ error: any Error, as status: ExitCode = .failure) -> ExitCode {
        let status = report(problems: String(describing: error).split(separator: "\n").map(String.init), as: status)
        return error is ConfigurationError ? .configuration : status
    }

    /// The same for what was found rather than thrown.
    static func report(problems: [String], as status: ExitCode = .failure) -> ExitCode {
        for problem in problems {
            let text = Array("scaem-tokend: \(problem)\n".utf8)
            _ = write(STDERR_FILENO, text, text.count)
        }
        return status
    }
}
