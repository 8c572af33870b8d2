import ArgumentParser
import TokenStore

/// `check`: whether database and audit chain are whole, beside a running daemon or without one.
struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Verifies the database and its audit chain; exit status 1 where one is broken.",
        discussion: """
            Reads one state of the database, beside a running daemon too, and changes nothing: the pages, the \
            references between rows, each token's row, and that each audit record follows from the one before it.
            """)

    @OptionGroup var options: CommonOptions

    func run() throws {
        let found: (problems: [String], records: Int64, tokens: Int64)
        do {
            let directory = try options.databaseDirectory()
            found = try DatabaseFile(stateDirectory: directory).check()
        } catch {
            throw ExitCode.report(error)
        }
        guard found.problems.isEmpty else { throw ExitCode.report(problems: found.problems) }
        print("OK: \(found.tokens) tokens, \(found.records) audit records")
    }
}
