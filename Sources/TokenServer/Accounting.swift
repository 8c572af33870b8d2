import Synchronization
import TokenModel

/// What each account has of what is scarce: a uid's, or that of many uids without a name (`PeerCredentials.account`). Charged once, where it is created, and released in one place: a connection is charged at
/// accept and released when its descriptor is closed.
///
/// A connection is admitted while
///     all + 1 <= connections - (privileged ? 0 : reserved)   and   (privileged or of this uid + 1 <= per user).
final class Accounting: Sendable {
    private struct Bucket: Sendable {
        var tokens: Double
        var filledAt: Int64
    }

    private struct Books: Sendable {
        var settings: ServerSettings
        var connections = 0
        var connectionsByUser: [UInt32: Int] = [:]
        var buckets: [UInt32: Bucket] = [:]
        var heldBytes = 0
        var heldBytesByUser: [UInt32: Int] = [:]

        /// Whether a bucket says no more than that there is none.
        func isFull(_ bucket: Bucket) -> Bool {
            guard let rate = settings.mutationsPerSecondPerUser else { return true }
            let elapsed = MonotonicClock.milliseconds - bucket.filledAt
            return bucket.tokens + Double(elapsed * Int64(rate)) / 1_000 >= Double(rate)
        }
    }

    private let books: Mutex<Books>

    init(_ settings: ServerSettings) {
        books = Mutex(Books(settings: settings))
    }

    func apply(_ settings: ServerSettings) { books.withLock { $0.settings = settings } }

    var connections: Int { books.withLock { $0.connections } }

    func admitConnection(uid: UInt32, isPrivileged: Bool) -> Bool {
        books.withLock { books in
            let room = books.settings.connections - (isPrivileged ? 0 : Bounds.reservedConnections)
            let own = books.connectionsByUser[uid, default: 0]
            guard books.connections < room, isPrivileged || own < books.settings.connectionsPerUser else {
                return false
            }
            books.connections += 1
            books.connectionsByUser[uid] = own + 1
            return true
        }
    }

    func releaseConnection(uid: UInt32) {
        books.withLock { books in
            books.connections -= 1
            let own = books.connectionsByUser[uid, default: 0] - 1
            books.connectionsByUser[uid] = own > 0 ? own : nil
            if own <= 0, let bucket = books.buckets[uid], books.isFull(bucket) { books.buckets[uid] = nil }
        }
    }

    /// Charges a connection to another account, where that has room for it.
    func moveConnection(from old: UInt32, to new: UInt32, isPrivileged: Bool) -> Bool {
        books.withLock { books in
            let own = books.connectionsByUser[new, default: 0]
            guard isPrivileged || own < books.settings.connectionsPerUser else { return false }
            books.connectionsByUser[new] = own + 1
            let left = books.connectionsByUser[old, default: 0] - 1
            books.connectionsByUser[old] = left > 0 ? left : nil
            return true
        }
    }

    /// Takes one mutation from a user's rate.
    /// - Returns: nil, or in how many milliseconds to try again.
    func takeMutation(uid: UInt32) -> Int? {
        let now = MonotonicClock.milliseconds
        return books.withLock { books in
            guard let rate = books.settings.mutationsPerSecondPerUser else { return nil }
            var bucket = books.buckets[uid] ?? Bucket(tokens: Double(rate), filledAt: now)
            bucket.tokens = min(Double(rate), bucket.tokens + Double((now - bucket.filledAt) * Int64(rate)) / 1_000)
            bucket.filledAt = now
            defer { books.buckets[uid] = bucket }
            guard bucket.tokens >= 1 else { return Int((1 - bucket.tokens) * 1_000 / Double(rate)) + 1 }
            bucket.tokens -= 1
            return nil
        }
    }

    /// Gives back one that was taken for a mutation that nobody took.
    func giveBackMutation(uid: UInt32) {
        books.withLock { books in
            guard let rate = books.settings.mutationsPerSecondPerUser, let tokens = books.buckets[uid]?.tokens else {
                return
            }
            books.buckets[uid]?.tokens = min(Double(rate), tokens + 1)
        }
    }

    /// Whether a further long answer may be made. One may go over the bound, for its length is known only then.
    func mayHoldMore(uid: UInt32, isPrivileged: Bool) -> Bool {
        books.withLock { books in
            if isPrivileged { return books.heldBytes < Bounds.answerBytes }
            return books.heldBytes < Bounds.answerBytes - Bounds.answerBytesPerUser
                && books.heldBytesByUser[uid, default: 0] < Bounds.answerBytesPerUser
        }
    }

    fileprivate func hold(_ change: Int, of uid: UInt32) {
        books.withLock { books in
            books.heldBytes += change
            let own = books.heldBytesByUser[uid, default: 0] + change
            books.heldBytesByUser[uid] = own == 0 ? nil : own
        }
    }
}

/// Bytes that are kept for a caller and charged to its uid for as long as this is there.
final class HeldBytes: Sendable {
    let count: Int
    private let uid: UInt32
    private let accounting: Accounting

    /// - Returns: nil for none.
    init?(_ count: Int, of uid: UInt32, _ accounting: Accounting) {
        guard count > 0 else { return nil }
        self.count = count
        self.uid = uid
        self.accounting = accounting
        accounting.hold(count, of: uid)
    }

    deinit { accounting.hold(-count, of: uid) }
}
