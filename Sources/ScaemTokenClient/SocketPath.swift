import Glibc

/// Where the daemon listens, as every client finds it.
public enum SocketPath {
    /// The system daemon's socket.
    public static let system = "/run/scaem-tokend/tokend.sock"
    /// The environment variable that names another one.
    public static let environmentVariable = "SCAEM_TOKEND_SOCKET"
    /// sockaddr_un holds 108 bytes, the closing zero included (unix(7)).
    static let maxBytes = 107

    /// The socket to use: `named`, else `$SCAEM_TOKEND_SOCKET`, else the system's if that path exists, else the user's
    /// own under `$XDG_RUNTIME_DIR`, else the system's (whose absence is then what the error names).
    public static func resolve(named: String? = nil) -> String {
        resolve(named: named, environment: environmentValue, exists: exists)
    }

    /// The rule itself, without the process's environment and disk.
    static func resolve(
        named: String?, environment: (String) -> String?, exists: (String) -> Bool
    ) -> String {
        if let named { return named }
        if let path = environment(environmentVariable), !path.isEmpty { return path }
        if exists(system) { return system }
        // The XDG base directory specification: a relative path there is to be ignored.
        if let folder = environment("XDG_RUNTIME_DIR"), folder.utf8.first == UInt8(ascii: "/") {
            return folder + "/scaem-tokend/tokend.sock"
        }
        return system
    }

    private static func environmentValue(_ name: String) -> String? {
        // What is not UTF-8 is repaired to a path that is not there: the error names it, and no other daemon is asked.
        getenv(name).map { String(cString: $0) }
    }

    /// A path that may not be looked at is there for somebody: connecting to it gives the error that helps.
    private static func exists(_ path: String) -> Bool {
        var status = stat()
        if stat(path, &status) == 0 { return true }
        return errno != ENOENT && errno != ENOTDIR
    }
}
