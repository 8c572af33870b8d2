import ArgumentParser
import Glibc
import TokenModel
import TokenRPC
import TokenStore

/// `audit`: the records as JSON lines, and whether they are whole.
struct AuditCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "audit", abstract: "Exports and verifies the audit records.",
        subcommands: [Export.self, Verify.self])

    /// `audit export`.
    struct Export: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Writes the audit records that are kept as JSON lines.",
            discussion: """
                One object a record, in the order of `sequence`, with all that its chain value is made of, so that the \
                chain can be verified elsewhere: docs/audit.md has the fields and the bytes. Beside a running daemon too.
                """)

        @Option(help: "Only the records after this sequence number.")
        var since: Int64 = 0

        @OptionGroup var options: CommonOptions

        func run() throws {
            do {
                let directory = try options.databaseDirectory()
                let output = StandardOutput()
                let file = try DatabaseFile(stateDirectory: directory)
                try file.reading {
                    try file.forEachAuditEntry(after: since) { entry in
                        AuditLine.write(entry, to: output.writer)
                        try output.flushIfFull()
                    }
                    try file.forEachPresentation { presented in
                        AuditLine.write(presented, to: output.writer)
                        try output.flushIfFull()
                    }
                }
                try output.flush()
            } catch {
                throw ExitCode.report(error)
            }
        }
    }
}

/// Standard output, written in large pieces.
private final class StandardOutput {
    let writer = ByteWriter(capacity: 2 * flushBytes)
    private static let flushBytes = 65_536

    func flushIfFull() throws {
        if writer.count >= Self.flushBytes { try flush() }
    }

    func flush() throws {
        var rest = writer.bytes
        while !rest.isEmpty {
            let count = write(STDOUT_FILENO, rest.baseAddress, rest.count)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else {
                throw CommandFailure("standard output cannot be written: \(String(cString: strerror(errno)))")
            }
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        }
        writer.removeAll(wiping: false)
    }
}
