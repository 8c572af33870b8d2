import ArgumentParser
import Foundation
import Glibc

/// `check-config`: says what is wrong with a configuration, with line and key.
struct CheckConfig: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check-config", abstract: "Says what is wrong with a configuration; exit status 78 where it is.")

    @Argument(help: "The configuration to check; the one that serve would read where it is left out.")
    var file: String?

    @OptionGroup var options: CommonOptions

    func run() throws {
        let (named, uid) = (file ?? options.config, geteuid())
        let became = named == nil && uid == 0 ? Self.becomeDaemonUser() : nil
        do {
            let configuration = try Configuration.load(named: named)
            // A file alone needs no place for a socket.
            if file == nil {
                _ = try Paths(
                    options: Paths.Options(socket: options.socket, stateDirectory: options.stateDirectory),
                    configuration: configuration ?? Configuration(), environment: ProcessInfo.processInfo.environment,
                    uid: uid)
            }
            let found = configuration == nil ? "not there; the defaults hold" : "OK"
            print("\(named ?? Configuration.standardFile): \(found)")
        } catch {
            if let became {
                FileHandle.standardError.write(Data("scaem-tokend: as the service's user \(became):\n".utf8))
            }
            throw ExitCode.report(error)
        }
    }

    /// What root may read the service may not: the system's file is opened as by the service, where its user is there.
    /// - Returns: that user, where it was done.
    private static func becomeDaemonUser() -> String? {
        let name = "scaem-tokend"
        guard let user = getpwnam(name)?.pointee else { return nil }
        // Where root itself may not change users, in some container, it is checked as root.
        guard setgid(user.pw_gid) == 0, initgroups(name, user.pw_gid) == 0, setuid(user.pw_uid) == 0 else { return nil }
        return name
    }
}
