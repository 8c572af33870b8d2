import ArgumentParser
import ScaemTokenClient

/// `reload`: asks the running daemon to read its configuration again.
struct Reload: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Asks the running daemon to read its configuration again; the old one stays where it is wrong.")

    @OptionGroup var options: CommonOptions

    func run() throws {
        do {
            let settings = try DaemonSettings(options)
            let client = TokenClient(socketPath: settings.paths.socket)
            // Not tried again by itself: a second reading of a file that is being edited may see another file.
            try client.call("reload", isReadOnly: false, read: { _ in })
        } catch {
            throw ExitCode.report(error)
        }
    }
}
