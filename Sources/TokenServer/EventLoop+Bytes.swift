import CLinux
import Glibc
import Logging
import Systemd
import TokenModel
import TokenRPC

/// A connection's bytes, in and out.
extension EventLoop {
    func adopt(_ connection: Connection) {
        connections[connection.id] = connection
        enterTurn(connection)
        connection.isRegistered = false
        describe(connection)
        updateInterest(connection)
        if drainDeadline != nil { drain(connection) }
    }

    /// Looks at the process that connected, on a thread of its own. Nothing is read from the connection meanwhile, so that its
    /// descriptor stays its own: it is closed only where a stop's time is over.
    private func describe(_ connection: Connection) {
        let (id, descriptor, pid) = (connection.id, connection.descriptor, connection.credentials.pid)
        services.processes.submit(for: connection.account) { [inbox] in
            inbox.put(.described(connection: id, PeerProcess(peerOf: descriptor, pid: pid)))
        }
    }

    func described(_ connection: Connection, _ process: PeerProcess) {
        connection.process = process
        identify(connection)
        // Who has been waiting has most likely asked something by now.
        ready(connection, connection.isLooking ? 0 : EPOLLIN.rawValue)
    }

    /// Finds out who the uid is, at once where it is remembered.
    private func identify(_ connection: Connection) {
        let uid = connection.credentials.uid
        if let identity = services.names.known(uid, now: MonotonicClock.milliseconds) {
            name(connection, identity)
            return
        }
        // It will still say; until then this caller is told to try again.
        guard !connection.isAwaitingName else { return }
        connection.isAwaitingName = true
        connection.naming = .looking
        // Nothing is read until NSS has answered: that time is not the caller's.
        setDeadline(connection, milliseconds: Bounds.lookupMilliseconds)
        let id = connection.id
        services.names.look(up: uid, for: connection.account) { [inbox] identity in
            inbox.put(.identified(connection: id, identity))
        }
    }

    private func enterTurn(_ connection: Connection) {
        connection.turn = turns[connection.account] ?? UserTurn()
        connection.turn.connections += 1
        turns[connection.account] = connection.turn
    }

    func leaveTurn(_ connection: Connection) {
        connection.turn.connections -= 1
        if connection.turn.connections == 0 { turns[connection.account] = nil }
    }

    private func name(_ connection: Connection, _ identity: Identity) {
        let credentials = connection.credentials
        let isPrivileged =
            credentials.isOwner(ownUID: services.settings.ownUID) || credentials.isMember(of: identity.administrators)
        // A name vouches for a uid.
        let account = identity.userName != nil ? credentials.uid : credentials.account
        guard move(connection, to: account, isPrivileged: isPrivileged) else { return refuse(connection) }
        connection.naming = .known(
            connection.credentials.caller(
                identity, process: connection.process, account: connection.account,
                ownUID: services.settings.ownUID))
    }

    /// - Returns: false where that account has no room for it.
    private func move(_ connection: Connection, to account: UInt32, isPrivileged: Bool) -> Bool {
        guard connection.account != account else { return true }
        guard services.accounting.moveConnection(from: connection.account, to: account, isPrivileged: isPrivileged)
        else { return false }
        leaveTurn(connection)
        connection.account = account
        enterTurn(connection)
        return true
    }

    /// Its user has too many: as where a connection is accepted, one line with id null, then the close.
    private func refuse(_ connection: Connection) {
        if services.refusals.note("too_many_connections", connection.asker) {
            services.logger.report(
                .notice, .tooManyConnections, "a connection over the limit was refused",
                ["uid": "\(connection.credentials.uid)"])
        }
        connection.naming = .failed
        connection.deadline = nil
        failure(connection, Self.nullID, MethodFailure.tooManyConnections)
        connection.isClosing = true
    }

    func identified(_ connection: Connection, _ identity: Identity?) {
        connection.isAwaitingName = false
        guard let identity else {
            if connection.isLooking { cannotBeNamed(connection) }
            return
        }
        if connection.isLooking { connection.deadline = nil }
        name(connection, identity)
        advanceStored(connection)
        settle(connection)
    }

    /// NSS has failed, or has not answered in its time.
    func cannotBeNamed(_ connection: Connection) {
        if services.refusals.note("lookup_failed", connection.asker) {
            services.logger.report(
                .warning, .lookupFailed,
                "the user of a connection could not be looked up; its requests are refused for now",
                ["uid": "\(connection.credentials.uid)"])
        }
        connection.naming = .failed
        connection.deadline = nil
        if Principal.isRecycled(uid: connection.credentials.uid) {
            // Asked for later, the number may be another's, and the connection can have been handed on: it has to be a new one.
            failure(connection, Self.nullID, MethodFailure.callerUnknown)
            connection.isClosing = true
        } else if connection.account == PeerCredentials.unnamedAccount,
            !move(connection, to: connection.credentials.account, isPrivileged: false)
        {
            // Without a name it has no more room than those that never have one.
            refuse(connection)
        }
        advanceStored(connection)
        settle(connection)
    }

    func ready(_ connection: Connection, _ events: UInt32) {
        guard !connection.isClosed else { return }
        if events & (EPOLLHUP.rawValue | EPOLLERR.rawValue) != 0 {
            connection.peerHungUp = true
        }
        let canRead = !connection.isBlocked && !connection.inputEnded && !connection.isClosing && !connection.isLooking
        if canRead, events & (EPOLLIN.rawValue | EPOLLHUP.rawValue | EPOLLERR.rawValue) != 0 {
            receiveBytes(connection)
        }
        if connection.waitingLookups > 0 {
            unsettled.append(connection)
        } else {
            settle(connection)
        }
    }

