import ArgumentParser

/// `check-config`: says what is wrong with a configuration, with line and key.
struct CheckConfig: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check-config", abstract: "Says what is wrong with a configuration; exit status 78 where it is.")

    @Argument(help: "The configuration to check; the one that serve would read where it is left out.")
    var file: String?

    @OptionGroup var options: CommonOptions

    func run() throws {
        do {
            let settings = try DaemonSettings(options, configurationFile: file ?? options.config)
            print("\(settings.configurationFile): \(settings.hasFile ? "OK" : "not there; the defaults hold")")
        } catch {
            throw ExitCode.report(error)
        }
    }
}
