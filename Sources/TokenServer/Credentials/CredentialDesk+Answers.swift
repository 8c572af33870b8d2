import CLinux
import Glibc
public import Logging
import Systemd
import TokenModel

/// What a connection gets, and how it leaves.
extension CredentialDesk {
    /// Begins with a connection, or goes on where another instance stopped.
    func resume(_ connection: CredentialConnection) {
        switch CredentialStream(of: connection.descriptor).resume {
        case .answer: decide(connection)
        case .end: end(connection)
        case .refuse: refuse(connection, .interrupted)
        case .forget: finish(connection)
        }
    }

    /// Who asks, and whether it may.
    private func decide(_ connection: CredentialConnection) {
        let peer = PeerCredentials(descriptor: connection.descriptor)
        connection.peer = peer
        guard let peer, peer.uid == 0 else {
            connection.patienceEnds = MonotonicClock.milliseconds + Bounds.strangerPatienceMilliseconds
            armTimer()
            return refuse(connection, .notRoot)
        }
        guard let address = CredentialAddress(peerOf: connection.descriptor) else {
            return refuse(connection, .notSystemd)
        }
        connection.address = address
        let named = grants.first { $0.unit == address.unit && $0.credential == address.credential }
        guard let named else { return refuse(connection, .notNamed) }
        guard MonotonicClock.milliseconds < drainDeadline ?? .max else { return refuse(connection, .shuttingDown) }
        guard starts.take(named, now: MonotonicClock.milliseconds) else { return refuse(connection, .tooOften) }
        var steps = CredentialSteps(named, ttlSeconds: ttlSeconds)
        let action = steps.begin()
        act(connection, steps, action, until: MonotonicClock.milliseconds + Bounds.credentialPatienceMilliseconds)
    }

    /// What became of a connection's command. The ledger has it on the disk.
    func ended(_ mutation: Mutation) {
        guard let connection = connections[mutation.ticket.connection],
            case .asked(var steps) = connection.state, mutation.ticket.position == connection.submitted
        else { return }
        let action = steps.ended(mutation.outcome ?? .unknown)
        act(connection, steps, action, until: MonotonicClock.milliseconds + Bounds.credentialPatienceMilliseconds)
    }

    func act(
        _ connection: CredentialConnection, _ steps: CredentialSteps, _ action: CredentialSteps.Action, until: Int64
    ) {
        switch action {
        case .submit(let command):
            connection.submitted += 1
            connection.state = .asked(steps)
            switch services.ledger.submit(mutation(command, of: connection, steps.grant)) {
            case .accepted: break
            case .full:
                connection.state = .waiting(steps, command: action, until: until)
                armTimer()
            case .closed: refuse(connection, .shuttingDown)
            }
        case .give(let credentials): give(connection, credentials)
        case .refuse(let refusal): refuse(connection, refusal)
        }
    }

    /// The unit itself is the caller, with no right but the one that the configuration gives it.
    private func mutation(
        _ command: Command, of connection: CredentialConnection, _ grant: CredentialGrant
    ) -> Mutation {
        return Mutation(
            command: command, caller: caller(connection, grant.unit),
            ticket: Mutation.Ticket(loop: loopIndex, connection: connection.id, position: connection.submitted))
    }

    /// Its process is the service manager's own, whose name says nothing.
    private func caller(_ connection: CredentialConnection, _ unit: String) -> Caller {
        let peer = connection.peer
        return Caller(
            principal: .unit(unit), uid: peer?.uid ?? 0, gid: peer?.gid ?? 0,
            process: PeerProcess(
                pid: peer?.pid ?? 0, unit: unit, invocationID: ServiceManager.invocationID(ofUnit: unit)),
            isAdministrator: false)
    }

    /// On record as other refusals are. The unit is believed only where root says it.
    private func note(_ refusal: CredentialRefusal, of connection: CredentialConnection) {
        guard let reason = refusal.reason, let peer = connection.peer else { return }
        let address = peer.uid == 0 ? connection.address : nil
        let grant = grants.first { $0.unit == address?.unit && $0.credential == address?.credential }
        services.refusals.note(
            reason.description, address.map { Asker(unit: caller(connection, $0.unit)) } ?? Asker(nil, peer)
        ) { (grant?.application, grant?.project) }
    }

    // MARK: The last word

    /// The token alone. The buffer is empty, so it leaves whole in the one send(2) or not at all.
    private func give(_ connection: CredentialConnection, _ credentials: Credentials) {
        guard CredentialStream.set(.token, on: connection.descriptor) else { return refuse(connection, .internalError) }
        let sent = credentials.token.withBytes { token in
            var sent: Int
            repeat {
                sent = send(connection.descriptor, token.baseAddress, token.count, CInt(MSG_NOSIGNAL))
            } while sent < 0 && errno == EINTR
            return sent
        }
        if sent == TokenSecret.length {
            services.logger.report(
                .info, .credentialGiven, "a unit was given its credential",
                [
                    "unit": "\(connection.address?.unit ?? "unknown")",
                    "credential": "\(connection.address?.credential ?? "unknown")",
                    "pid": "\(connection.peer?.pid ?? 0)",
                ])
            end(connection)
        } else if sent < 0, errno == EPIPE || errno == ECONNRESET {
            finish(connection)
        } else {
            services.logger.report(
                .error, .kernelRefused, "a token could not be sent to a unit", ["errno": "\(errno)"])
            refuse(connection, .internalError)
        }
    }

