import TokenModel

/// What the operator decides. A value of this type is complete and within its bounds: only the reader of the
/// configuration file and the built-in defaults make one.
///
/// The defaults stand here, beside the fields; what each may be, and why, stands in `ConfigurationKey.all`.
struct Configuration: Sendable, Equatable {
    /// The configuration that is read where none is named. It may be absent.
    static let standardFile = "/etc/scaem-tokend/config.toml"

    struct Server: Sendable, Equatable {
        /// Nil: `Paths` finds it.
        var socket: String?
        /// Nil: `Paths` finds it.
        var stateDirectory: String?
        var eventLoops = 1
        var drainSeconds = 10
    }

    struct Tokens: Sendable, Equatable {
        var ttlSecondsDefault = Int(TokenLimits.defaultTTLSeconds)
        var ttlSecondsMin = Int(TokenLimits.ttlSeconds.lowerBound)
        var ttlSecondsMax = Int(TokenLimits.ttlSeconds.upperBound)
        var graceSecondsDefault = Int(TokenLimits.defaultGraceSeconds)
        var graceSecondsMax = Int(TokenLimits.graceSeconds.upperBound)
        var perOwner = TokenLimits.tokensPerOwner
    }

    struct Limits: Sendable, Equatable {
        /// What may be configured.
        static let connectionsMax = 65_536
        var connections = 4_096
        var connectionsPerUser = 1_024
        var writerQueue = 4_096
        /// 0 is no limit.
        var mutationsPerSecondPerUser = 0
    }

    struct Audit: Sendable, Equatable {
        var keepDays = 30
        var rowsMax = 10_000_000
    }

    /// What one systemd unit gets through `LoadCredential=`.
    struct Credential: Sendable, Equatable {
        /// Where an entry says nothing of its own. Long enough that a unit that is started again by systemd does not
        /// lose the token that its still running predecessor holds.
        static let standardGraceSeconds = 300

        /// The unit's full name, with its suffix.
        var unit: String
        /// The ID in the unit's `LoadCredential=`.
        var credential: String
        var application: ApplicationName
        var projectCode: ProjectCode
        var graceSeconds = standardGraceSeconds
    }

    var server = Server()
    var tokens = Tokens()
    var limits = Limits()
    var audit = Audit()
    var credentials: [Credential] = []
}
