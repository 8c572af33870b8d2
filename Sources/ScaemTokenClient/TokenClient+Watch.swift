import TokenRPC

/// What to do after an event of a watch.
public enum WatchDecision: Sendable {
    /// Wait for the next one.
    case goOn
    /// End the watch; the connection is closed.
    case stop
}

extension TokenClient {
    /// Gives every change that this caller may see, in their order, until `event` says stop or the daemon ends it.
    /// Blocks. The connection is closed afterwards: a watch cannot be taken back.
    /// - Parameters:
    ///   - since: the last sequence number seen: what came after it is replayed; nil: from now on.
    ///   - started: is given the sequence number that the watch begins after.
    ///   - event: is given each change.
    /// - Throws: -32010 where `since` cannot be resumed from; -32006 or -32008 where the daemon ended the watch;
    ///   `connectionBroken` where it ended without a word. Watch again, since the last sequence number seen.
    public func watch(
        since: Int64? = nil, started: (_ sequence: Int64) -> Void = { _ in },
        event: (TokenEvent) throws(TokenClientError) -> WatchDecision
    ) throws(TokenClientError) {
        try watchAnswers(since: since, started: started) { (answer) throws(TokenClientError) in
            try event(try answer.tokenEvent())
        }
    }

    /// The same, with each event as its JSON object, good only within the closure.
    public func watchAnswers(
        since: Int64? = nil, started: (_ sequence: Int64) -> Void = { _ in },
        event: (Answer) throws(TokenClientError) -> WatchDecision
    ) throws(TokenClientError) {
        defer { connection.close() }
        let sequence = try callKeepingReceived(
            "watch", isReadOnly: true,
            parameters: { writer in
                let object = ParameterWriter(writer)
                object.add("since", since)
                object.end()
            },
            read: { (answer) throws(TokenClientError) in try answer.need("sequence") { $0.integer } })
        started(sequence)
        while true {
            let line = try connection.receiveLine(deadline: nil)
            guard case .notification(let method, let parameters) = try message(line), parameters >= 0 else {
                throw TokenClientError(.malformedAnswer, "the daemon sent something that is not an event")
            }
            if reader.equals(method, Wire.errorNotification), let error = ErrorView(reader, parameters) {
                throw TokenClientError(error, reader)
            }
            // A later daemon may tell of other things too.
            guard reader.equals(method, Wire.eventNotification) else { continue }
            if try event(Answer(reader: reader, node: parameters)) == .stop { return }
        }
    }
}