    func refuse(_ connection: CredentialConnection, _ refusal: CredentialRefusal) {
        Self.say(refusal, connection.address, connection.peer, services.logger)
        note(refusal, of: connection)
        // Without the mark a successor would take what has left for nothing, or for a token; it then refuses as well,
        // unless all has been read by then, so this is not left unsaid.
        if !CredentialStream.set(.refusal, on: connection.descriptor) {
            services.logger.report(
                .error, .kernelRefused, "a refusal could not be marked", ["errno": "\(errno)"])
        }
        sendRefusal(connection, RefusalBytes.count)
    }

    /// The unit stands in the sentence too: it is what an administrator looks for.
    static func say(
        _ refusal: CredentialRefusal, _ address: CredentialAddress?, _ peer: PeerCredentials?, _ logger: Logger
    ) {
        let unit = address?.unit ?? "unknown"
        let credential = address?.credential ?? "unknown"
        logger.report(
            .warning, .credentialRefused, "a credential was refused, so that its unit fails to start",
            [
                "reason": "\(unit), \(credential): \(refusal.sentence)", "unit": "\(unit)",
                "credential": "\(credential)", "pid": "\(peer?.pid ?? 0)",
                "uid": "\(peer.map { "\($0.uid)" } ?? "unknown")",
            ])
    }

    func sendRefusal(_ connection: CredentialConnection, _ left: Int) {
        switch RefusalBytes.send(left, to: connection.descriptor) {
        case .all: end(connection)
        case .gone: finish(connection)
        case .blocked(let left):
            connection.state = .refusing(left: left)
            awaitWriting(connection)
        }
    }

    private func awaitWriting(_ connection: CredentialConnection) {
        guard !connection.awaitsWriting else { return }
        var event = epoll_event(events: EPOLLOUT.rawValue, data: epoll_data_t(u64: connection.id))
        connection.awaitsWriting = epoll_ctl(descriptor, EPOLL_CTL_MOD, connection.descriptor, &event) == 0
        if !connection.awaitsWriting { armTimer() }
    }

    /// The end of the stream, which the consumer waits for. Shut down rather than only closed: the service manager's
    /// copy keeps the socket open.
    private func end(_ connection: CredentialConnection) {
        shutdown(connection.descriptor, CInt(SHUT_WR))
        finish(connection)
    }

    /// Lets go of a connection: the one place where its descriptor is closed.
    func finish(_ connection: CredentialConnection, keepStored: Bool = false) {
        connections[connection.id] = nil
        // By hand: with a copy in the service manager's store, closing does not take it out of epoll(7).
        var event = epoll_event()
        epoll_ctl(descriptor, EPOLL_CTL_DEL, connection.descriptor, &event)
        keeper?.note(connection.descriptor, isStored: false)
        close(connection.descriptor)
        // Where this is lost, the next instance finds a stream that has ended.
        if !keepStored, connection.isStored, let name = connection.name, store?.remove(name: name) == false {
            if removals.count < Bounds.pendingCredentials { removals.append(name) }
            armTimer()
        }
        armTimerIfPaused()
    }
}

/// What waits for a daemon that could not start: systemd drops its store then, and who waits would get an empty
/// credential.
public enum StoredConnections {
    /// Refuses all of them, and returns when they have read it or the time is over.
    public static func refuse(_ stored: [StoredConnection], logger: Logger, withinMilliseconds: Int64 = 5_000) {
        var left: [CInt: Int] = [:]
        for connection in stored {
            switch CredentialStream(of: connection.descriptor).resume {
            case .forget: break
            case .end: shutdown(connection.descriptor, CInt(SHUT_WR))
            case .answer, .refuse:
                _ = CredentialStream.set(.refusal, on: connection.descriptor)
                left[connection.descriptor] = RefusalBytes.count
                CredentialDesk.say(
                    .notServed, CredentialAddress(peerOf: connection.descriptor),
                    PeerCredentials(descriptor: connection.descriptor), logger)
            }
        }
        let deadline = MonotonicClock.milliseconds + withinMilliseconds
        while !left.isEmpty {
            for (descriptor, bytes) in left {
                switch RefusalBytes.send(bytes, to: descriptor) {
                case .blocked(let rest): left[descriptor] = rest
                case .all:
                    shutdown(descriptor, CInt(SHUT_WR))
                    left[descriptor] = nil
                case .gone: left[descriptor] = nil
                }
            }
            let remaining = deadline - MonotonicClock.milliseconds
            guard !left.isEmpty, remaining > 0 else { return }
            var waiting = left.keys.map { pollfd(fd: $0, events: Int16(POLLOUT), revents: 0) }
            poll(&waiting, nfds_t(waiting.count), CInt(clamping: remaining))
        }
    }
}
