import Glibc
import Logging
import Systemd
import TokenModel
import TokenRPC

/// Lines, messages, answers. A request is taken only when its answer can be put in its place: what must wait for the
/// answers before it stays in the buffer, and then nothing more is read from that caller.
extension EventLoop {
    /// How far a request came.
    enum Progress {
        /// Its answer is written, or there is none to write.
        case done
        /// It is with the writer or the worker; what may follow it may go on.
        case inFlight
        /// It has to wait for those before it.
        case mustWait
    }

    /// Takes lines from the front of `bytes` for as long as they can be taken.
    /// - Returns: how many bytes were taken.
    func advance(_ connection: Connection, _ bytes: UnsafeRawBufferPointer) -> Int {
        var offset = 0
        connection.isBlocked = false
        connection.waitsForRoom = false
        while !connection.isClosing, !connection.isClosed {
            guard connection.owedBytes < Bounds.outputHighWaterBytes else {
                connection.waitsForRoom = true
                return block(connection, offset)
            }
            guard hasTurn(connection) else {
                postpone(connection)
                return block(connection, offset)
            }
            if let batch = connection.batch {
                guard advance(connection, batch) else { return block(connection, offset) }
                continue
            }
            let rest = UnsafeRawBufferPointer(rebasing: bytes[offset...])
            // A copy, for a property that is changed in place is checked for exclusive access.
            var scanner = connection.scanner
            let step = scanner.next(rest)
            connection.scanner = scanner
            switch step {
            case .needsMore:
                connection.turn.lines += rest.count / Bounds.readChunkBytes
                notePartialLine(connection, isBegun: !rest.isEmpty)
                return offset
            case .tooLong:
                guard connection.isIdle else { return block(connection, offset) }
                answerLookups(connection)
                services.refusals.note("line_too_long", connection.asker)
                failure(connection, Self.nullID, MethodFailure.lineTooLong)
                connection.isClosing = true
            case .line(let length):
                connection.turn.lines += 1 + length / Bounds.bytesLikeALine
                guard take(connection, UnsafeRawBufferPointer(rebasing: rest[..<length])) else {
                    return block(connection, offset)
                }
                scanner.consume()
                connection.scanner = scanner
                connection.deadline = nil
                offset += length
            }
        }
        return bytes.count
    }

    static let nullID = Array("null".utf8)

    /// Time in which the daemon does not read is not the caller's.
    private func block(_ connection: Connection, _ offset: Int) -> Int {
        connection.isBlocked = true
        connection.deadline = nil
        return offset
    }

    private func notePartialLine(_ connection: Connection, isBegun: Bool) {
        guard isBegun else {
            connection.deadline = nil
            return
        }
        if connection.deadline == nil { setDeadline(connection) }
    }

    /// Takes one line, its LF included.
    /// - Returns: false where it has to wait.
    private func take(_ connection: Connection, _ line: UnsafeRawBufferPointer) -> Bool {
        if let plain = PlainIntrospect(line) { return take(connection, plain) }
        switch readLine(line, with: reader) {
        case .blank:
            return true
        case .refused(let problem):
            guard connection.isIdle else { return false }
            answerLookups(connection)
            failure(connection, Self.nullID, MethodFailure(problem))
            return true
        case .single(let request):
            let room = Wire.maxAnswerBytes - Bounds.batchEntryReserveBytes
            return perform(connection, request, reader, room: room) != .mustWait
        case .batch(let first, let count):
            // Its answers are one line, so those before it come first.
            guard connection.isIdle else { return false }
            answerLookups(connection)
            connection.batch = Batch(copying: line, reader, first: first, count: count)
            return true
        }
    }

    /// Takes an `introspect` that needs no reading, as `perform` would.
    private func take(_ connection: Connection, _ plain: PlainIntrospect) -> Bool {
        if connection.isDeaf { return true }
        guard connection.isIdle else { return false }
        lookUp(connection, TokenDigest(hashing: plain.token), id: plain.id)
        return true
    }

