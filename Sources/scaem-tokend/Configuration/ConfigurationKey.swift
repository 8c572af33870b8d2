/// A key that the configuration file may hold: what it may be and why. The reader, the checks, the documented example
/// and the man page all follow this table.
struct ConfigurationKey: Sendable {
    /// What a value must be, and the field that it fills.
    enum Value: Sendable {
        /// A whole number within bounds.
        case number(ClosedRange<Int>, any WritableKeyPath<Configuration, Int> & Sendable)
        /// An absolute path of at most so many bytes; the example is what root's daemon takes without the key.
        case path(maxBytes: Int, example: String, any WritableKeyPath<Configuration, String?> & Sendable)
        /// A whole number of a `[[credential]]`, with its default.
        case credentialNumber(ClosedRange<Int>, standard: Int)
        /// A text that each `[[credential]]` must give.
        case credentialText(CredentialText, example: String)
    }

    /// The texts of a `[[credential]]`, each with its own rule.
    enum CredentialText: Sendable {
        case unit, credential, application, projectCode
    }

    /// The name of the array of tables for units.
    static let credentialTable = "credential"

    let table: String
    let name: String
    let value: Value
    /// Whether a change takes effect only when the daemon starts, not when it reads its configuration again.
    let atStart: Bool
    /// Sentences for the operator: what it does, and why it is bounded as it is.
    let reason: String

    private init(_ table: String, _ name: String, _ value: Value, atStart: Bool = false, _ reason: String) {
        self.table = table
        self.name = name
        self.value = value
        self.atStart = atStart
        self.reason = reason
    }

    /// The key with its table, as messages name it.
    var path: String { "\(table).\(name)" }

    /// The default of a number; nil for what is no number.
    var standardNumber: Int? {
        switch value {
        case .number(_, let field): Configuration()[keyPath: field]
        case .credentialNumber(_, let standard): standard
        case .path, .credentialText: nil
        }
    }

    /// Every table but the array of tables for units, in the order of the documentation.
    static let tables = ["server", "tokens", "limits", "audit"]

    /// Every key, in the order of the documentation.
    static let all: [ConfigurationKey] = server + tokens + limits + audit + credential

    /// The keys of one table.
    static func keys(of table: String) -> [ConfigurationKey] { all.filter { $0.table == table } }

    /// unix(7): sun_path holds 108 bytes with the NUL at its end.
    static let socketPathMaxBytes = 107
    /// limits.h: PATH_MAX, less the room for the names of the files in the directory.
    static let directoryMaxBytes = 4_000

    private static let server = [
        ConfigurationKey(
            "server", "socket",
            .path(maxBytes: socketPathMaxBytes, example: "/run/scaem-tokend/tokend.sock", \.server.socket),
            atStart: true,
            """
            The socket that callers connect to, at most 107 bytes (the kernel's bound). Under systemd the socket unit \
            makes it, and the service is told where: leave this out, or name the same path.
            """),
        ConfigurationKey(
            "server", "state_directory",
            .path(maxBytes: directoryMaxBytes, example: "/var/lib/scaem-tokend", \.server.stateDirectory),
            atStart: true,
            """
            Where the database is. It must be on a local disk: SQLite's write-ahead log does not work over a network. \
            Under systemd leave this out, and mount a file system at the usual place if need be: elsewhere \
            scaem-tokend.service needs ReadWritePaths=, and scaem-tokend-audit-verify.service a ConditionPathExists= \
            of the lock there, or the daily verification is passed over.
            """),
        ConfigurationKey(
            "server", "event_loops", .number(1...64, \.server.eventLoops), atStart: true,
            """
            Threads that read requests and write answers. One is enough for more than a hundred thousand requests a \
            second and leaves the other processors to the services on the host.
            """),
        ConfigurationKey(
            "server", "drain_seconds", .number(1...60, \.server.drainSeconds), atStart: true,
            """
            How long a stop waits for requests that were read to be answered and for callers to take their answers. \
            The unit's TimeoutStopSec= must be longer.
            """),
    ]

