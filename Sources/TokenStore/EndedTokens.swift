internal import Synchronization
internal import TokenModel

/// Which tokens were ended lately, and who has presented one since. Bounded: the last `tokensMax` of `keepSeconds`, and
/// `presentationsMax` at once. No token's row tells these from tokens that never were: that is what this is for.
final class EndedTokens: Sendable {
    static let tokensMax = 1_000_000
    static let keepSeconds: Int64 = 30 * 86_400
    /// A token and caller are one record in so long.
    static let windowMilliseconds: Int64 = 60_000
    /// Pairs of token and caller within a window, of all callers and of one account: who presents all that it has had shall
    /// not hide who presents what it has found. Others of that window are counted.
    static let presentationsMax = 10_000
    static let presentationsOfUserMax = 100
    /// Accounts that are counted each for itself.
    private static let countedUsersMax = 1_000

    /// Small sets, so that growing one holds nobody up for long.
    private static let shards = 64

    /// A token that ended, and when.
    struct Ended {
        let fingerprint: UInt64
        let seconds: Int64
    }

    // @unchecked: its memory is its own, and it is not copied.
    private struct Known: ~Copyable, @unchecked Sendable {
        private let sets = UnsafeMutablePointer<FingerprintSet>.allocate(capacity: EndedTokens.shards)
        /// In the order of their ends.
        var order = EndedQueue()

        init() {
            for shard in 0..<EndedTokens.shards { (sets + shard).initialize(to: FingerprintSet()) }
        }

        deinit {
            sets.deinitialize(count: EndedTokens.shards)
            sets.deallocate()
        }

        private func shard(_ fingerprint: UInt64) -> UnsafeMutablePointer<FingerprintSet> {
            sets + Int(fingerprint % UInt64(EndedTokens.shards))
        }

        func contains(_ fingerprint: UInt64) -> Bool { shard(fingerprint).pointee.contains(fingerprint) }

        func prefetch(_ fingerprint: UInt64) { shard(fingerprint).pointee.prefetch(fingerprint) }

        mutating func add(_ fingerprint: UInt64, _ seconds: Int64) {
            guard shard(fingerprint).pointee.insert(fingerprint) else { return }
            order.append(Ended(fingerprint: fingerprint, seconds: seconds))
        }

        /// Forgets the oldest while there are too many, or they are too old.
        mutating func trim(olderThan seconds: Int64) {
            while let oldest = order.oldest, order.count > EndedTokens.tokensMax || oldest.seconds < seconds {
                shard(oldest.fingerprint).pointee.remove(oldest.fingerprint)
                order.removeOldest()
            }
        }
    }

    private struct Key: Hashable {
        let fingerprint: Fingerprint
        let uid: UInt32
        let principal: Principal
        let account: UInt32
    }

    private struct Presented {
        var found: EndedPresentation
        let since: Int64
    }

    private let known = Mutex(Known())
    private struct Presentations {
        var found: [Key: Presented] = [:]
        /// Of each account, those of `found`.
        var pairs: [UInt32: Int] = [:]
        /// Of each account, with whose it is where it is one's.
        var heldBack: [UInt32: (owner: Caller?, count: Int64)] = [:]
        var heldBackOfOthers: Int64 = 0

        mutating func holdBack(_ caller: Caller) {
            if heldBack[caller.account] == nil, heldBack.count >= EndedTokens.countedUsersMax {
                heldBackOfOthers += 1
            } else {
                heldBack[caller.account, default: (caller.account == caller.uid ? caller : nil, 0)].count += 1
            }
        }
    }

    private let presented = Mutex(Presentations())

    /// Takes what a commit ended. Where the clock is new, nothing is forgotten for its age.
    func add(_ records: [AuditRecord], trimming: Bool) {
        guard let last = records.last else { return }
        known.withLock { known in
            // All places first, so that the memory's latency is paid once and not once a token.
            // By their places: a record is not copied to be looked at.
            for place in records.indices { for ended in records[place].ended { known.prefetch(ended.value) } }
            for place in records.indices {
                let seconds = records[place].time.seconds
                for ended in records[place].ended { known.add(ended.value, seconds) }
                for lapsed in records[place].lapsed { known.add(lapsed.value, seconds) }
                for token in records[place].shortened { known.add(token.fingerprint.value, seconds) }
            }
            known.trim(olderThan: trimming ? last.time.seconds - Self.keepSeconds : .min)
        }
    }

    /// Takes what was ended before the start; the newest stay where there are too many.
    func addOlder(_ older: [Ended]) {
        // Without the lock, for it may be a million, and callers and the writer wait for it.
        var all = Known()
        for one in older { all.add(one.fingerprint, one.seconds) }
        known.withLock { known in
            known.order.forEach { all.add($0.fingerprint, $0.seconds) }
            all.trim(olderThan: .min)
            swap(&known, &all)
        }
    }

    /// Notes that a token, which is not alive, was presented, if it is one that was ended.
    func notePresented(_ digest: TokenDigest, by caller: Caller, at wall: Instant, bootMilliseconds: Int64) {
        let fingerprint = digest.fingerprint
        guard known.withLock({ $0.contains(fingerprint.value) }) else { return }
        let key = Key(
            fingerprint: fingerprint, uid: caller.uid, principal: caller.principal, account: caller.account)
        presented.withLock { presented in
            if presented.found[key] != nil {
                presented.found[key]?.found.count += 1
            } else if presented.found.count >= Self.presentationsMax
                || presented.pairs[caller.account, default: 0] >= Self.presentationsOfUserMax
            {
                presented.holdBack(caller)
            } else {
                presented.pairs[caller.account, default: 0] += 1
                presented.found[key] = Presented(
                    found: EndedPresentation(
                        time: wall, fingerprint: fingerprint, principal: caller.principal, uid: caller.uid,
                        gid: caller.gid, process: caller.process, count: 1),
                    since: bootMilliseconds)
            }
        }
    }

    /// Takes out what was begun more than a window before, or all; the oldest first.
    func takePresented(at bootMilliseconds: Int64, all: Bool) -> [EndedPresentation] {
        presented.withLock { presented in
            let due = presented.found.filter { all || bootMilliseconds - $0.value.since >= Self.windowMilliseconds }
            for key in due.keys {
                presented.found[key] = nil
                presented.pairs[key.account, default: 0] -= 1
                if presented.pairs[key.account] == 0 { presented.pairs[key.account] = nil }
            }
            return due.values.map(\.found).sorted { $0.time < $1.time }
        }
    }

    /// What was held back since this was asked last.
    func takeHeldBack() -> [HeldBackRefusals] {
        presented.withLock { presented in
            var taken = presented.heldBack.values.map {
                HeldBackRefusals(principal: $0.owner?.principal, uid: $0.owner?.uid, count: $0.count)
            }
            if presented.heldBackOfOthers > 0 {
                taken.append(HeldBackRefusals(principal: nil, uid: nil, count: presented.heldBackOfOthers))
            }
            presented.heldBack = [:]
            presented.heldBackOfOthers = 0
            return taken
        }
    }
}
