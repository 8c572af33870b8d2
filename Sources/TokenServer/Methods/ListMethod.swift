import TokenModel
import TokenRPC

/// `list`: one page of rows, read on the thread that may block.
extension MethodHandlers {
    /// Rows of a page, as the contract bounds them.
    private static let pageRows: ClosedRange<Int64> = 1...1_000
    private static let defaultPageRows: Int64 = 100
    /// Room that a page needs beside its rows: its brackets and a cursor of two names.
    private static let pageFrameBytes = 512
    /// The least room in which a page makes sense: its frame and one row with the longest names.
    private static let leastRoomBytes = pageFrameBytes + 1_024

    static func list(_ context: MethodContext, _ params: inout ParamsReader, _ room: Int) throws -> BlockingWork {
        let named = try params.optionalApplicationName(Wire.Key.application)
        let project = try params.optionalProjectCode(Wire.Key.projectCode)
        let expiresBefore = try params.optionalInstant(Wire.Key.expiresBefore)
        let limit = Int(try params.integer(Wire.Key.limit, in: pageRows, default: defaultPageRows))
        var after: ListQuery.Position?
        if let cursor = try params.optionalContent(Wire.Key.cursor) {
            guard let position = ListQuery.Position(cursor: cursor) else {
                throw InvalidParams(Wire.Key.cursor, "must be a cursor that an earlier page gave.")
            }
            after = position
        }
        try params.finish()
        guard room >= leastRoomBytes else { throw MethodFailure.answerFull }
        let query = ListQuery(
            scope: try scope(named, of: context.caller), project: project, expiresBefore: expiresBefore,
            limit: limit + 1, after: after)
        let ledger = context.services.ledger
        return {
            do {
                return .result(page(try ledger.list(query), limit: limit, room: room))
            } catch let error as LedgerReadError {
                return .failure(MethodFailure(.storageUnavailable, message: error.sentence))
            } catch {
                return .failure(MethodFailure(.internalError))
            }
        }
    }

    private static func scope(_ named: ApplicationName?, of caller: Caller) throws -> ListQuery.Scope {
        guard let named else {
            if caller.isAdministrator { return .all }
            guard caller.principal.mayOwn else { throw MethodFailure.mayOwnNothing }
            return .owner(caller.principal)
        }
        return .application(try caller.application(named))
    }

    /// Writes at most `limit` of the rows, and fewer where the answer would be too long or the work was; one row too many
    /// says that there is a next page.
    private static func page(_ page: ListPage, limit: Int, room: Int) -> [UInt8] {
        let writer = ByteWriter()
        writer.append(#"{"tokens":["#)
        var last: ListRow?
        var isCut = false
        for (index, row) in page.rows.enumerated() {
            let mark = writer.count
            if index > 0 { writer.append(UInt8(ascii: ",")) }
            writer.append(row)
            guard index < limit, writer.count + pageFrameBytes <= room else {
                writer.truncate(to: mark)
                isCut = true
                break
            }
            last = row
        }
        writer.append(UInt8(ascii: "]"))
        let end = last.map { ListQuery.Position(application: $0.application, project: $0.project) }
        if let next = isCut ? end : page.walkedTo {
            writer.append(#","next_cursor":"#)
            writer.appendJSONString(next.cursor)
        }
        writer.append(UInt8(ascii: "}"))
        return Array(writer.bytes)
    }
}

extension ListQuery.Position {
    /// The position as a cursor: names hold no space, so one parts them.
    var cursor: String { "\(application.text) \(project.text)" }

    /// Read from the bytes: a token in the place of a cursor must leave no copy.
    init?(cursor: UnsafeRawBufferPointer) {
        guard let space = cursor.firstIndex(of: UInt8(ascii: " ")),
            let project = ProjectCode(bytes: UnsafeRawBufferPointer(rebasing: cursor[(space + 1)...])),
            let application = ApplicationName(bytes: UnsafeRawBufferPointer(rebasing: cursor[..<space]))
        else { return nil }
        self.init(application: application, project: project)
    }
}
