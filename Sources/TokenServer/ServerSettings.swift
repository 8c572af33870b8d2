import TokenModel

/// What an administrator may set of the server; the defaults are the product's.
public struct ServerSettings: Sendable {
    /// Threads that serve connections. One serves well over a hundred thousand requests a second; more only pay where
    /// there are cores to spare beside the callers' own.
    public var eventLoops = 1
    /// Connections at once. Each costs a descriptor and about 1 KiB while it is idle.
    public var connections = 4_096
    /// Connections at once of one uid that is not an administrator's: so that one user cannot take them all.
    public var connectionsPerUser = 1_024
    /// What `ttl_seconds` may be.
    public var ttlSeconds: ClosedRange<Int64> = TokenLimits.ttlSeconds
    /// What `ttl_seconds` is where it is left out.
    public var defaultTTLSeconds: Int64 = TokenLimits.defaultTTLSeconds
    /// What `grace_seconds` may be.
    public var graceSeconds: ClosedRange<Int64> = TokenLimits.graceSeconds
    /// What `grace_seconds` is where it is left out.
    public var defaultGraceSeconds: Int64 = TokenLimits.defaultGraceSeconds
    /// Mutations a second and user, in bursts of as many; nil for no limit. Administrators are exempt.
    public var mutationsPerSecondPerUser: Int?
    /// How long a stop waits for callers that do not read their answers.
    public var drainSeconds: Int64 = 10
    /// What `status` shows as the version.
    public var version = "0"
    /// The user whose own daemon this is, as administrator beside root.
    public var ownUID: UInt32 = 0
    /// Shown to administrators by `status`.
    public var synchronousMode = "full"
    /// What units may have through the credential socket.
    public var credentials: [CredentialGrant] = []

    /// The defaults.
    public init() {}
}

/// The server's bounds that nobody needs to set, each with its reason.
enum Bounds {
    /// Of `connections`, kept for root and administrators, so that they get in when a user has taken all he can.
    static let reservedConnections = 16
    /// Descriptors that no caller gets, whatever the process may have: for NSS, /proc, the journal and the database, which
    /// open one or two at a time each.
    static let ownDescriptors: Int32 = 16
    /// How often the log says that descriptors have run out, at most: a caller whose every connect meets that would fill the
    /// journal.
    static let descriptorReportMilliseconds: Int64 = 1_000
    /// What one read takes at most: some tens of requests, so that others get their turn between.
    static let readChunkBytes = 8_192
    /// Lines that are taken from one uid's connections in a turn of the loop; what else they have sent waits for the next.
    /// So another's request waits for that much work, however many connections are full.
    static let turnLines = 32
    /// Bytes of a line that count like one more line: some requests' worth.
    static let bytesLikeALine = 256
    /// How often deadlines are looked at, at most: with a thousand half lines one comes every few milliseconds.
    static let expiryMilliseconds: Int64 = 250
    /// Answers that wait for a caller to read them; above, no further line of that connection is taken.
    static let outputHighWaterBytes = 65_536
    /// What an answer to a mutation has at most beside its id, credentials with a previous token's end.
    static let mutationAnswerBytes = 384
    /// Kept of one connection's answers without a charge: what it may owe, and an answer with an id as long as a line. The
    /// number of connections bounds it.
    static let unchargedAnswerBytes = 2 * outputHighWaterBytes
    /// Longer answers that one uid has not read: pages of `list`, batches, watchers that lag. Above, its reads are busy
    /// and its lagging watches end. As much as 32 of the longest.
    static let answerBytesPerUser = 33_554_432
    /// The same of all together, the share of one uid kept for administrators.
    static let answerBytes = 268_435_456
    /// Mutations of one connection in the writer's queue: a whole batch of the contract's size.
    static let mutationsInFlight = 128
    /// How long a line may take from its first byte (the contract).
    static let lineTimeoutMilliseconds: Int64 = 10_000
    /// How many ready connections one epoll_wait(2) reports: as many as one uid may have, so that another's is seen.
    static let eventsPerWait = 1_024
    /// Writers that are kept for the next connections that need one.
    static let spareWriters = 128
    /// Kept free in a batch's answer for each entry that is still to come: an error without its id.
    static let batchEntryReserveBytes = 256
    /// The largest result of a method that does not page: credentials, introspect, whoami, status.
    static let smallResultBytes = 2_048
    /// How long a name and a group that NSS gave are believed: a change shows within seconds, and a burst of connects
    /// costs one look-up.
    static let nameLifetimeMilliseconds: Int64 = 5_000
    /// Look-ups at once: as many uids may wait for a directory service that is stuck before it holds up the others.
    static let nameThreads = 4
    /// Connections of one uid that wait for its name, those that have closed meanwhile among them: a user who comes again and
    /// again while NSS does not answer is told at once from there on.
    static let waitingForName = 4_096
    /// How long a caller waits for its name; then its requests are busy until NSS has answered.
    static let lookupMilliseconds: Int64 = 5_000
    /// Uids whose names are remembered at once.
    static let rememberedNames = 4_096
    /// Blocking reads (`list`, `status`) that wait for the worker thread; a connection has one at most.
    static let retryAfterMilliseconds = 100
    /// Events that wait for one watcher to read them; above, the watch ends, for it must not skip any.
    static let watcherBacklogBytes = 1_048_576
    /// Records of one commit that watchers get from memory; of more, what one has not read would be too much at once.
    static let publishedRows = 500
    /// Audit rows read at once for a watcher that catches up: one page of each uid comes in a turn of the loop, so it is to
    /// be some requests' worth of work.
    static let replayPageRows = 64
    /// Units that wait for their credentials at once; further ones wait in the backlog, where a killed daemon loses none.
    /// Half of the unit's FileDescriptorStoreMax=512: the service manager may be behind with what was taken out again.
    static let pendingCredentials = 256
    /// How many of them are accepted before the loop's callers get their turn.
    static let credentialAcceptsPerWake = 16
    /// Credentials that a unit gets of one entry in a row. A start with ten commands asks ten times, and three such
    /// starts within a minute are an administrator at work, not a crash loop.
    static let credentialBurst = 30
    /// How long until one more: a unit in a loop then costs the disk and its readers nothing worth mentioning.
    static let credentialRefillSeconds: Int64 = 10
    /// How long a unit waits for room in the writer's queue.
    static let credentialPatienceMilliseconds: Int64 = 10_000
    /// How soon what could not be done is tried again.
    static let credentialTickMilliseconds = 50
    /// How long a peer that is not root may take to read its refusal. Root's are waited for: a credential must not be cut.
    static let strangerPatienceMilliseconds: Int64 = 10_000
    /// How long a stop waits, after its deadline, for refusals to be read.
    static let credentialLastWordMilliseconds: Int64 = 5_000
}
