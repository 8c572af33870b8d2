/// Where the daemon's socket and database are: options before the configuration, the configuration before what
/// systemd says in the environment, that before the built-in places of root or of an ordinary user.
struct Paths: Sendable, Equatable {
    /// What the command line says; nil where it says nothing. A relative path is the shell's, from where the command
    /// runs.
    struct Options: Sendable, Equatable {
        var socket: String?
        var stateDirectory: String?
    }

    /// The names of the daemon's socket and folders.
    private static let folder = "scaem-tokend"
    private static let socketName = "tokend.sock"

    let socket: String
    let stateDirectory: String

    /// The folder of the socket, with its slash; empty where the path is only a name.
    var socketFolder: String {
        String(socket[..<(socket.lastIndex(of: "/").map(socket.index(after:)) ?? socket.startIndex)])
    }

    /// Finds both.
    /// - Parameters:
    ///   - environment: the variables of the process.
    ///   - uid: the effective user.
    /// - Throws: all that is wrong with either.
    init(
        options: Options, configuration: Configuration, environment: [String: String], uid: UInt32
    ) throws(ConfigurationError) {
        var problems: [ConfigurationError.Problem] = []
        var socket = ""
        var stateDirectory = ""
        do throws(ConfigurationError) {
            socket = try Self.socket(
                options: options, configuration: configuration, environment: environment, uid: uid)
        } catch { problems += error.problems }
        do throws(ConfigurationError) {
            stateDirectory = try Self.stateDirectory(
                options: options, configuration: configuration, environment: environment, uid: uid)
        } catch { problems += error.problems }
        guard problems.isEmpty else { throw ConfigurationError(file: nil, problems: problems) }
        self.socket = socket
        self.stateDirectory = stateDirectory
    }

    /// The socket alone, for commands that only ask a running daemon.
    static func socket(
        options: Options, configuration: Configuration, environment: [String: String], uid: UInt32
    ) throws(ConfigurationError) -> String {
        let maxBytes = ConfigurationKey.socketPathMaxBytes
        if let socket = options.socket { return try checked(socket, "--socket", maxBytes: maxBytes) }
        if let socket = configuration.server.socket { return socket }
        let folder: String
        if let given = try systemdFolder("RUNTIME_DIRECTORY", environment) {
            folder = given
        } else if uid == 0 {
            folder = "/run/\(Self.folder)"
        } else if let runtime = absolute("XDG_RUNTIME_DIR", environment) {
            folder = "\(runtime)/\(Self.folder)"
        } else {
            throw ConfigurationError(
                file: nil,
                "XDG_RUNTIME_DIR does not name a folder, so there is no place for the socket of uid \(uid): "
                    + "log in with a session that sets it, or give --socket")
        }
        return try checked("\(folder)/\(socketName)", "the socket", maxBytes: maxBytes)
    }

    /// The state directory alone, for commands that need only the database.
    static func stateDirectory(
        options: Options, configuration: Configuration, environment: [String: String], uid: UInt32
    ) throws(ConfigurationError) -> String {
        let maxBytes = ConfigurationKey.directoryMaxBytes
        if let directory = options.stateDirectory {
            return try checked(directory, "--state-directory", maxBytes: maxBytes)
        }
        if let directory = configuration.server.stateDirectory { return directory }
        if let given = try systemdFolder("STATE_DIRECTORY", environment) { return given }
        if uid == 0 { return "/var/lib/\(folder)" }
        // The XDG Base Directory Specification: a relative path in its variables is to be ignored.
        if let state = absolute("XDG_STATE_HOME", environment) { return "\(state)/\(folder)" }
        if let home = absolute("HOME", environment) { return "\(home)/.local/state/\(folder)" }
        throw ConfigurationError(
            file: nil,
            "neither XDG_STATE_HOME nor HOME names a folder, so there is no place for the database of uid \(uid): "
                + "give --state-directory")
    }

    /// systemd.exec(5), RuntimeDirectory=: several folders are joined with colons. Ours is the one with our name, or
    /// else the first.
    private static func systemdFolder(
        _ variable: String, _ environment: [String: String]
    ) throws(ConfigurationError) -> String? {
        let folders = (environment[variable] ?? "").split(separator: ":").map(String.init)
        guard let folder = folders.first(where: { $0.hasSuffix("/\(Self.folder)") }) ?? folders.first else {
            return nil
        }
        guard folder.hasPrefix("/") else {
            throw ConfigurationError(
                file: nil, "\(variable) must name an absolute path, not \(String(reflecting: folder))")
        }
        return folder
    }

    private static func absolute(_ variable: String, _ environment: [String: String]) -> String? {
        environment[variable].flatMap { $0.hasPrefix("/") ? $0 : nil }
    }

    private static func checked(
        _ path: String, _ name: String, maxBytes: Int
    ) throws(ConfigurationError) -> String {
        let bytes = path.utf8.count
        if bytes == 0 { throw ConfigurationError(file: nil, "\(name) must not be empty") }
        if bytes > maxBytes {
            throw ConfigurationError(
                file: nil, "\(name) must be a path of at most \(maxBytes) bytes; \(path) has \(bytes)")
        }
        return path
    }
}
