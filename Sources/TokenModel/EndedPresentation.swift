/// A token that was ended and then presented, by one caller, so many times within a minute: an alarm, not a change.
public struct EndedPresentation: Sendable {
    /// Of the first time.
    public let time: Instant
    public let fingerprint: Fingerprint
    public let principal: Principal
    public let uid: UInt32
    public let gid: UInt32
    public let process: PeerProcess
    public var count: Int64

    /// Names a token and who presented it.
    public init(
        time: Instant, fingerprint: Fingerprint, principal: Principal, uid: UInt32, gid: UInt32,
        process: PeerProcess, count: Int64
    ) {
        self.time = time
        self.fingerprint = fingerprint
        self.principal = principal
        self.uid = uid
        self.gid = gid
        self.process = process
        self.count = count
    }
}
