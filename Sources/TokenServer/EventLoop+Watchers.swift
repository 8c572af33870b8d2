import TokenModel
import TokenRPC

/// A connection's watch of committed changes.
struct Watch {
    /// Nothing up to this sequence number is sent any more.
    var position: Int64
    /// Whether it still reads from the audit what was committed before it began; then what is delivered is left to that.
    var isCatchingUp: Bool
    /// A page is on its way from the thread that reads.
    var isReading = false
}

/// A page of audit rows for a watcher that catches up.
enum ReplayPage: Sendable {
    case records([AuditRecord])
    /// There is none, and the watch ends.
    case ended(ErrorCode)
}

/// What watchers see, and when a watch ends. `EventFeed` says why nothing is missed and nothing comes twice.
extension EventLoop {
    func startWatch(_ connection: Connection, since: Int64?, id: [UInt8]?) {
        guard connection.watch == nil else {
            return failure(connection, id, MethodFailure.watchNotHere)
        }
        services.feed.addWatcher(loop: index)
        watchers.append(connection)
        let position = since ?? services.feed.lastSequence
        connection.watch = Watch(position: position, isCatchingUp: position < services.feed.lastSequence)
        result(connection, id) { writer in
            writer.append(#"{"sequence":"#)
            writer.appendInteger(position)
            writer.append(UInt8(ascii: "}"))
        }
    }

    func endWatch(_ connection: Connection) {
        connection.watch = nil
        watchers.removeAll { $0 === connection }
        services.feed.removeWatcher(loop: index)
    }

    /// Asks for the next page, when the caller has read the last one.
    func catchUp(_ connection: Connection) {
        guard let watch = connection.watch, watch.isCatchingUp, !watch.isReading,
            connection.backlogBytes < Bounds.outputHighWaterBytes
        else { return }
        connection.watch?.isReading = true
        let (ledger, inbox, id, uid) = (services.ledger, inbox, connection.id, connection.credentials.uid)
        let accounting = services.accounting
        let isPrivileged = connection.caller?.isAdministrator ?? false
        services.reads.submit(for: uid) {
            guard accounting.mayHoldMore(uid: uid, isPrivileged: isPrivileged) else {
                return inbox.put(.replayed(connection: id, .ended(.busy)))
            }
            let records = try? ledger.records(after: watch.position, limit: Bounds.replayPageRows)
            inbox.put(.replayed(connection: id, records.map { .records($0) } ?? .ended(.storageUnavailable)))
        }
    }

    func replayed(_ connection: Connection, _ page: ReplayPage) {
        guard var watch = connection.watch else { return }
        watch.isReading = false
        let records: [AuditRecord]
        switch page {
        case .records(let read) where read.first.map({ $0.sequence == watch.position + 1 }) ?? true: records = read
        case .records:
            sayWatchEnds(connection, .historyGone)
            return settle(connection)
        case .ended(let code):
            sayWatchEnds(connection, code)
            return settle(connection)
        }
        for record in records {
            append(record, to: connection)
            watch.position = record.sequence
        }
        watch.isCatchingUp = watch.position < services.feed.lastSequence
        connection.watch = watch
        settle(connection)
    }

    /// Sends what was committed to every watcher of this loop that may see it.
    func publish(_ records: [AuditRecord]) {
        guard !watchers.isEmpty, let last = records.last else { return }
        // One line serves all who see the same of a record.
        var lines: [EventLine] = records.map { EventLine($0) }
        for connection in watchers {
            guard let watch = connection.watch, !watch.isCatchingUp, !connection.isClosing else { continue }
            if records.count > Bounds.replayPageRows {
                // Much at once is read from the audit instead, page by page, as fast as the watcher reads.
                connection.watch?.isCatchingUp = true
                continue
            }
            for index in lines.indices where lines[index].record.sequence > watch.position {
                append(&lines[index], to: connection)
            }
            connection.watch?.position = max(watch.position, last.sequence)
            if connection.backlogBytes > Bounds.unchargedAnswerBytes {
                flush(connection)
                charge(connection)
                if lagsTooFar(connection) { sayWatchEnds(connection, .busy) }
            }
        }
        for connection in watchers where !connection.isTouched { settle(connection) }
    }

    private func lagsTooFar(_ connection: Connection) -> Bool {
        if connection.backlogBytes > Bounds.watcherBacklogBytes { return true }
        let isPrivileged = connection.caller?.isAdministrator ?? false
        return connection.held != nil
            && !services.accounting.mayHoldMore(uid: connection.credentials.uid, isPrivileged: isPrivileged)
    }

    private func append(_ record: AuditRecord, to connection: Connection) {
        var line = EventLine(record)
        append(&line, to: connection)
    }

    private func append(_ line: inout EventLine, to connection: Connection) {
        guard let caller = connection.caller else { return }
        if caller.isAdministrator || line.record.application.isOwned(by: caller.principal) {
            line.whole.withUnsafeBytes { writer(of: connection).append($0) }
        } else if caller.isVerifier {
            line.withoutNames.withUnsafeBytes { writer(of: connection).append($0) }
        }
    }

    /// The last word of a watch: one notification, then the close. Never a silent gap.
    func sayWatchEnds(_ connection: Connection, _ code: ErrorCode) {
        guard connection.watch != nil, !connection.isClosing else { return }
        answerLookups(connection)
        let writer = writer(of: connection)
        writer.appendNotificationHead(Wire.errorNotification)
        MethodFailure.watchEnded(code).writeBody(to: writer)
        writer.appendResultTail()
        writer.appendLineFeed()
        connection.isClosing = true
    }
}

/// One change as its watchers see it, written when the first one needs it.
private struct EventLine {
    let record: AuditRecord
    lazy var whole = EventLine.bytes(record, withNames: true)
    lazy var withoutNames = EventLine.bytes(record, withNames: false)

    init(_ record: AuditRecord) {
        self.record = record
    }

    private static func bytes(_ record: AuditRecord, withNames: Bool) -> [UInt8] {
        let writer = ByteWriter()
        writer.appendNotificationHead(Wire.eventNotification)
        writer.append(#"{"sequence":"#)
        writer.appendInteger(record.sequence)
        if withNames {
            writer.append(#","time":"#)
            writer.append(record.time)
        }
        writer.append(#","event":"#)
        writer.appendJSONString(record.event.rawValue)
        if withNames { writer.appendNames(of: record) }
        if !record.ended.isEmpty {
            writer.append(#","ended":["#)
            for (index, fingerprint) in record.ended.enumerated() {
                if index > 0 { writer.append(UInt8(ascii: ",")) }
                writer.append(fingerprint)
            }
            writer.append(UInt8(ascii: "]"))
        }
        if !record.shortened.isEmpty {
            writer.append(#","shortened":"#)
            writer.append(record.shortened)
        }
        writer.append("}}\n")
        return Array(writer.bytes)
    }
}

extension ByteWriter {
    fileprivate func appendNames(of record: AuditRecord) {
        append(#","registration_id":"#)
        append(record.registrationID)
        append(#","application":"#)
        appendJSONString(record.application.text)
        if let project = record.project {
            append(#","project_code":"#)
            appendJSONString(project.text)
        }
        if let fingerprint = record.fingerprint {
            append(#","fingerprint":"#)
            append(fingerprint)
        }
    }
}