    private func receiveBytes(_ connection: Connection) {
        let count = recv(connection.descriptor, chunk.baseAddress, chunk.count, 0)
        if count > 0 {
            let bytes = UnsafeRawBufferPointer(rebasing: chunk[..<count])
            defer { if let base = chunk.baseAddress { explicit_bzero(base, count) } }
            if connection.askAgain {
                connection.input.append(bytes)
                identify(connection)
                return advanceStored(connection)
            }
            if connection.input.count > 0 {
                connection.input.append(bytes)
                advanceStored(connection)
            } else {
                // The usual way: lines are taken straight from where they were received.
                let taken = advance(connection, bytes)
                if !connection.isClosed { connection.input.append(UnsafeRawBufferPointer(rebasing: bytes[taken...])) }
            }
        } else if count == 0 {
            connection.inputEnded = true
        } else if errno != EAGAIN && errno != EINTR {
            // What it asked and is still on its way stays charged to it until that is done.
            connection.inputEnded = true
            connection.outputBroken = true
        }
    }

    /// Goes on with what has been received and could not be taken before.
    func advanceStored(_ connection: Connection) {
        guard !connection.isClosed, !connection.isLooking else { return }
        let taken = advance(connection, connection.input.bytes)
        if !connection.isClosed { connection.input.removeFirst(taken) }
    }

    /// Sends what there is to send, goes on where that made room, and closes what has ended.
    func settle(_ connection: Connection) {
        guard !connection.isClosed else { return }
        answerLookups(connection)
        while true {
            flush(connection)
            guard connection.waitsForRoom, !connection.isLooking,
                connection.owedBytes < Bounds.outputHighWaterBytes
            else { break }
            advanceStored(connection)
            if connection.isClosed { return }
            answerLookups(connection)
        }
        if drainDeadline != nil, connection.watch != nil, connection.hasAnsweredAll {
            sayWatchEnds(connection, .shuttingDown)
            flush(connection)
        }
        if connection.isClosing || connection.hasNothingLeftToAsk,
            connection.backlogBytes == 0 || connection.outputBroken
        {
            // What was begun and not ended at the end of file is not a request.
            return close(connection)
        }
        if connection.isClosing, connection.deadline == nil { setDeadline(connection) }
        charge(connection)
        updateInterest(connection)
        catchUp(connection)
    }

    /// Charges the uid with what is kept of long answers until they are read.
    func charge(_ connection: Connection) {
        let kept = (connection.output?.count ?? 0) + (connection.batch?.answers.count ?? 0)
        let charged = kept > Bounds.unchargedAnswerBytes ? kept : 0
        guard charged != connection.held?.count ?? 0 else { return }
        connection.held = HeldBytes(charged, of: connection.account, services.accounting)
    }

    func flush(_ connection: Connection) {
        guard let output = connection.output else { return }
        while connection.sentBytes < output.count, !connection.outputBroken {
            let count = send(
                connection.descriptor, output.bytes.baseAddress.map { $0 + connection.sentBytes },
                output.count - connection.sentBytes, CInt(MSG_NOSIGNAL))
            if count >= 0 {
                connection.sentBytes += count
            } else if errno == EAGAIN {
                return compact(connection, output)
            } else if errno != EINTR {
                connection.outputBroken = true
            }
        }
        recycle(connection)
    }

    /// What was sent need not be kept; moved only where it is much, so that a slow caller costs no quadratic copying.
    private func compact(_ connection: Connection, _ output: ByteWriter) {
        guard connection.sentBytes >= Bounds.outputHighWaterBytes, connection.sentBytes * 2 >= output.count else {
            return
        }
        output.removeFirst(connection.sentBytes)
        connection.sentBytes = 0
    }

    /// Gives a connection's writer back, wiped where it held a secret.
    func recycle(_ connection: Connection) {
        guard let output = connection.output else { return }
        output.removeAll(wiping: connection.outputHoldsSecret)
        connection.output = nil
        connection.outputHoldsSecret = false
        connection.sentBytes = 0
        let isSmall = output.capacity <= 4 * Bounds.outputHighWaterBytes
        if isSmall, spareWriters.count < Bounds.spareWriters { spareWriters.append(output) }
    }

    /// Where a connection's answers are written.
    func writer(of connection: Connection) -> ByteWriter {
        if let output = connection.output { return output }
        let output = spareWriters.popLast() ?? ByteWriter()
        connection.output = output
        return output
    }
}

extension Connection {
    /// The caller sends no more, and all that it sent has its answer. One that watches has more to hear until it hangs up.
    fileprivate var hasNothingLeftToAsk: Bool { hasAnsweredAll && (watch == nil || peerHungUp) }

    /// The caller sends no more, and all that it sent has its answer.
    fileprivate var hasAnsweredAll: Bool { inputEnded && isIdle && batch == nil && !isBlocked && !isLooking }

    var isLooking: Bool {
        if case .looking = naming { true } else { false }
    }

    /// NSS failed before, and now there is something to ask it for again.
    var askAgain: Bool {
        if case .failed = naming { true } else { false }
    }
}