    private static let tokens = [
        ConfigurationKey(
            "tokens", "ttl_seconds_default", .number(1...315_360_000, \.tokens.ttlSecondsDefault),
            "How long a token lives where the caller does not say. 60 days: of monthly rotations, one may fail."),
        ConfigurationKey(
            "tokens", "ttl_seconds_min", .number(1...315_360_000, \.tokens.ttlSecondsMin),
            "The shortest life that a caller may ask for. Below a minute a token can be dead before it is in use."),
        ConfigurationKey(
            "tokens", "ttl_seconds_max", .number(1...315_360_000, \.tokens.ttlSecondsMax),
            "The longest life that a caller may ask for. A year: what lives longer is forgotten rather than rotated."),
        ConfigurationKey(
            "tokens", "grace_seconds_default", .number(0...604_800, \.tokens.graceSecondsDefault),
            "How long the replaced token stays good after a rotation where the caller does not say. 0 ends it at once."),
        ConfigurationKey(
            "tokens", "grace_seconds_max", .number(0...604_800, \.tokens.graceSecondsMax),
            "The longest such time that a caller may ask for. A day: a grace is for a restart, not for a second token."),
        ConfigurationKey(
            "tokens", "per_owner", .number(1...1_000_000, \.tokens.perOwner),
            """
            Tokens of one owner, over all its applications and projects, so that one user cannot fill memory and disk. \
            Administrators are exempt.
            """),
    ]

    private static let limits = [
        ConfigurationKey(
            "limits", "connections", .number(32...Configuration.Limits.connectionsMax, \.limits.connections),
            """
            Connections at once, 16 of them kept for root and administrators. Each takes a descriptor: the unit's \
            LimitNOFILE= must be higher.
            """),
        ConfigurationKey(
            "limits", "connections_per_user", .number(1...65_536, \.limits.connectionsPerUser),
            """
            Connections at once of one user, so that nobody takes them all. Where this is left out, a quarter of \
            connections if that is less. Administrators are exempt.
            """),
        ConfigurationKey(
            "limits", "writer_queue", .number(64...65_536, \.limits.writerQueue), atStart: true,
            """
            Mutations that wait for the disk, of all callers; one uid may hold a quarter. A full queue is answered \
            with -32006, busy.
            """),
        ConfigurationKey(
            "limits", "mutations_per_second_per_user",
            .number(0...1_000_000, \.limits.mutationsPerSecondPerUser),
            """
            Mutations that one user may ask for in a second; more are answered with -32009. 0 is no limit. \
            Administrators are exempt.
            """),
    ]

    private static let audit = [
        ConfigurationKey(
            "audit", "keep_days", .number(1...3_650, \.audit.keepDays), atStart: true,
            "How long audit rows stay in the database after they are in the journal."),
        ConfigurationKey(
            "audit", "rows_max", .number(10_000...1_000_000_000, \.audit.rowsMax), atStart: true,
            """
            Audit rows in the database at most, some 300 bytes each, so that they cannot fill the disk. The oldest go \
            first, and a gap row names what went before its time.
            """),
    ]

    private static let credential = [
        ConfigurationKey(
            credentialTable, "unit", .credentialText(.unit, example: "web.service"),
            "The unit's full name as systemctl shows it; of a template the instance, not the template."),
        ConfigurationKey(
            credentialTable, "credential", .credentialText(.credential, example: "token"),
            "The ID in the unit's LoadCredential=. A unit may have several; a pair of unit and ID stands once."),
        ConfigurationKey(
            credentialTable, "application", .credentialText(.application, example: "web"),
            "The application that the unit's token is issued to."),
        ConfigurationKey(
            credentialTable, "project_code", .credentialText(.projectCode, example: "P"),
            "The project that the token is for."),
        ConfigurationKey(
            credentialTable, "grace_seconds",
            .credentialNumber(0...604_800, standard: Configuration.Credential.standardGraceSeconds),
            """
            How long the token that the unit was given before stays good. systemd asks anew for each command of a \
            start, so that 0 would end a token that was just handed out. Not more than tokens.grace_seconds_max.
            """),
    ]
}
