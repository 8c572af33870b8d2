/// What could be read of a caller's process at connect: information for the audit, and not to be trusted. No decision rests
/// on it: a pid is reused, a process says itself what it is called, and a unit's processes may have come from elsewhere.
public struct PeerProcess: Equatable, Sendable {
    public let pid: Int32
    /// The systemd unit that it belongs to.
    public let unit: String?
    /// Which start of that unit, as systemd numbers them: 32 hexadecimal digits.
    public let invocationID: String?
    /// What the process called itself (proc(5), /proc/pid/comm).
    public let comm: String?

    /// Describes a process; nil for what is not known.
    public init(pid: Int32, unit: String? = nil, invocationID: String? = nil, comm: String? = nil) {
        self.pid = pid
        self.unit = unit
        self.invocationID = invocationID
        self.comm = comm
    }
}
