import ArgumentParser
import Glibc
import TokenModel
import TokenStore

/// `restore`: a backup in the place of the database, without what was ended since.
struct RestoreCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore", abstract: "Puts a backup in the database's place; what was ended since stays ended.",
        discussion: """
            Only while the daemon is stopped. What was ended since the backup was made is taken from the audit of the \
            database that is replaced and from every --since-from; where they do not hold all of it, nothing is done. \
            Tokens that were made since are lost: their applications obtain new ones. The database that was replaced \
            is kept beside it as tokens.db.replaced (.2 and so on where there is one).
            """)

    @Argument(help: "What `backup` wrote.")
    var file: String

    @Option(help: "An `audit export`, or an exported journal (journalctl -o json, -o export); may be repeated.")
    var sinceFrom: [String] = []

    @Option(
        help: "The daemon's uid in an exported journal, where that is another host's; others' records do not count.")
    var uid: UInt32?

    @Flag(help: "Go on where it is not known what was ended since: such tokens would be good again.")
    var acceptMissing = false

    @OptionGroup var options: CommonOptions

    func run() throws {
        umask(0o077)
        do {
            let directory = try options.databaseDirectory()
            let backup = try openBackup()
            let since = try sinceFrom.isEmpty ? nil : readSince(backup, writtenBy: uid ?? owner(of: directory))
            try becomeOwner(of: directory)
            let restore = try Restore(
                backup, stateDirectory: directory, since: since, acceptingMissing: acceptMissing)
            report(try restore.run(now: SystemClock().wall()))
        } catch {
            throw ExitCode.report(error)
        }
    }

    private func openBackup() throws -> DatabaseFile {
        do { return try DatabaseFile(path: file) } catch let error as StoreError where error.code == .damaged {
            throw CommandFailure("\(file) is no whole backup of a database, and nothing was changed: \(error)")
        }
    }

    private func readSince(_ backup: DatabaseFile, writtenBy uid: UInt32) throws -> EndedSince {
        var since = EndedSince(after: try backup.auditHead())
        let database = try backup.journalPosition()?.database
        for file in sinceFrom {
            let file = try AuditFile(file)
            if file.isJournal {
                try file.forEachJournalRecord { entry in
                    guard entry.uid == uid, database == nil || entry.database == database else { return }
                    if let record = entry.record { since.take(.record(record)) }
                    if let mark = entry.mark { since.take(.mark(mark)) }
                }
            } else {
                try file.forEachEntry { since.take($0) }
            }
        }
        return since
    }

    private func report(_ outcome: Restore.Outcome) {
        print(
            "restored: \(outcome.livingTokens) tokens; \(outcome.endedTokens) of the backup were ended since and stay "
                + "ended; the next change is number \(outcome.sequence + 1)")
        if let missing = outcome.missing {
            print("not known: what changes \(missing.lowerBound) and following ended; such tokens may be good again")
        }
        if !sinceFrom.isEmpty {
            print("changes are known up to number \(outcome.known); what was ended later, if anything was, is not")
        }
        if let replaced = outcome.replaced { print("the database before is kept in \(replaced)") }
    }
}

/// Whose the database is, or will be.
private func owner(of directory: String) -> UInt32 {
    var status = stat()
    return stat(directory, &status) == 0 ? status.st_uid : geteuid()
}

/// Root that restores a service's database becomes the service's user: what it makes there must be the service's.
private func becomeOwner(of directory: String) throws {
    var status = stat()
    guard geteuid() == 0, stat(directory, &status) == 0, status.st_uid != 0 else { return }
    guard setgroups(0, nil) == 0, setgid(status.st_gid) == 0, setuid(status.st_uid) == 0 else {
        throw CommandFailure("cannot become uid \(status.st_uid), to whom \(directory) belongs")
    }
}
