internal import CLinux
internal import GRDB
internal import GRDBSQLite
internal import Glibc
public import TokenModel

/// Puts a backup in the place of the database, and ends in it what was ended since it was made.
public final class Restore {
    /// What a restore came to.
    public struct Outcome: Sendable {
        /// Tokens of the backup that were ended since, or whose application was unregistered.
        public let endedTokens: Int
        public let livingTokens: Int64
        /// The last number that was given; the next change has the one after it.
        public let sequence: Int64
        /// What is known of changes reaches up to this number.
        public let known: Int64
        /// Numbers of changes that nothing is known of.
        public let missing: ClosedRange<Int64>?
        /// Where the database that was replaced is now; nil where there was none.
        public let replaced: String?
    }

    /// Added where it is not known how far the numbers went: none of them may come twice.
    static let unknownNumbers: Int64 = 1_000_000

    private let backup: DatabaseFile
    private let directory: StateDirectory
    private let staged: String
    private var since: EndedSince
    private let acceptsMissing: Bool

    /// Takes the database's lock, so that no daemon serves it meanwhile.
    ///
    /// - Parameters:
    ///   - backup: the file, opened.
    ///   - since: what exports and journals say.
    ///   - acceptingMissing: goes on where it is not known what was ended.
    /// - Throws: `StoreError`.
    public init(
        _ backup: DatabaseFile, stateDirectory: String, since: EndedSince?, acceptingMissing: Bool
    ) throws {
        self.backup = backup
        directory = try StateDirectory(path: stateDirectory)
        staged = directory.databasePath + ".restoring"
        self.since = try since ?? EndedSince(after: backup.auditHead())
        acceptsMissing = acceptingMissing
    }

    deinit { directory.release() }

    /// Checks the backup, then replaces in one step; whatever fails before that step leaves all as it was.
    /// - Throws: `StoreError`.
    public func run(now: Instant) throws -> Outcome {
        let found = try backup.check()
        guard found.problems.isEmpty else {
            throw StoreError(.damaged, "The backup is damaged and nothing was changed: \(found.problems[0]).")
        }
        let head = try backup.auditHead()
        try recoverReplaced()
        let old = readReplaced(after: head)
        let missing = try findMissing(old)
        let last = max(old.lastSequence, missing == nil ? since.last : since.highestNamed, missing?.upperBound ?? 0) + 1
        let known = since.last
        // Accepted: as much as is named is ended.
        if missing != nil { since.takeRest() }
        removeStaged()
        defer { removeStaged() }
        try stage()
        let ended = try change(head: head, old: old, last: last, now: now)
        let result = try DatabaseFile(path: staged).check()
        guard result.problems.isEmpty else {
            throw StoreError(.invariant, "The restored database is not good: \(result.problems[0]).")
        }
        let replaced = try replace()
        return Outcome(
            endedTokens: ended, livingTokens: result.tokens, sequence: last, known: known, missing: missing,
            replaced: replaced)
    }

    // MARK: What was ended since

    private struct Replaced {
        var lastSequence: Int64 = 0
        /// What follows the backup's last record, where the backup is of this very database; else nil.
        var entries: [AuditEntry]?
        /// How far the journal had them.
        var confirmed: Int64 = 0
    }

    /// A sync of the old database had failed: what another program holds to be in it is not believed, or its last changes would
    /// be missing.
    private func recoverReplaced() throws {
        guard try directory.holds(StateDirectory.lostLogName) else { return }
        do {
            try TokenDatabase.recover(in: directory)
        } catch let error as StoreError where error.code != .locked {
            // As much as can be read of it counts.
        }
    }