    /// Goes on with a batch.
    /// - Returns: false where an entry has to wait.
    private func advance(_ connection: Connection, _ batch: Batch) -> Bool {
        while let request = batch.current(reader) {
            switch perform(connection, request, reader, room: batch.room) {
            case .mustWait: return false
            case .done, .inFlight: batch.step()
            }
            if connection.isClosed { return true }
        }
        guard connection.isIdle else { return false }
        connection.batch = nil
        connection.outputHoldsSecret = connection.outputHoldsSecret || batch.holdsSecret
        batch.finish(into: writer(of: connection))
        return true
    }

    /// Does one request, or hands it on.
    private func perform(
        _ connection: Connection, _ request: RequestView, _ reader: JSONReader, room: Int
    ) -> Progress {
        if let problem = request.problem {
            guard connection.isIdle else { return .mustWait }
            answerLookups(connection)
            if let id = request.id { failure(connection, reader.bytes(of: id), MethodFailure(problem)) }
            return .done
        }
        guard let method = request.method else { return .done }
        // What is not answered needs no room.
        let room = request.id == nil ? Wire.maxAnswerBytes : room
        // What was asked is still done, but nothing is read for a caller who has hung up.
        if connection.isDeaf, !MethodRow.table[method.rawValue].work.changesSomething { return .done }
        if method.returnsCredentials, request.id == nil {
            if services.refusals.note("notification_dropped", connection.asker, method) {
                services.logger.report(
                    .notice, .notificationDropped,
                    "a method that returns credentials came as a notification and was not executed",
                    ["uid": "\(connection.credentials.uid)", "pid": "\(connection.credentials.pid)"])
            }
            return .done
        }
        let row = MethodRow.table[method.rawValue]
        var params = ParamsReader(reader, request.params)
        // Made where it is wanted: a look-up does without.
        var context: MethodContext { MethodContext(loop: self, connection: connection) }
        do {
            switch row.work {
            case .lookup(let handler):
                guard connection.isIdle else { return .mustWait }
                guard room >= Bounds.smallResultBytes else { throw MethodFailure.answerFull }
                let digest = try handler(&params)
                if let id = request.id { lookUp(connection, digest, id: reader.bytes(of: id)) }
                return .done
            case .immediate(let handler):
                guard connection.isIdle else { return .mustWait }
                answerLookups(connection)
                return try performNow(context, request, reader, room: room) { [params] writer in
                    var params = params
                    try handler(context, &params, writer)
                }
            case .mutation(let handler):
                guard connection.blockingRead == nil, connection.mutationsInFlight < Bounds.mutationsInFlight else {
                    return .mustWait
                }
                // What was asked before must not see the change.
                answerLookups(connection)
                let command = try handler(context, &params)
                try submit(context, command, request, reader, room: room)
                return .inFlight
            case .blocking(let handler):
                guard connection.isIdle else { return .mustWait }
                answerLookups(connection)
                start(context, try handler(context, &params, room), request, reader)
                return .inFlight
            }
        } catch {
            // The place of this answer is behind those that are in flight. Nothing was done, so it is asked again then.
            guard connection.isIdle else { return .mustWait }
            answerLookups(connection)
            let failed = MethodFailure(thrown: error)
            switch failed.error.code {
            case .permissionDenied, .rateLimited, .busy:
                services.refusals.note(failed.error.reason.description, connection.asker, method) {
                    Self.target(reader, request)
                }
            default: break
            }
            if let id = request.id { failure(connection, reader.bytes(of: id), failed) }
            return .done
        }
    }

    /// What a refused request names: it was read no further than to the refusal.
    private static func target(_ reader: JSONReader, _ request: RequestView) -> RefusedRequest.Target {
        var params = ParamsReader(reader, request.params)
        let application = try? params.optionalApplicationName(Wire.Key.application)
        return (application ?? nil, try? params.projectCode(Wire.Key.projectCode))
    }

