import Glibc

/// A connection to the credential socket that another instance of the daemon accepted and systemd kept.
public struct StoredConnection: Sendable {
    /// Connected, close-on-exec.
    public let descriptor: CInt
    /// Under which it is in systemd's store.
    public let name: String

    /// Takes a descriptor that systemd passed.
    public init(descriptor: CInt, name: String) {
        self.descriptor = descriptor
        self.name = name
    }

    /// What the names of all of them begin with; the rest is random, so that no two instances give the same.
    public static let namePrefix = "credential-"

    static func freshName() -> String {
        namePrefix + String(UInt64.random(in: .min ... .max), radix: 16)
    }
}

/// One unit's credential on its way. Owned by one event loop and touched only on its thread.
final class CredentialConnection {
    enum State {
        /// Its command is with the writer.
        case asked(CredentialSteps)
        /// The writer's queue was full; asked again until the deadline.
        case waiting(CredentialSteps, command: CredentialSteps.Action, until: Int64)
        /// So many bytes of a refusal are still to be sent.
        case refusing(left: Int)
        /// Nothing is decided yet.
        case new
    }

    let id: UInt64
    let descriptor: CInt
    /// Under which it is, or is to be, in systemd's store; nil where there is no store.
    let name: String?
    /// Whether systemd has it.
    var isStored: Bool
    var state = State.new
    var address: CredentialAddress?
    var peer: PeerCredentials?
    /// Whether its loop waits until more can be sent.
    var awaitsWriting = false
    /// When a peer that is not root is let go, whatever it has read.
    var patienceEnds: Int64?
    /// How many commands it has submitted.
    var submitted: UInt64 = 0

    init(id: UInt64, descriptor: CInt, name: String?, isStored: Bool) {
        self.id = id
        self.descriptor = descriptor
        self.name = name
        self.isStored = isStored
    }

    /// Ids of these never meet those of ordinary connections, with which they share the tickets of mutations.
    static let firstID: UInt64 = 1 << 63
}