    /// A database that cannot be read tells nothing, and what it lacks has to come from elsewhere.
    private func readReplaced(after head: (sequence: Int64, chain: TokenDigest)) -> Replaced {
        guard directory.size(of: "tokens.db") > 0, let file = try? DatabaseFile(path: directory.databasePath) else {
            return Replaced()
        }
        var old = Replaced()
        var entries: [AuditEntry] = []
        // Before the first record there is nothing to compare: an empty backup may be of any database.
        var isSame = head.sequence == 0
        do {
            try file.reading {
                old.lastSequence = try file.auditHead().sequence
                old.confirmed = try file.journalPosition()?.confirmed ?? 0
                try file.forEachAuditEntry { entry in
                    switch entry {
                    case .record(let record):
                        if record.sequence == head.sequence { isSame = record.chain == head.chain }
                        if record.sequence > head.sequence { entries.append(entry) }
                    case .mark(let mark):
                        if mark.last == head.sequence { isSame = mark.chain == head.chain }
                        if mark.last > head.sequence { entries.append(entry) }
                    }
                }
            }
        } catch {
            return old
        }
        // What does not follow would be copied, and then be found.
        guard isSame, follow(entries, after: head) else { return old }
        for entry in entries { since.take(entry) }
        old.entries = entries
        return old
    }

    private func follow(_ entries: [AuditEntry], after head: (sequence: Int64, chain: TokenDigest)) -> Bool {
        var verifier = ChainVerifier(from: head.sequence + 1, isOneAudit: true)
        entries.forEach { verifier.follow($0) }
        var link = ChainLink()
        guard verifier.problems.isEmpty, case .record(let first)? = entries.first else {
            return verifier.problems.isEmpty
        }
        return link.follows(first, head.chain)
    }

    private func findMissing(_ old: Replaced) throws -> ClosedRange<Int64>? {
        let last = max(old.lastSequence, since.highestNamed)
        var missing = since.missing(through: last)
        // A source that ends with the backup may be as old as that.
        if missing == nil, old.entries == nil, since.isEmpty {
            missing = (since.last + 1)...(last + Self.unknownNumbers)
        }
        if let missing, !acceptsMissing {
            throw StoreError(
                .incomplete,
                "It is not known which tokens changes \(missing.lowerBound) and following ended: name audit exports or "
                    + "journals that hold them with --since-from (another host's journal with the --uid of its daemon), "
                    + "or accept with --accept-missing that they may live.")
        }
        return missing
    }

    // MARK: The new database

    private func stage() throws {
        let descriptor = linux_open(staged, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw StoreError.system("\(staged) cannot be made", errno: errno) }
        close(descriptor)
        do { try backup.copy(into: staged) } catch { throw StoreError.any(error) }
    }

    private func removeStaged() {
        for suffix in ["", "-wal", "-shm", "-journal"] { unlink(staged + suffix) }
    }

    private func change(
        head: (sequence: Int64, chain: TokenDigest), old: Replaced, last: Int64, now: Instant
    ) throws -> Int {
        let database = try TokenDatabase(path: staged)
        defer { database.close() }
        var link = head
        var ended = 0
        do {
            let statements = try database.writing()
            try statements.begin()
            ended = try RestoredRows.end(since, on: statements.connection)
            for entry in old.entries ?? [] {
                link = try RestoredRows.insert(entry, statements)
            }
            // What the journal had, and may have let go since, is not sent to it again, behind what came after it.
            if old.entries != nil {
                try AuditRows(statements).setJournal(sent: old.confirmed, confirmed: old.confirmed)
            }
            let mark = AuditMark(first: link.sequence + 1, last: last, chain: link.chain, time: now, reason: .restored)
            _ = try RestoredRows.insert(.mark(mark), statements)
            switch statements.commit() {
            case .committed: break
            case .notCommitted(let error), .unknown(let error): throw error
            }
            guard try database.checkpoint(truncating: true) else { throw StoreError.sqlite(SQLITE_BUSY) }
        } catch {
            throw StoreError.any(error)
        }
        return ended
    }

    // MARK: The step

