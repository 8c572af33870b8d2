import Systemd
import Testing
import TokenModel
import TokenStore

@testable import scaem_tokend

@Suite("A journal held against the audit")
struct JournalComparisonTests {
    private static let uid: UInt32 = 990
    private static let database = String(repeating: "a", count: 32)
    private static let hour: Int64 = 3_600_000

    private static func record(_ sequence: Int64, ahead milliseconds: Int64 = 0) throws -> AuditRecord {
        AuditRecord(
            sequence: sequence, time: Instant(milliseconds: 1_748_000_000_000 + sequence + milliseconds),
            event: .unregistered,
            registrationID: RegistrationID(high: 1, low: 2), application: try #require(ApplicationName("alice")),
            project: nil, principal: .recorded("alice"), uid: 1_000, gid: 1_000, process: PeerProcess(pid: 42),
            fingerprint: nil, ended: [], lapsed: [], shortened: [],
            chain: TokenDigest(words: (1, 2, 3, UInt64(sequence))))
    }

    private static func inJournal(_ record: AuditRecord) throws -> JournalRecord {
        let entry = try #require(AuditFields.entries(record, database: database).last)
        var fields = Dictionary(entry.map { ($0.name, $0.value) }, uniquingKeysWith: { first, _ in first })
        fields["_UID"] = "\(uid)"
        return try #require(JournalRecord(fields))
    }

    /// A storm's lag is minutes: what is older and not there will not come by itself.
    @Test(arguments: [(late: Int64(0), problems: 0), (late: 1, problems: 1)])
    func whatHasNotReachedTheJournalWithinAnHourFails(_ late: Int64, problems: Int) throws {
        let records = try (1...3).map { try Self.record($0) }
        var comparison = JournalComparison(uid: Self.uid, database: Self.database)
        comparison.take(try Self.inJournal(records[0]))
        for record in records { comparison.compare(.record(record), knownThrough: 1) }
        comparison.finish(firstKept: 1, now: Instant(milliseconds: records[1].time.milliseconds + Self.hour + late))
        #expect(comparison.problems.count == problems)
        #expect(comparison.problems.allSatisfy { $0.sequence == 2 && "\($0)".contains("has not reached the journal") })
    }

    /// A record of a clock that was a year ahead hides none of those that came after it.
    @Test func whatATimeOfTheFutureIsInFrontOfFails() throws {
        let records = try [Self.record(1), Self.record(2, ahead: 8_760 * Self.hour), Self.record(3)]
        var comparison = JournalComparison(uid: Self.uid, database: Self.database)
        comparison.take(try Self.inJournal(records[0]))
        for record in records { comparison.compare(.record(record), knownThrough: 1) }
        comparison.finish(firstKept: 1, now: Instant(milliseconds: records[2].time.milliseconds + 2 * Self.hour))
        #expect(comparison.problems.map(\.sequence) == [3])
    }

    /// An export says nothing of the hour at which it is looked at.
    @Test func anExportIsNotAskedForItsAge() throws {
        let records = try (1...2).map { try Self.record($0) }
        var comparison = JournalComparison(uid: Self.uid, database: Self.database)
        comparison.take(try Self.inJournal(records[0]))
        for record in records { comparison.compare(.record(record), knownThrough: 1) }
        comparison.finish(firstKept: 1, now: nil)
        #expect(comparison.problems.isEmpty)
    }
}
