internal import CLinux
internal import GRDB
internal import GRDBSQLite
internal import Glibc

/// Why the store cannot be opened, or refuses. Holds no secret: what SQLite says of statements and values is left out.
public struct StoreError: Error, Sendable, CustomStringConvertible {
    /// An open set: new codes may come.
    public struct Code: Hashable, Sendable {
        /// One word for logs.
        public let name: String

        init(_ name: String) { self.name = name }

        /// The state directory is not ours alone, or is no directory.
        public static let unsafeDirectory = Code("unsafe_directory")
        /// Another process serves this database.
        public static let alreadyServed = Code("already_served")
        /// A newer program has migrated this database.
        public static let newerSchema = Code("newer_schema")
        /// The file is no database, is another program's, or breaks the rules that were asserted when it was written.
        public static let damaged = Code("damaged")
        /// The disk is full.
        public static let full = Code("full")
        /// The disk, or the file, may not be written.
        public static let readOnly = Code("read_only")
        /// Another program holds the database's lock.
        public static let locked = Code("locked")
        /// The disk, or the operating system, failed.
        public static let inputOutput = Code("input_output")
        /// The file that was to be written is there already.
        public static let exists = Code("exists")
        /// A source lacks what is needed: which tokens were ended is not known.
        public static let incomplete = Code("incomplete")
        /// What the program asserts did not hold.
        public static let invariant = Code("invariant")
    }

    public let code: Code
    /// What is wrong and what to do, in one sentence.
    public let sentence: String
    /// SQLite's extended result code; 0 where SQLite had no part in it.
    public let sqliteCode: Int32
    /// The operating system's; 0 where there is none.
    public let errno: Int32

    init(_ code: Code, _ sentence: String, sqliteCode: Int32 = 0, errno: Int32 = 0) {
        self.code = code
        self.sentence = sentence
        self.sqliteCode = sqliteCode
        self.errno = errno
    }

    /// The sentence and the numbers behind it.
    public var description: String {
        var text = sentence
        if sqliteCode != 0 { text += " (SQLite \(sqliteCode))" }
        if errno != 0 { text += " (errno \(errno))" }
        return text
    }

    /// Whether a sync has failed: the kernel may hold as written what never reached the disk.
    var isFailedSync: Bool { sqliteCode == Self.failedSync }

    /// SQLITE_IOERR_FSYNC, a macro that Swift cannot read.
    static let failedSync = SQLITE_IOERR | (4 << 8)

    static let reopening = StoreError(.inputOutput, "The database is being opened again; try again in a moment.")

    /// An operation on the state directory failed.
    static func system(_ what: String, errno code: Int32) -> StoreError {
        let reason = String(cString: strerror(code))
        switch code {
        case ENOSPC, EDQUOT: return StoreError(.full, "\(what): \(reason); free space on its disk.", errno: code)
        case EROFS: return StoreError(.readOnly, "\(what): \(reason); mount it writable.", errno: code)
        default: return StoreError(.inputOutput, "\(what): \(reason).", errno: code)
        }
    }

    /// SQLite refused; `systemErrno` is what sqlite3_system_errno said.
    static func sqlite(_ result: Int32, systemErrno: Int32 = 0) -> StoreError {
        let (code, sentence): (Code, String) =
            switch result & 0xFF {
            case SQLITE_FULL: (.full, "The disk of the state directory is full; free space on it.")
            case SQLITE_READONLY, SQLITE_PERM, SQLITE_AUTH:
                (.readOnly, "The database cannot be written; make its disk and its files writable.")
            case SQLITE_BUSY, SQLITE_LOCKED:
                (.locked, "Another program holds the database's lock; end that program.")
            case SQLITE_CORRUPT, SQLITE_NOTADB, SQLITE_FORMAT:
                (.damaged, "The database tokens.db is damaged; stop the daemon and restore a backup.")
            case SQLITE_CONSTRAINT, SQLITE_MISUSE, SQLITE_ERROR, SQLITE_RANGE, SQLITE_MISMATCH:
                (.invariant, "A change broke a rule of the database; this is a fault of the program.")
            case _ where systemErrno == ENOSPC || systemErrno == EDQUOT:
                (.full, "The disk of the state directory is full; free space on it.")
            case SQLITE_CANTOPEN:
                (.inputOutput, "The database tokens.db cannot be opened; look at its owner, mode and disk.")
            default: (.inputOutput, "The disk of the state directory fails; look at the kernel's log.")
            }
        return StoreError(code, sentence, sqliteCode: result, errno: systemErrno)
    }

    /// What failed while the database was opened, with what GRDB does not tell: that the disk had no room for it, as for the
    /// shared memory beside the log.
    func asDiskTells(of path: String) -> StoreError {
        var disk = statvfs()
        guard code == .inputOutput, statvfs(path, &disk) == 0,
            UInt64(disk.f_bavail) * UInt64(disk.f_frsize) < Self.openingBytes || disk.f_favail == 0
        else { return self }
        return .sqlite(sqliteCode, systemErrno: ENOSPC)
    }

    /// What SQLite asks for at once, at most: 32 KiB of shared memory, and some pages.
    private static let openingBytes: UInt64 = 65_536

    /// Whatever GRDB or a function of this module threw.
    static func any(_ error: any Error) -> StoreError {
        switch error {
        case let error as StoreError: error
        case let error as DatabaseError: .sqlite(error.extendedResultCode.rawValue)
        default: StoreError(.invariant, "The store failed in a way it does not know: \(type(of: error)).")
        }
    }
}
