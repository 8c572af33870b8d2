internal import Synchronization
public import TokenModel

/// A request, or a connection, that was refused: for the record.
public struct RefusedRequest: Sendable {
    /// The wire's word for why, or what closed the connection.
    public let reason: String
    /// Nil where the caller could not be looked up, or was not yet.
    public let principal: Principal?
    public let uid: UInt32
    public let gid: UInt32
    public let pid: Int32
    public let unit: String?
    public let application: ApplicationName?
    public let project: ProjectCode?
    /// Refusals of this uid that were held back before this one.
    public let heldBack: Int64
}

/// What was refused, to be recorded outside of the audit's sequence. A caller can be refused as often as it likes, so
/// each uid's records are limited by a token bucket, and what is held back is counted.
public final class RefusalLog: Sendable {
    /// Records of one uid at once.
    static let burst: Int64 = 20
    /// Then one in so long.
    static let millisecondsEach: Int64 = 1_000
    /// Uids with a bucket of their own; all others share one.
    static let uidsMax = 1_024

    private struct Bucket {
        var records = RefusalLog.burst
        var filledAt: Int64
        var heldBack: Int64 = 0

        /// - Returns: whether a record may be written now.
        mutating func take(now: Int64) -> Bool {
            let more = (now - filledAt) / RefusalLog.millisecondsEach
            if more > 0 {
                records = min(RefusalLog.burst, records + more)
                filledAt = records == RefusalLog.burst ? now : filledAt + more * RefusalLog.millisecondsEach
            }
            guard records > 0 else {
                heldBack += 1
                return false
            }
            records -= 1
            return true
        }

        func isIdle(now: Int64) -> Bool {
            heldBack == 0 && now - filledAt >= RefusalLog.burst * RefusalLog.millisecondsEach
        }
    }

    private let buckets = Mutex<[UInt32: Bucket]>([:])
    private let sink = Mutex<(@Sendable (RefusedRequest) -> Void)?>(nil)
    private let now: @Sendable () -> Int64

    /// Stands for all uids that have no bucket of their own; no user has this number (chown(2) takes it for "none").
    private static let others = UInt32.max

    init(now: @escaping @Sendable () -> Int64) { self.now = now }

    /// Says where the records go, which must not block: it is called on the event loops.
    public func send(to sink: @escaping @Sendable (RefusedRequest) -> Void) { self.sink.withLock { $0 = sink } }

    func note(
        _ reason: String, _ caller: Caller?, _ credentials: PeerCredentials, application: ApplicationName? = nil,
        project: ProjectCode? = nil
    ) {
        guard let heldBack = take(uid: credentials.uid) else { return }
        let refused = RefusedRequest(
            reason: reason, principal: caller?.principal, uid: credentials.uid, gid: credentials.gid,
            pid: credentials.pid, unit: caller?.unit, application: application, project: project, heldBack: heldBack)
        sink.withLock { $0 }?(refused)
    }

    /// - Returns: nil where the record is held back, else how many were before it.
    private func take(uid: UInt32) -> Int64? {
        let now = now()
        return buckets.withLock { buckets in
            if buckets[uid] == nil, buckets.count >= Self.uidsMax {
                buckets = buckets.filter { !$0.value.isIdle(now: now) }
            }
            let key = buckets[uid] != nil || buckets.count < Self.uidsMax ? uid : Self.others
            var bucket = buckets[key] ?? Bucket(filledAt: now)
            defer { buckets[key] = bucket }
            guard bucket.take(now: now) else { return nil }
            defer { bucket.heldBack = 0 }
            return bucket.heldBack
        }
    }

    /// What was held back of uids that were not refused again since, for a record of its own.
    public func takeHeldBack() -> [(uid: UInt32, count: Int64)] {
        let now = now()
        return buckets.withLock { buckets in
            var found: [(uid: UInt32, count: Int64)] = []
            for (uid, bucket) in buckets where bucket.heldBack > 0 && now - bucket.filledAt >= Self.millisecondsEach {
                found.append((uid, bucket.heldBack))
                buckets[uid]?.heldBack = 0
            }
            return found
        }
    }
}

extension Command {
    /// Whose tokens it would have changed, and for what.
    var target: (application: ApplicationName?, project: ProjectCode?) {
        switch self {
        case .register(let application, let project, _), .generate(let application, let project, _),
            .rotate(let application, let project, _, _), .revoke(let application, let project):
            (application, project)
        case .revokeToken: (nil, nil)
        case .revokeProject(let project): (nil, project)
        case .unregister(let application): (application, nil)
        }
    }
}
