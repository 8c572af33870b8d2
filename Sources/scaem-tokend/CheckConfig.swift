import ArgumentParser
import Glibc

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
            print("\(settings.configurationFile): OK")
        } catch {
            throw ExitCode.report(error)
        }
    }
}

extension ExitCode {
    /// sysexits.h, EX_CONFIG: the configuration is wrong, and starting again does not help.
    static let configuration = ExitCode(78)
    /// sysexits.h, EX_UNAVAILABLE.
    static let unavailable = ExitCode(69)

    /// Says what is wrong on standard error, a line each, and gives the status to exit with.
    static func report(_ error: any Error) -> ExitCode {
        report(String(describing: error), status: error is ConfigurationError ? .configuration : .failure)
    }

    /// Says these lines on standard error, and gives the status back.
    static func report(_ lines: String, status: ExitCode) -> ExitCode {
        for line in lines.split(separator: "\n") {
            let text = Array("scaem-tokend: \(line)\n".utf8)
            _ = write(STDERR_FILENO, text, text.count)
        }
        return status
    }
}
