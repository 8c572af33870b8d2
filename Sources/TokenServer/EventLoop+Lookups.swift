import TokenModel
import TokenRPC

/// `introspect` requests of one connection that came together and wait to be answered together: a look-up of several
/// fetches their memory side by side and takes the index's lock once. They wait only within one turn of the loop, and
/// anything else of that connection that is answered is answered after them.
struct Lookups: ~Copyable {
    private let digests = UnsafeMutablePointer<TokenDigest>.allocate(capacity: capacity)
    private let ids = UnsafeMutablePointer<UnsafeRawBufferPointer>.allocate(capacity: capacity)
    private(set) var count = 0

    private static var capacity: Int { LedgerLimits.lookups }

    var isFull: Bool { count == Self.capacity }

    /// Adds one whose answer goes with `id`, which lies in the line and stays there until it is answered.
    mutating func add(_ digest: TokenDigest, id: UnsafeRawBufferPointer) {
        (digests + count).initialize(to: digest)
        (ids + count).initialize(to: id)
        count += 1
    }

    /// Takes all of them.
    mutating func take(
        _ body: (UnsafeBufferPointer<TokenDigest>, UnsafeBufferPointer<UnsafeRawBufferPointer>) -> Void
    ) {
        let taken = count
        count = 0
        body(UnsafeBufferPointer(start: digests, count: taken), UnsafeBufferPointer(start: ids, count: taken))
    }

    deinit {
        digests.deallocate()
        ids.deallocate()
    }
}

extension EventLoop {
    /// Puts an `introspect` with those before it.
    func lookUp(_ connection: Connection, _ digest: TokenDigest, id: UnsafeRawBufferPointer) {
        lookups.add(digest, id: id)
        // A batch's answer is bounded entry by entry, so its look-ups are not put off.
        if lookups.isFull || connection.batch != nil { answerLookups(connection) }
    }

    /// Answers what waits, in the order in which it came.
    func answerLookups(_ connection: Connection) {
        guard lookups.count > 0 else { return }
        // Whoever is gone gets no answer; and nobody gets another's.
        guard !connection.isClosed else { return lookups.take { _, _ in } }
        let writer = connection.batch?.answers ?? writer(of: connection)
        lookups.take { digests, ids in
            var inactive: UInt64 = 0
            services.ledger.introspect(digests) { place, token in
                beginAnswer(connection, writer)
                writer.appendResultHead(id: ids[place])
                if let token {
                    writer.append(token)
                } else {
                    writer.append(#"{"active":false}"#)
                    inactive |= 1 << UInt64(place)
                }
                endAnswer(connection, writer)
            }
            guard inactive != 0, let caller = connection.caller else { return }
            for place in digests.indices where inactive & 1 << UInt64(place) != 0 {
                services.ledger.noteInactive(digests[place], by: caller)
            }
        }
    }
}
