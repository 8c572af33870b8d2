import ArgumentParser
import TokenModel
import TokenStore

extension AuditCommand {
    /// `audit verify`.
    struct Verify: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Verifies the chain of the audit, then holds the journal against it.",
            discussion: """
                Without FILE the database and the journal of this machine; with FILE what `audit export`, \
                `journalctl -o json` or `journalctl -o export` wrote, on any machine. Each record that is missing, \
                changed, repeated or unknown is named by its sequence number. Exit status 1 where one is.
                """)

        @Argument(help: "Exports of the audit or of the journal; `-` is standard input.")
        var files: [String] = []

        @OptionGroup var options: CommonOptions

        func run() throws {
            var verifier = ChainVerifier()
            do {
                if files.isEmpty {
                    let settings = try DaemonSettings(options)
                    let file = try DatabaseFile(stateDirectory: settings.paths.stateDirectory)
                    try file.reading { try file.forEachAuditEntry { verifier.follow($0) } }
                }
                for file in files {
                    try AuditFile.read(file) { entry, _ in verifier.follow(entry) }
                }
            } catch {
                throw ExitCode.report(error)
            }
            guard verifier.problems.isEmpty else {
                throw ExitCode.report(problems: verifier.problems.map(\.description))
            }
            print("OK: \(verifier.rows) records, up to \(verifier.next - 1)")
        }
    }
}
