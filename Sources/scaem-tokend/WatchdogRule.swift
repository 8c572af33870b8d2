import TokenModel

/// Whether the watchdog may be fed: only when every event loop has answered since the last look, and the writer has, or is
/// in a call that only the disk can end, for no longer than a bound. Pure: no clock, no I/O.
struct WatchdogRule {
    /// A disk that takes this long for one sync is taken for dead: the daemon is started again, which also opens the
    /// database anew. A healthy but overloaded disk takes seconds; a RAID that loses a member, or a SAN that fails over,
    /// may take a minute or two.
    static let slowDiskMilliseconds: Int64 = 300_000
    /// From here on a sync is worth a word: `systemctl status` says what is waited for.
    static let noteworthyDiskMilliseconds: Int64 = 1_000
    /// Looks that a part may miss before it is named in the journal. The watchdog fires after the fourth.
    private static let missedLooks = 2

    struct Verdict: Equatable {
        var mayFeed = true
        /// The parts that have just been found stuck: each is named once.
        var newlyStuck: [String] = []
        /// The writer has just been found waiting for the disk: said once for each wait.
        var isNewlySlow = false
        /// For how long the writer has been waiting for the disk, where that is noteworthy.
        var diskMilliseconds: Int64?
    }

    private var missed: [String: Int] = [:]
    private var wasSlow = false

    mutating func look(loops: [(name: String, hasAnswered: Bool)], writer: WriterState) -> Verdict {
        var verdict = Verdict()
        for loop in loops { note(loop.name, isAlive: loop.hasAnswered, &verdict) }
        let inDisk = writer.inDiskMilliseconds
        let isWaiting = inDisk.map { $0 < Self.slowDiskMilliseconds } ?? false
        note("writer", isAlive: writer.hasAnswered || isWaiting, &verdict)
        if let inDisk, inDisk >= Self.noteworthyDiskMilliseconds { verdict.diskMilliseconds = inDisk }
        let isSlow = verdict.diskMilliseconds != nil
        verdict.isNewlySlow = isSlow && !wasSlow
        wasSlow = isSlow
        return verdict
    }

    private mutating func note(_ part: String, isAlive: Bool, _ verdict: inout Verdict) {
        guard !isAlive else {
            missed[part] = nil
            return
        }
        verdict.mayFeed = false
        missed[part, default: 0] += 1
        if missed[part] == Self.missedLooks { verdict.newlyStuck.append(part) }
    }
}
