import Foundation
import Glibc
import TokenRPC
import TokenServer
import TokenStore

/// What the daemon runs with: options before the configuration, the configuration before the defaults.
struct DaemonSettings {
    let configuration: Configuration
    let configurationFile: String
    /// Whether that is there; without it the defaults hold.
    let hasFile: Bool
    let paths: Paths

    /// Reads and checks everything; nothing is touched.
    /// - Throws: `ConfigurationError` with all that is wrong.
    init(_ options: CommonOptions, configurationFile named: String? = nil) throws(ConfigurationError) {
        let named = named ?? options.config
        configurationFile = named ?? Configuration.standardFile
        let found = try Configuration.load(named: named)
        configuration = found ?? Configuration()
        hasFile = found != nil
        paths = try Paths(
            options: Paths.Options(socket: options.socket, stateDirectory: options.stateDirectory),
            configuration: configuration, environment: ProcessInfo.processInfo.environment, uid: geteuid())
    }

    /// The store's part.
    var store: StoreConfiguration {
        var store = StoreConfiguration()
        store.queueCapacity = configuration.limits.writerQueue
        store.tokensPerOwner = configuration.tokens.perOwner
        store.auditRowsMax = Int64(configuration.audit.rowsMax)
        store.auditKeepSeconds = Int64(configuration.audit.keepDays) * 86_400
        return store
    }

    /// The keys whose new values have to wait for the next start.
    func changedForNextStart(since running: DaemonSettings) -> [String] {
        running.effective.keysForNextStart(of: effective)
    }

    /// The configuration with the paths that options and environment have decided.
    private var effective: Configuration {
        var effective = configuration
        effective.server.socket = paths.socket
        effective.server.stateDirectory = paths.stateDirectory
        return effective
    }

    /// The server's part.
    var server: ServerSettings {
        var settings = ServerSettings()
        settings.eventLoops = configuration.server.eventLoops
        settings.drainSeconds = Int64(configuration.server.drainSeconds)
        settings.connections = configuration.limits.connections
        settings.connectionsPerUser = configuration.limits.connectionsPerUser
        settings.mutationsPerSecondPerUser =
            configuration.limits.mutationsPerSecondPerUser > 0 ? configuration.limits.mutationsPerSecondPerUser : nil
        settings.ttlSeconds = Int64(configuration.tokens.ttlSecondsMin)...Int64(configuration.tokens.ttlSecondsMax)
        settings.defaultTTLSeconds = Int64(configuration.tokens.ttlSecondsDefault)
        settings.graceSeconds = 0...Int64(configuration.tokens.graceSecondsMax)
        settings.defaultGraceSeconds = Int64(configuration.tokens.graceSecondsDefault)
        settings.ownUID = geteuid()
        settings.version = programVersion
        settings.credentials = configuration.credentials.map { entry in
            CredentialGrant(
                unit: entry.unit, credential: entry.credential, application: entry.application,
                project: entry.projectCode, graceSeconds: Int64(entry.graceSeconds))
        }
        return settings
    }
}

extension CommonOptions {
    /// Where the database is, for commands that need neither the daemon nor its socket.
    func databaseDirectory() throws(ConfigurationError) -> String {
        let configuration = try Configuration.load(named: config) ?? Configuration()
        return try Paths.stateDirectory(
            options: Paths.Options(socket: socket, stateDirectory: stateDirectory), configuration: configuration,
            environment: ProcessInfo.processInfo.environment, uid: geteuid())
    }
}
