import ArgumentParser
import TokenStore

/// `backup`: a consistent copy while the daemon serves.
struct BackupCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup", abstract: "Writes a consistent copy of the database while the daemon serves.",
        discussion: """
            The copy holds what was committed when it began. It is written beside FILE with mode 0600, verified, \
            synced and then given its name. It holds digests and names, no tokens.
            """)

    @Argument(help: "The copy's name. A file that exists is not replaced without --replace.")
    var file: String

    @Flag(help: "Replace FILE where it exists, in one step.")
    var replace = false

    @OptionGroup var options: CommonOptions

    func run() throws {
        do {
            let directory = try options.databaseDirectory()
            let copy = try Backup.write(
                stateDirectory: directory, to: file, replacing: replace)
            print("\(file): \(copy.tokens) tokens, changes up to \(copy.sequence)")
        } catch let error as StoreError where error.code == .exists {
            throw ExitCode.report(error, as: .cannotCreate)
        } catch {
            throw ExitCode.report(error)
        }
    }
}
