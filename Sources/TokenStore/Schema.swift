internal import GRDB

/// The tables and how they came to be. A migration that was released is never changed: a new one follows it.
///
/// The CHECKs assert the model's rules a second time: a row that breaks one is a fault of the program and must not
/// come to be durable. The writer's own connection asserts the same in Swift (`WriterStatements`); these hold for all others.
enum Schema {
    /// `scae`, in the database's header: says whose file this is.
    static let applicationID: Int64 = 0x7363_6165

    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1") { db in
            try db.execute(sql: "PRAGMA application_id = \(applicationID)")
            try db.execute(sql: version1)
        }
        migrator.registerMigration("2") { db in try db.execute(sql: version2) }
        migrator.registerMigration("3") { db in try db.execute(sql: version3) }
        return migrator
    }

    /// Ids are sequence numbers of the audit: they grow and never come again. The digest has no index: the one in
    /// memory serves, and one here would make each write several times dearer.
    private static let version1 = """
        CREATE TABLE application (
          id INTEGER PRIMARY KEY CHECK (id > 0),
          name TEXT NOT NULL UNIQUE
            CHECK (length(name) BETWEEN 1 AND 128 AND length(CAST(name AS BLOB)) = length(name)),
          registration_id BLOB NOT NULL UNIQUE CHECK (length(registration_id) = 16),
          registered_at INTEGER NOT NULL
        ) STRICT;

        CREATE TABLE token (
          id INTEGER PRIMARY KEY CHECK (id > 0),
          application_id INTEGER NOT NULL REFERENCES application (id),
          project_code TEXT NOT NULL
            CHECK (length(project_code) BETWEEN 1 AND 128
                   AND length(CAST(project_code AS BLOB)) = length(project_code)),
          digest BLOB NOT NULL CHECK (length(digest) = 32),
          issued_at INTEGER NOT NULL CHECK (issued_at BETWEEN 0 AND 253402300799999),
          expires_at INTEGER NOT NULL CHECK (expires_at > issued_at AND (expires_at - issued_at) % 1000 = 0),
          last_used_at INTEGER,
          previous BLOB NOT NULL CHECK (length(previous) % 48 = 0 AND length(previous) <= 144),
          UNIQUE (application_id, project_code)
        ) STRICT;

        CREATE TABLE audit (
          sequence INTEGER PRIMARY KEY CHECK (sequence > 0),
          time INTEGER NOT NULL,
          event TEXT NOT NULL
            CHECK (event = 'rotated' OR event = 'registered' OR event = 'generated' OR event = 'revoked'
                   OR event = 'unregistered'),
          outcome TEXT NOT NULL CHECK (outcome = 'success'),
          registration_id BLOB NOT NULL CHECK (length(registration_id) = 16),
          application TEXT NOT NULL CHECK (length(application) BETWEEN 1 AND 128),
          project TEXT
            CHECK ((project IS NULL) = (event = 'unregistered') AND length(project) BETWEEN 1 AND 128),
          principal TEXT NOT NULL,
          uid INTEGER NOT NULL CHECK (uid BETWEEN 0 AND 4294967295),
          gid INTEGER NOT NULL CHECK (gid BETWEEN 0 AND 4294967295),
          pid INTEGER NOT NULL,
          unit TEXT,
          fingerprint BLOB
            CHECK ((fingerprint IS NOT NULL) = (event = 'rotated' OR event = 'registered' OR event = 'generated')
                   AND length(fingerprint) = 8),
          ended BLOB NOT NULL CHECK (length(ended) % 8 = 0),
          shortened BLOB NOT NULL CHECK (length(shortened) % 16 = 0),
          chain BLOB NOT NULL CHECK (length(chain) = 32)
        ) STRICT;
        """

    /// What lets rows of `audit` go, or numbers be skipped, without breaking the chain (`AuditMark`), and how far the
    /// journal has come: `database` tells this database's records in it from another's, and is a backup's too.
    private static let version2 = """
        CREATE TABLE audit_mark (
          sequence INTEGER PRIMARY KEY CHECK (sequence > 0),
          first INTEGER NOT NULL CHECK (first BETWEEN 1 AND sequence),
          chain BLOB NOT NULL CHECK (length(chain) = 32),
          time INTEGER NOT NULL,
          reason TEXT NOT NULL CHECK (reason IN ('pruned', 'over_cap', 'restored'))
        ) STRICT;

        CREATE TABLE audit_journal (
          id INTEGER PRIMARY KEY CHECK (id = 1),
          sent INTEGER NOT NULL CHECK (sent >= 0),
          confirmed INTEGER NOT NULL CHECK (confirmed >= 0),
          database TEXT NOT NULL CHECK (length(database) = 32)
        ) STRICT;
        CREATE TABLE ended_presented (
          id INTEGER PRIMARY KEY,
          time INTEGER NOT NULL,
          fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 8),
          principal TEXT NOT NULL,
          uid INTEGER NOT NULL CHECK (uid BETWEEN 0 AND 4294967295),
          gid INTEGER NOT NULL CHECK (gid BETWEEN 0 AND 4294967295),
          pid INTEGER NOT NULL,
          unit TEXT,
          count INTEGER NOT NULL CHECK (count > 0)
        ) STRICT;
        INSERT INTO audit_journal VALUES (1, 0, 0, lower(hex(randomblob(16))));
        """

    /// What more is known of a caller's process, and which tokens lapsed by themselves (`AuditRecord`). Without a CHECK, which would
    /// read each row that there is; NULL in these, and the rows' chain values as they were.
    private static let version3 = """
        ALTER TABLE audit ADD COLUMN comm TEXT;
        ALTER TABLE audit ADD COLUMN invocation_id TEXT;
        ALTER TABLE audit ADD COLUMN lapsed BLOB;
        ALTER TABLE ended_presented ADD COLUMN comm TEXT;
        ALTER TABLE ended_presented ADD COLUMN invocation_id TEXT;
        """
}