    /// The old database keeps its content under another name: its log is folded into it first, for a log that is left
    /// would be taken for the new one's.
    private func replace() throws -> String? {
        let path = directory.databasePath
        let kept = nameForReplaced(path)
        let hadOne = directory.size(of: "tokens.db") > 0
        // Ended in the middle of what follows, it must not look as if there had never been a database.
        if try !directory.holds("tokens.db") { try directory.makeFile("tokens.db") }
        // Beside a database that is empty SQLite would remove the log, which may be all that there is.
        if hadOne { try foldLog(path) }
        unlink(kept)
        guard link(path, kept) == 0 else { throw StoreError.system("\(kept) cannot be made", errno: errno) }
        if directory.size(of: "tokens.db-wal") > 0 {
            try putNothing(at: path)
            guard rename(path + "-wal", kept + "-wal") == 0 else {
                throw StoreError.system("\(kept)-wal cannot be made", errno: errno)
            }
        }
        for suffix in ["-wal", "-shm"] { unlink(path + suffix) }
        guard rename(staged, path) == 0 else { throw StoreError.system("\(path) cannot be replaced", errno: errno) }
        try Backup.syncDirectory(of: path)
        if !hadOne { unlink(kept) }
        return hadOne ? kept : nil
    }

    /// A file that holds nothing, which no start takes for a database: ended before the step, a database must not stand there
    /// whose log has been moved away.
    private func putNothing(at path: String) throws {
        let nothing = "tokens.db.nothing"
        try directory.remove(nothing)
        try directory.makeFile(nothing)
        guard rename(directory.path + "/" + nothing, path) == 0 else {
            throw StoreError.system("\(path) cannot be replaced", errno: errno)
        }
        try Backup.syncDirectory(of: path)
    }

    /// A name that takes nothing away: what an earlier restore kept may be all that is left of the tokens made before it. What
    /// a restore has linked there that was ended before its step is this very database.
    private func nameForReplaced(_ path: String) -> String {
        var database = stat()
        let isThere = stat(path, &database) == 0
        for number in 1...Int.max {
            let name = path + ".replaced" + (number == 1 ? "" : ".\(number)")
            var kept = stat()
            let isFree = lstat(name, &kept) != 0 || (isThere && kept.st_ino == database.st_ino)
            if isFree, lstat(name + "-wal", &kept) != 0 { return name }
        }
        preconditionFailure("a folder holds fewer names than there are numbers")
    }

    /// What stands in the log alone must not be lost, whatever comes next. A database that cannot be read keeps its log.
    /// - Throws: where it can be read and not be written; nothing is changed then.
    private func foldLog(_ path: String) throws {
        var connection: OpaquePointer?
        defer { sqlite3_close_v2(connection) }
        let opened = sqlite3_open_v2(path, &connection, SQLITE_OPEN_READWRITE, nil)
        // A log that it can read nothing of, a close would remove: who looks at it by other means may find more.
        var keepsLog: Int32 = 1
        sqlite3_file_control(connection, "main", SQLITE_FCNTL_PERSIST_WAL, &keepsLog)
        var result =
            opened == SQLITE_OK
            ? sqlite3_exec(connection, "SELECT count(*) FROM sqlite_schema", nil, nil, nil) : opened
        let isReadable = result == SQLITE_OK
        if isReadable {
            result = sqlite3_wal_checkpoint_v2(connection, nil, SQLITE_CHECKPOINT_TRUNCATE, nil, nil)
            if result != SQLITE_OK { result = sqlite3_extended_errcode(connection) }
        }
        switch result & 0xFF {
        case SQLITE_OK, SQLITE_CORRUPT, SQLITE_NOTADB: return
        case SQLITE_BUSY:
            throw StoreError(
                .locked,
                "Another program reads the database tokens.db, so that its log cannot be folded; end that program.")
        default:
            guard isReadable, !Self.failedReads.contains(result) else { return }
            throw StoreError.sqlite(result, systemErrno: sqlite3_system_errno(connection))
        }
    }

    /// SQLITE_IOERR_READ and SQLITE_IOERR_SHORT_READ, macros that Swift cannot read.
    private static let failedReads = [SQLITE_IOERR | 1 << 8, SQLITE_IOERR | 2 << 8]
}
