import ArgumentParser
import TokenRPC

/// scaem-tokend(8): owns the token database of this host and serves it over a Unix socket.
///
///     serve         the daemon (Serve.swift)
///     check-config  says what is wrong with a configuration (Commands/CheckConfig.swift)
///     reload        asks the running daemon to read its configuration again (Commands/Reload.swift)
///     check         verifies database and audit chain (Commands/CheckCommand.swift)
///     backup        a consistent copy while serving (Commands/BackupCommand.swift)
///     restore       a backup in the database's place (Commands/RestoreCommand.swift)
///     audit         exports and verifies the audit (Commands/AuditCommand.swift)
@main
struct ScaemTokend: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scaem-tokend",
        abstract: "Owns the registration tokens of this host's applications and serves them over a Unix socket.",
        version: programVersion,
        subcommands: [
            Serve.self, CheckConfig.self, Reload.self, CheckCommand.self, BackupCommand.self, RestoreCommand.self,
            AuditCommand.self,
        ],
        defaultSubcommand: Serve.self)
}

/// The options that every command takes.
struct CommonOptions: ParsableArguments {
    @Option(help: "The configuration (/etc/scaem-tokend/config.toml, which may be absent).")
    var config: String?

    @Option(help: "The socket's path.")
    var socket: String?

    @Option(help: "The directory of the database.")
    var stateDirectory: String?
}
