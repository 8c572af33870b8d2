import ArgumentParser
import Foundation
import Glibc
import ScaemTokenClient

/// `reload`: asks the running daemon to read its configuration again.
struct Reload: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Asks the running daemon to read its configuration again; the old one stays where it is wrong.")

    @OptionGroup var options: CommonOptions

    func run() throws {
        let (socket, problem) = try findSocket()
        do {
            // Not tried again by itself: a second reading of a file that is being edited may see another file.
            try TokenClient(socketPath: socket).call("reload", isReadOnly: false, read: { _ in })
        } catch  where !error.errors.isEmpty {
            throw ExitCode.report(problems: error.errors, as: .configuration)
        } catch {
            throw ExitCode.report(problem ?? error)
        }
        // The daemon has read its own file, and may where this caller may not; one that was named here is wrong all the same.
        if let problem, options.config != nil { throw ExitCode.report(problem) }
    }

    /// Where the daemon is. The file that says so may be the very one that is wrong: then the daemon is asked all the
    /// same, where it is found without the file, so that the failure stands in its log and its state too.
    private func findSocket() throws -> (path: String, problem: ConfigurationError?) {
        do throws(ConfigurationError) {
            return (try DaemonSettings(options).paths.socket, nil)
        } catch {
            let places = Paths.Options(socket: options.socket, stateDirectory: options.stateDirectory)
            do throws(ConfigurationError) {
                let path = try Paths.socket(
                    options: places, configuration: Configuration(),
                    environment: ProcessInfo.processInfo.environment, uid: geteuid())
                return (path, error)
            } catch let noPath {
                throw ExitCode.report(problems: error.lines + noPath.lines, as: .configuration)
            }
        }
    }
}
