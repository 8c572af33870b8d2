import TokenModel
import TokenRPC

/// A connection's watch of committed changes.
struct Watch {
    /// Nothing up to this sequence number is sent any more.
    var position: Int64
    /// Whether it reads from the audit what it was not sent; then what is delivered is left to that.
    var isCatchingUp: Bool
    /// A page is asked for, or on its way from the thread that reads.
    var isReading = false
    /// Of what was committed while it caught up: what is not written for it yet.
    var behindBytes = 0
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
        connection.turn.waitingForPage.removeAll { $0 === connection }
        services.feed.removeWatcher(loop: index)
    }

    /// Asks for the next page, when the caller has read the last one.
    func catchUp(_ connection: Connection) {
        guard let watch = connection.watch, watch.isCatchingUp, !watch.isReading,
            connection.backlogBytes < Bounds.outputHighWaterBytes
        else { return }
        connection.watch?.isReading = true
        connection.turn.waitingForPage.append(connection)
        if !connection.turn.isReplaying { readNextPage(of: connection.account) }
    }

    /// Reads a page for the one of a uid's watchers that has waited longest.
    func readNextPage(of uid: UInt32) {
        guard let turn = turns[uid] else { return }
        turn.isReplaying = !turn.waitingForPage.isEmpty
        guard turn.isReplaying else { return }
        let connection = turn.waitingForPage.removeFirst()
        let position = connection.watch?.position ?? 0
        let (ledger, inbox, id) = (services.ledger, inbox, connection.id)
        let accounting = services.accounting
        let isPrivileged = connection.caller?.isAdministrator ?? false
        services.reads.submit(for: uid) {
            guard accounting.mayHoldMore(uid: uid, isPrivileged: isPrivileged) else {
                return inbox.put(.replayed(connection: id, uid: uid, .ended(.busy)))
            }
            let records = try? ledger.records(after: position, limit: Bounds.replayPageRows)
            inbox.put(
                .replayed(connection: id, uid: uid, records.map { .records($0) } ?? .ended(.storageUnavailable)))
        }
    }

    func replayed(_ connection: Connection, _ page: ReplayPage) {
        // Nothing comes behind a watch's last word.
        guard var watch = connection.watch, !connection.isClosing else { return }
        watch.isReading = false
        let records: [AuditRecord]
        switch page {
        case .records(let read) where read.first?.sequence == watch.position + 1: records = read
        case .records:
            // Asked for only where there was a next one: also an empty page says that it was removed since.
            sayWatchEnds(connection, .historyGone)
            return settle(connection)
        case .ended(let code):
            sayWatchEnds(connection, code)
            return settle(connection)
        }
        if let last = records.last, let caller = connection.caller {
            watch.position = last.sequence
            var events = Events(records)
            let bytes = events.bytes(for: caller)
            if !bytes.isEmpty { send(bytes, to: connection) }
            watch.behindBytes = max(0, watch.behindBytes - bytes.count)
        }
        watch.isCatchingUp = watch.position < services.feed.lastSequence
        if !watch.isCatchingUp { watch.behindBytes = 0 }
        connection.watch = watch
        if lagsTooFar(connection) { sayWatchEnds(connection, .busy) }
        settle(connection)
    }

    /// Sends what was committed to every watcher of this loop that may see it.
    func publish(_ records: [AuditRecord]) {
        guard !watchers.isEmpty, let last = records.last else { return }
        var events = Events(records)
        var served: [Connection] = []
        let isMuch = records.count > Bounds.publishedRows
        for connection in watchers {
            guard let watch = connection.watch, let caller = connection.caller, !connection.isClosing,
                last.sequence > watch.position
            else { continue }
            if !isMuch, !watch.isCatchingUp, hasTurn(connection) {
                connection.watch?.position = last.sequence
                let bytes = events.bytes(for: caller, after: watch.position)
                guard !bytes.isEmpty else { continue }
                send(bytes, to: connection)
            } else {
                // Much at once, or for many watchers of one uid, is read from the audit instead, page by page, as fast
                // as the watcher reads and in turns with other uids' reads.
                connection.watch?.isCatchingUp = true
                if !isMuch { connection.watch?.behindBytes += events.bytes(for: caller).count }
                guard !watch.isCatchingUp || lagsTooFar(connection) else { continue }
            }
            served.append(connection)
            if lagsTooFar(connection) { sayWatchEnds(connection, .busy) }
        }
        for connection in served where !connection.isTouched { settle(connection) }
    }

    /// Puts events behind the answers, as a part of the uid's turn.
    private func send(_ bytes: [UInt8], to connection: Connection) {
        bytes.withUnsafeBytes { writer(of: connection).append($0) }
        connection.turn.lines += 1 + bytes.count / Bounds.bytesLikeALine
        guard connection.backlogBytes > Bounds.unchargedAnswerBytes else { return }
        flush(connection)
        charge(connection)
    }

    private func lagsTooFar(_ connection: Connection) -> Bool {
        // Who has read all that was written does not lag, however far the pages are behind.
        let isBehind = connection.backlogBytes >= Bounds.outputHighWaterBytes
        let unread = connection.backlogBytes + (isBehind ? connection.watch?.behindBytes ?? 0 : 0)
        guard unread > Bounds.unchargedAnswerBytes else { return false }
        if unread > Bounds.watcherBacklogBytes { return true }
        let isPrivileged = connection.caller?.isAdministrator ?? false
        return connection.held != nil
            && !services.accounting.mayHoldMore(uid: connection.account, isPrivileged: isPrivileged)
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

/// Changes as their watchers see them, written once for all who see the same.
private struct Events {
    private struct Audience: Hashable {
        let principal: Principal
        let isAdministrator: Bool
        let isVerifier: Bool
    }

    private let records: [AuditRecord]
    private var bytes: [Audience: [UInt8]] = [:]

    init(_ records: [AuditRecord]) {
        self.records = records
    }

    /// All that this caller may see.
    mutating func bytes(for caller: Caller) -> [UInt8] {
        let audience = Audience(
            principal: caller.principal, isAdministrator: caller.isAdministrator, isVerifier: caller.isVerifier)
        if let known = bytes[audience] { return known }
        let made = Self.bytes(records[...], for: caller)
        bytes[audience] = made
        return made
    }

    /// What this caller may see and was not sent yet.
    mutating func bytes(for caller: Caller, after position: Int64) -> [UInt8] {
        guard let first = records.firstIndex(where: { $0.sequence > position }) else { return [] }
        return first == 0 ? bytes(for: caller) : Self.bytes(records[first...], for: caller)
    }

    private static func bytes(_ records: ArraySlice<AuditRecord>, for caller: Caller) -> [UInt8] {
        let writer = ByteWriter()
        for record in records {
            if caller.isAdministrator || record.application.isOwned(by: caller.principal) {
                append(record, withNames: true, to: writer)
            } else if caller.isVerifier {
                append(record, withNames: false, to: writer)
            }
        }
        return Array(writer.bytes)
    }

    private static func append(_ record: AuditRecord, withNames: Bool, to writer: ByteWriter) {
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
