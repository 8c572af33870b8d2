public import TokenModel

/// The bounds of a store. Every resource has one; the defaults stand here with their reasons.
public struct StoreConfiguration: Sendable {
    /// Mutations that may wait. At some 40,000 a second this is a tenth of a second of work.
    public var queueCapacity = 4_096
    /// A uid that is not an administrator's may hold this part of the queue: one user cannot shut out the others.
    public var queueShareOfUser = 4
    /// Mutations a transaction. Beyond this a larger batch gains nothing and the first of it waits longer.
    public var batchLimit = 512
    /// Of them, one uid's while nobody else waits: two milliseconds or three, which another's change waits for the batch
    /// before its own. Nearly all that group commit gains is gained by then.
    public var batchShareOfUser = 128
    /// The same where others wait too, for they wait for this batch.
    public var batchShareBesideOthers = 16
    /// Mutations in a batch and behind it from which on its sync is left to another thread, and the next batch is decided
    /// meanwhile. For fewer, waking that thread and being woken costs more than the writer has to do beside a sync: 16 and 64
    /// callers get a sixth and a quarter fewer answers with it, on two processors; 256 in flight on 16 connections a tenth more.
    public var leftSyncMutations = 65
    /// Tokens an owner; administrators are exempt.
    public var tokensPerOwner = TokenLimits.tokensPerOwner
    /// Rows that a page of `list` walks at most where what is asked for is rare: some 20 ms, after which another uid's read
    /// has its turn, and twice what one owner may hold.
    public var listWalkRows = 20_000
    /// Bytes of the write-ahead log after which an idle moment is used for a checkpoint.
    public var idleCheckpointBytes = 1 << 20
    /// Bytes after which one is begun though changes come in: a page that was changed often is copied once. With a quarter
    /// of it 64 callers who rotate get a fifth fewer answers, with twice as much no more; a start after a kill reads it all.
    public var busyCheckpointBytes = 128 << 20
    /// And no more than this part of what is free, for a checkpoint needs room, too.
    public var busyCheckpointPartOfFree = 8
    /// How long nothing must come in before the moment counts as idle.
    public var idleMilliseconds = 50
    /// `last_used_at` is written behind, this many rows a commit.
    public var lastUsedRows = 500
    /// Tokens that were ended and presented are written behind, too, this many rows a commit.
    public var presentedRows = 500
    /// How often `last_used_at` is written behind while nothing waits; after half as much again also while something
    /// does. The contract allows a lag of 60 s.
    public var lastUsedSeconds: Int64 = 30
    /// Audit rows at most; the oldest go before their time.
    public var auditRowsMax: Int64 = 10_000_000
    /// How long an audit row stays after it is in the journal, synced.
    public var auditKeepSeconds: Int64 = 30 * 86_400
    /// Audit rows that go in one commit: some milliseconds of the writer's time.
    public var auditPruneRows: Int64 = 1_000
    /// How often rows are looked for that are old enough, and how often the journal's position is written behind.
    public var auditUpkeepSeconds: Int64 = 30
    /// For how long a wall clock that is new, or was set, is not believed where something would go for its age.
    public var clockTrustSeconds: Int64 = 3_600
    /// How often a database whose commit failed, or a disk that refused, is tried again.
    public var reopenMilliseconds = 1_000

    /// The defaults.
    public init() {}
}

/// What a store has to say to the log. Who gets it writes it; the store itself writes nothing.
public enum StoreEvent: Sendable {
    /// The index stands.
    case opened(applications: Int, tokens: Int, sequence: Int64, milliseconds: Int64)
    /// The disk refuses changes since now; said once until it takes them again.
    case storageRefuses(StoreError)
    /// The disk takes changes again.
    case storageRecovered
    /// A commit failed in the disk, so that nobody knows whether it happened; the database is reopened.
    case commitUnknown(StoreError)
    /// What the program asserts did not hold; the batch was rolled back and the index is made anew.
    case invariantBroken(StoreError)
    /// A checkpoint failed; the write-ahead log grows until one succeeds.
    case checkpointFailed(StoreError)
    /// Audit rows went: those of these numbers, just now.
    case auditCut(AuditMark)
    /// Tokens that were ended were presented; on record in the database.
    case endedTokensPresented([EndedPresentation])
    /// So many more were presented that they have no record each.
    case presentationsHeldBack([HeldBackRefusals])
    /// Somebody set the wall clock, forward (more than 0) or back.
    case clockSet(milliseconds: Int64)
    /// The last record was made at a time that is so far ahead: the wall clock was set back while nobody served.
    case clockBehindRecords(milliseconds: Int64)
    /// There was no randomness for a new token.
    case randomnessFailed
}
