import TokenModel
import TokenRPC

/// `introspect` requests of one turn of the loop, of whatever connections, that wait to be answered together: a look-up
/// of several fetches their memory side by side and takes the index's lock once. They wait only within one turn, and
/// anything else of their connection that is answered is answered after them.
final class Lookups {
    /// Whose it is, and its id: in `ids` where that has room, else in its line.
    struct Asker {
        // Alive: a connection that is closed lies in the loop's graveyard until the turn is over.
        let connection: Unmanaged<Connection>
        let id: UnsafeRawBufferPointer
    }

    private let digests = UnsafeMutablePointer<TokenDigest>.allocate(capacity: capacity)
    private let askers = UnsafeMutablePointer<Asker>.allocate(capacity: capacity)
    private let ids = UnsafeMutableRawPointer.allocate(byteCount: capacity * idBytes, alignment: 16)
    private(set) var count = 0

    private static var capacity: Int { LedgerLimits.lookups }
    /// Ids are copied up to this length; it holds every number and a UUID's hex digits.
    private static var idBytes: Int { 32 }

    /// Adds one whose answer goes with `id`.
    /// - Returns: whether others may be waited for: there is room, and the id does not lie in a line that goes.
    func add(_ digest: TokenDigest, id: UnsafeRawBufferPointer, of connection: Connection) -> Bool {
        var kept = id
        if let source = id.baseAddress, id.count <= Self.idBytes {
            let room = ids + count * Self.idBytes
            room.copyMemory(from: source, byteCount: id.count)
            kept = UnsafeRawBufferPointer(start: room, count: id.count)
        }
        (digests + count).initialize(to: digest)
        (askers + count).initialize(to: Asker(connection: .passUnretained(connection), id: kept))
        count += 1
        return count < Self.capacity && id.count <= Self.idBytes
    }

    /// Takes all of them.
    func take(_ body: (UnsafeBufferPointer<TokenDigest>, UnsafeBufferPointer<Asker>) -> Void) {
        let taken = count
        count = 0
        body(UnsafeBufferPointer(start: digests, count: taken), UnsafeBufferPointer(start: askers, count: taken))
    }

    deinit {
        digests.deallocate()
        askers.deallocate()
        ids.deallocate()
    }
}

extension EventLoop {
    /// Puts an `introspect` with those before it.
    func lookUp(_ connection: Connection, _ digest: TokenDigest, id: UnsafeRawBufferPointer) {
        connection.waitingLookups += 1
        let mayWait = lookups.add(digest, id: id, of: connection)
        // A batch's answer is bounded entry by entry, so its look-ups are not put off.
        if !mayWait || connection.batch != nil { answerLookups() }
    }

    /// Answers what a connection has asked before, so that something else can be answered behind it.
    func answerLookups(_ connection: Connection) {
        if connection.waitingLookups > 0 { answerLookups() }
    }

    /// Answers what waits, in the order in which it came; who was asked is settled at the end of the turn.
    private func answerLookups() {
        lookups.take { digests, askers in
            // Their writers first: nothing is to be allocated under the index's lock.
            for asker in askers {
                asker.connection._withUnsafeGuaranteedRef { connection in
                    connection.waitingLookups -= 1
                    if !connection.isClosed, connection.batch == nil { _ = writer(of: connection) }
                }
            }
            var inactive: UInt64 = 0
            services.ledger.introspect(digests) { place, token in
                askers[place].connection._withUnsafeGuaranteedRef { connection in
                    // Whoever is gone gets no answer; and nobody gets another's.
                    guard !connection.isClosed else { return }
                    answer(connection, askers[place].id, token)
                }
                if token == nil { inactive |= 1 << UInt64(place) }
            }
            guard inactive != 0 else { return }
            for place in digests.indices where inactive & 1 << UInt64(place) != 0 {
                services.ledger.noteInactive(
                    digests[place], by: presenter(askers[place].connection.takeUnretainedValue()))
            }
        }
    }

    /// Who presents a token, for the record of an ended one: by its uid alone where NSS cannot say more.
    private func presenter(_ connection: Connection) -> Caller {
        connection.caller
            ?? connection.credentials.caller(
                Identity(userName: nil, administrators: nil, verifiers: nil), process: connection.process,
                account: connection.account, ownUID: services.settings.ownUID)
    }

    private func answer(_ connection: Connection, _ id: UnsafeRawBufferPointer, _ token: ActiveToken?) {
        let writer = connection.batch?.answers ?? writer(of: connection)
        beginAnswer(connection, writer)
        writer.appendResultHead(id: id)
        if let token { writer.append(token) } else { writer.append(#"{"active":false}"#) }
        endAnswer(connection, writer)
    }

    /// The end of a turn: answers what still waits, and sends.
    func settleLookups() {
        if lookups.count > 0 { answerLookups() }
        guard !unsettled.isEmpty else { return }
        for connection in unsettled { settle(connection) }
        unsettled.removeAll(keepingCapacity: true)
    }
}
