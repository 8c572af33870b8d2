internal import Synchronization
public import TokenModel
internal import TokenRPC

/// Who was refused: as much as was known then.
public struct Asker: Sendable {
    /// Nil where the caller could not be looked up, or was not yet.
    public let principal: Principal?
    public let uid: UInt32
    public let gid: UInt32
    public let process: PeerProcess
    /// Whose share of the records it takes; nil: its principal's, for one of many units that one user asks for.
    let account: UInt32?

    init(_ caller: Caller?, _ credentials: PeerCredentials, _ process: PeerProcess? = nil) {
        account = caller?.account ?? credentials.account
        principal = caller?.principal
        uid = credentials.uid
        gid = credentials.gid
        self.process = caller?.process ?? process ?? PeerProcess(pid: credentials.pid)
    }

    init(unit caller: Caller) {
        account = nil
        principal = caller.principal
        uid = caller.uid
        gid = caller.gid
        process = caller.process
    }
}

/// A request, or a connection, that was refused: for the record.
public struct RefusedRequest: Sendable {
    /// What it would have been done to, as far as the request names it.
    typealias Target = (application: ApplicationName?, project: ProjectCode?)

    /// The wire's word for why, or what closed the connection.
    public let reason: String
    /// Nil for a connection that was refused or closed, whatever it asked.
    public let method: String?
    public let asker: Asker
    public let application: ApplicationName?
    public let project: ProjectCode?
}

/// What was refused, to be recorded outside of the audit's sequence. A caller can be refused as often as it likes, so
/// each account's records are limited by a token bucket, and what is held back is counted. The log's lines of a caller's
/// making go by the same bucket: a flood of either would push the audit's records out of the journal.
public final class RefusalLog: Sendable {
    /// Records of one account at once.
    static let burst: Int64 = 20
    /// Then one in so long.
    static let millisecondsEach: Int64 = 1_000
    /// Accounts with a bucket of their own; all others share one.
    static let bucketsMax = 1_024

    /// Whom a bucket is of.
    private enum Owner: Hashable {
        case unit(Principal)
        case account(UInt32)
        case others
    }

    private struct Bucket {
        var records = RefusalLog.burst
        var filledAt: Int64
        var heldBack: Int64 = 0
        /// Of whom it is, as far as it is of one.
        var principal: Principal?
        let uid: UInt32?

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

    /// A closure alone in a generic type is wrapped once more by the compiler each time that it is read in place: after
    /// 20,000 records the stack was full.
    private struct Sink: Sendable {
        let put: @Sendable (RefusedRequest) -> Void
    }

    private let buckets = Mutex<[Owner: Bucket]>([:])
    private let sink = Mutex<Sink?>(nil)
    private let now: @Sendable () -> Int64

    init(now: @escaping @Sendable () -> Int64) { self.now = now }

    /// Says where the records go, which must not block: it is called on the event loops.
    public func send(to sink: @escaping @Sendable (RefusedRequest) -> Void) {
        self.sink.withLock { $0 = Sink(put: sink) }
    }

    /// Records a refusal, or counts it. `target` is asked only where there is a record.
    /// - Returns: whether there is a record, and so room for a line of the log.
    @discardableResult
    func note(
        _ reason: String, _ asker: Asker, _ method: Method? = nil, target: () -> RefusedRequest.Target = { (nil, nil) }
    ) -> Bool {
        guard take(asker) else { return false }
        let target = target()
        let refused = RefusedRequest(
            reason: reason, method: method?.name.description, asker: asker, application: target.application,
            project: target.project)
        sink.withLock { $0 }?.put(refused)
        return true
    }

    /// - Returns: false where the record is held back.
    private func take(_ asker: Asker) -> Bool {
        let now = now()
        let owner = asker.account.map { Owner.account($0) } ?? asker.principal.map { .unit($0) } ?? .others
        let isShared = asker.account.map(PeerCredentials.isShared) ?? false
        return buckets.withLock { buckets in
            if buckets[owner] == nil, buckets.count >= Self.bucketsMax {
                buckets = buckets.filter { !$0.value.isIdle(now: now) }
            }
            let isKept = buckets[owner] != nil || buckets.count < Self.bucketsMax
            let isOfOne = isKept && !isShared
            var bucket =
                buckets[isKept ? owner : .others] ?? Bucket(filledAt: now, uid: isOfOne ? asker.uid : nil)
            if isOfOne { bucket.principal = asker.principal ?? bucket.principal }
            defer { buckets[isKept ? owner : .others] = bucket }
            return bucket.take(now: now)
        }
    }

    /// What was held back since this was asked last, each for a record of its own.
    public func takeHeldBack() -> [HeldBackRefusals] {
        buckets.withLock { buckets in
            var found: [HeldBackRefusals] = []
            for (owner, bucket) in buckets where bucket.heldBack > 0 {
                found.append(HeldBackRefusals(principal: bucket.principal, uid: bucket.uid, count: bucket.heldBack))
                buckets[owner]?.heldBack = 0
            }
            return found
        }
    }
}

extension Connection {
    /// Who is at the other end, for a record of a refusal.
    var asker: Asker { Asker(caller, credentials, process) }
}

extension Command {
    /// Whose tokens it would have changed, and for what.
    var target: RefusedRequest.Target {
        switch self {
        case .register(let application, let project, _), .generate(let application, let project, _),
            .rotate(let application, let project, _, _), .revoke(let application, let project):
            (application, project)
        case .revokeToken: (nil, nil)
        case .revokeProject(let project): (nil, project)
        case .unregister(let application): (application, nil)
        }
    }

    /// The method that it came by.
    var method: Method {
        switch self {
        case .register: .register
        case .generate: .generate
        case .rotate: .rotate
        case .revokeToken, .revoke, .revokeProject: .revoke
        case .unregister: .unregister
        }
    }
}