    private func performNow(
        _ context: MethodContext, _ request: RequestView, _ reader: JSONReader, room: Int,
        _ write: (ByteWriter) throws -> Void
    ) throws -> Progress {
        guard room >= Bounds.smallResultBytes else { throw MethodFailure.answerFull }
        let connection = context.connection
        let writer = connection.batch?.answers ?? writer(of: connection)
        let mark = writer.count
        if let id = request.id {
            beginAnswer(connection, writer)
            writer.appendResultHead(id: reader.bytes(of: id))
        }
        do {
            try write(writer)
        } catch {
            writer.truncate(to: mark)
            throw error
        }
        if request.id == nil {
            writer.truncate(to: mark)
        } else {
            endAnswer(connection, writer)
        }
        return .done
    }

    private func submit(
        _ context: MethodContext, _ command: Command, _ request: RequestView, _ reader: JSONReader, room: Int
    ) throws {
        let connection = context.connection
        let inFlightBytes = connection.mutationsInFlight * Bounds.smallResultBytes
        guard room - inFlightBytes >= Bounds.smallResultBytes else { throw MethodFailure.answerFull }
        let caller = try context.caller
        if services.settings.mutationsPerSecondPerUser != nil, !caller.isAdministrator,
            let milliseconds = services.accounting.takeMutation(uid: caller.account)
        {
            throw MethodFailure(.rateLimited, details: [.retryAfterMilliseconds(milliseconds)])
        }
        let position = connection.nextPosition
        let ticket = Mutation.Ticket(loop: index, connection: connection.id, position: position)
        switch services.ledger.enqueue(Mutation(command: command, caller: caller, ticket: ticket)) {
        case .accepted:
            hasSubmitted = true
            connection.nextPosition += 1
            connection.addDue(
                Connection.DueAnswer(position: position, id: request.id.map { Array(reader.bytes(of: $0)) }))
        case .full:
            if !caller.isAdministrator { services.accounting.giveBackMutation(uid: caller.account) }
            throw MethodFailure.queueFull
        case .closed: throw MethodFailure(.shuttingDown)
        }
    }

    private func start(
        _ context: MethodContext, _ work: @escaping BlockingWork, _ request: RequestView, _ reader: JSONReader
    ) {
        let connection = context.connection
        connection.blockingRead = Connection.BlockingRead(id: request.id.map { Array(reader.bytes(of: $0)) })
        let (inbox, id, uid) = (inbox, connection.id, connection.account)
        let accounting = services.accounting
        let isPrivileged = connection.caller?.isAdministrator ?? false
        services.reads.submit(for: uid) {
            // Looked at when its turn has come: a thousand connections may have asked before the first was answered.
            guard accounting.mayHoldMore(uid: uid, isPrivileged: isPrivileged) else {
                return inbox.put(.finished(connection: id, .failure(MethodFailure.answersUnread), nil))
            }
            let outcome = work()
            inbox.put(.finished(connection: id, outcome, HeldBytes(outcome.bytes, of: uid, accounting)))
        }
    }

    // MARK: Answers

    /// Writes a result in its place; nothing for a notification.
    func result(_ connection: Connection, _ id: [UInt8]?, _ write: (ByteWriter) -> Void) {
        guard let id else { return }
        let writer = connection.batch?.answers ?? writer(of: connection)
        beginAnswer(connection, writer)
        id.withUnsafeBytes { writer.appendResultHead(id: $0) }
        write(writer)
        endAnswer(connection, writer)
    }

    func failure(_ connection: Connection, _ id: [UInt8]?, _ failed: MethodFailure) {
        guard let id else { return }
        id.withUnsafeBytes { failure(connection, $0, failed) }
    }

    private func failure(_ connection: Connection, _ id: UnsafeRawBufferPointer, _ failed: MethodFailure) {
        let writer = connection.batch?.answers ?? writer(of: connection)
        beginAnswer(connection, writer)
        failed.write(to: writer, id: id)
        if connection.batch == nil { writer.appendLineFeed() }
    }

    func beginAnswer(_ connection: Connection, _ writer: ByteWriter) {
        if connection.batch != nil, writer.count > 0 { writer.append(UInt8(ascii: ",")) }
    }

    func endAnswer(_ connection: Connection, _ writer: ByteWriter) {
        writer.appendResultTail()
        if connection.batch == nil { writer.appendLineFeed() }
    }
}
