import Glibc
import TokenModel
import TokenRPC

/// What other threads have finished for this loop's connections.
extension EventLoop {
    /// Answers the mutations of a batch. All of them first, then one write a connection.
    func deliver(_ delivery: Delivery) {
        var touched: [Connection] = []
        for mutation in delivery.mutations where mutation.ticket.loop == index {
            guard let connection = connections[mutation.ticket.connection] else {
                desk?.ended(mutation)
                mutation.outcome = nil
                continue
            }
            if !connection.isTouched {
                connection.isTouched = true
                touched.append(connection)
            }
            answer(connection, mutation)
        }
        publish(delivery.records)
        for connection in touched {
            connection.isTouched = false
            advanceStored(connection)
            settle(connection)
        }
        finishDrainIfEmpty()
    }

    private func answer(_ connection: Connection, _ mutation: Mutation) {
        let due = connection.takeDue(mutation.ticket.position)
        // The secret goes with its answer: the queue may hold the mutation for longer.
        defer { mutation.outcome = nil }
        switch mutation.outcome {
        case .credentials(let credentials):
            result(connection, due.id) { writer in
                if let batch = connection.batch {
                    batch.holdsSecret = true
                } else {
                    connection.outputHoldsSecret = true
                }
                writer.append(credentials)
            }
        case .revoked(let count):
            result(connection, due.id) { writer in
                writer.append(#"{"revoked":"#)
                writer.appendInteger(Int64(count))
                writer.append(UInt8(ascii: "}"))
            }
        case .refused(let refusal):
            failure(connection, due.id, MethodFailure(refusal))
            noteRefusal(mutation, refusal, of: connection)
        case .storageUnavailable(let sentence):
            failure(connection, due.id, MethodFailure(.storageUnavailable, message: sentence))
        case .shuttingDown:
            failure(connection, due.id, MethodFailure(.shuttingDown))
        case .internalError:
            failure(connection, due.id, MethodFailure(.internalError))
        case .unknown, nil:
            // Nobody knows whether it was done. The caller learns just that: there is no answer.
            close(connection)
        }
    }

    private func noteRefusal(_ mutation: Mutation, _ refusal: Refusal, of connection: Connection) {
        services.refusals.note(
            MethodFailure(refusal).error.reason.description, connection.asker, mutation.command.method
        ) { mutation.command.target }
    }

    func finished(_ connection: Connection, _ outcome: BlockingOutcome) {
        guard let read = connection.blockingRead else { return }
        connection.blockingRead = nil
        switch outcome {
        case .result(let bytes):
            result(connection, read.id) { writer in bytes.withUnsafeBytes { writer.append($0) } }
        case .failure(let failed):
            failure(connection, read.id, failed)
        case .watch(let since):
            startWatch(connection, since: since, id: read.id)
        }
        advanceStored(connection)
        settle(connection)
    }
}
