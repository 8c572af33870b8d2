import TokenModel
import TokenRPC

/// `status`, `reload` and the start of `watch`.
extension MethodHandlers {
    static func status(_ context: MethodContext, _ params: inout ParamsReader, _ room: Int) throws -> BlockingWork {
        try params.finish()
        let services = context.services
        let isAdministrator = try context.caller.isAdministrator
        let uptimeSeconds = (MonotonicClock.milliseconds - services.startedAt) / 1_000
        let isReady = context.loop.drainDeadline == nil
        return {
            let status = services.ledger.status()
            let writer = ByteWriter()
            writer.append(#"{"version":"#)
            writer.appendJSONString(services.settings.version)
            writer.append(#","protocol":"#)
            writer.appendInteger(Int64(Wire.protocolVersion))
            writer.append(#","uptime_seconds":"#)
            writer.appendInteger(uptimeSeconds)
            writer.append(isReady && status.storageProblem == nil ? #","ready":true"# : #","ready":false"#)
            writer.append(#","applications":"#)
            writer.appendInteger(Int64(status.applications))
            writer.append(#","tokens":"#)
            writer.appendInteger(Int64(status.tokens))
            writer.append(#","storage":"#)
            writer.appendStorage(status, services, isAdministrator: isAdministrator)
            writer.append(#","audit":"#)
            writer.appendAudit(status, isAdministrator: isAdministrator)
            writer.append(UInt8(ascii: "}"))
            return .result(Array(writer.bytes))
        }
    }

    static func reload(_ context: MethodContext, _ params: inout ParamsReader, _ room: Int) throws -> BlockingWork {
        try params.finish()
        guard try context.caller.isAdministrator else { throw MethodFailure.administratorsOnly }
        let reload = context.services.reload
        return {
            let problems = reload()
            return problems.isEmpty
                ? .result(Array("{}".utf8))
                : .failure(MethodFailure.invalidConfiguration(problems))
        }
    }

    static func watch(_ context: MethodContext, _ params: inout ParamsReader, _ room: Int) throws -> BlockingWork {
        let since = try params.optionalInteger(Wire.Key.since, in: 0...Int64.max)
        try params.finish()
        let caller = try context.caller
        guard caller.isAdministrator || caller.isVerifier || caller.principal.mayOwn else {
            throw MethodFailure.mayOwnNothing
        }
        guard context.connection.watch == nil, context.connection.batch == nil else {
            throw MethodFailure.watchNotHere
        }
        guard let since else { return { .watch(since: nil) } }
        let ledger = context.services.ledger
        return {
            do {
                let bounds = try ledger.recordBounds()
                guard since >= bounds.oldest - 1, since <= bounds.last else {
                    return .failure(MethodFailure(.historyGone))
                }
                return .watch(since: since)
            } catch let error as LedgerReadError {
                return .failure(MethodFailure(.storageUnavailable, message: error.sentence))
            } catch {
                return .failure(MethodFailure(.internalError))
            }
        }
    }
}

extension ByteWriter {
    fileprivate func appendStorage(
        _ status: LedgerStatus, _ services: EventLoop.Services, isAdministrator: Bool
    ) {
        append(status.storageProblem == nil ? #"{"state":"ok""# : #"{"state":"unavailable""#)
        if isAdministrator {
            if let problem = status.storageProblem {
                append(#","problem":"#)
                appendJSONString(problem)
            }
            append(#","journal_mode":"wal","synchronous":"#)
            appendJSONString(services.settings.synchronousMode)
            append(#","database_bytes":"#)
            appendInteger(status.databaseBytes)
            append(#","wal_bytes":"#)
            appendInteger(status.writeAheadLogBytes)
            append(#","queued_mutations":"#)
            appendInteger(Int64(status.queuedMutations))
            append(#","connections":"#)
            appendInteger(Int64(services.accounting.connections))
        }
        append(UInt8(ascii: "}"))
    }

    fileprivate func appendAudit(_ status: LedgerStatus, isAdministrator: Bool) {
        append(UInt8(ascii: "{"))
        if isAdministrator {
            append(#""sequence":"#)
            appendInteger(status.lastSequence)
            if let journal = status.journal {
                append(#","journal":"#)
                appendJSONString(journal.state.rawValue)
                append(#","journal_sent":"#)
                appendInteger(journal.sent)
                append(#","journal_confirmed":"#)
                appendInteger(journal.confirmed)
                append(#","journal_synced":"#)
                appendInteger(journal.synced)
                append(#","journal_lag":"#)
                appendInteger(journal.lag(behind: status.lastSequence))
                if let lacking = journal.lacking {
                    append(#","lacking_first":"#)
                    appendInteger(lacking.lowerBound)
                    append(#","lacking_last":"#)
                    appendInteger(lacking.upperBound)
                }
            }
        }
        append(UInt8(ascii: "}"))
    }
}
