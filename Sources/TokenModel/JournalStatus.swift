/// How far the journal, which is fed from the audit after the commit, has come.
public struct JournalStatus: Equatable, Sendable {
    /// What is known of the journal.
    public enum State: String, Sendable {
        /// What is sent is read back from it.
        case ok
        /// There is no journald; what was committed waits in the database.
        case absent
        /// It is there and takes no records.
        case failing
        /// Records are sent, but whether they are kept is not known: the daemon may not read the journal.
        case unreadable
        /// It is kept in memory only and goes with the next reboot (`Storage=` in journald.conf(5)).
        case volatile
    }

    public var state: State
    /// The last number that was handed to journald, which proves nothing.
    public var sent: Int64
    /// All up to this number were read back.
    public var confirmed: Int64
    /// All up to this number were read back so long ago that journald has synced them since.
    public var synced: Int64
    /// What the journal had at the start and the database lacks: an old copy is in its place.
    public var lacking: ClosedRange<Int64>?

    /// Makes a snapshot.
    public init(state: State, sent: Int64, confirmed: Int64, synced: Int64, lacking: ClosedRange<Int64>? = nil) {
        self.state = state
        self.sent = sent
        self.confirmed = confirmed
        self.synced = synced
        self.lacking = lacking
    }

    /// How many numbers the journal is behind the audit's last one, as far as can be known.
    public func lag(behind last: Int64) -> Int64 { max(0, last - (state == .unreadable ? sent : confirmed)) }
}
