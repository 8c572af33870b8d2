import Systemd
import Testing
import TokenModel

@testable import scaem_tokend

@Suite("A record of the audit as entries of the journal")
struct AuditFieldsTests {
    private static func unregistered(_ tokens: Int) throws -> AuditRecord {
        let application = try #require(ApplicationName("alice"))
        return AuditRecord(
            sequence: 7, time: Instant(milliseconds: 1_748_000_000_000), event: .unregistered,
            registrationID: RegistrationID(high: 1, low: 2), application: application, project: nil,
            principal: .recorded("alice"), uid: 1_000, gid: 1_000, process: PeerProcess(pid: 42),
            fingerprint: nil, ended: (0..<tokens).map { Fingerprint(value: UInt64($0)) }, lapsed: [], shortened: [],
            chain: TokenDigest(words: (1, 2, 3, 4)))
    }

    /// sd_journal_sendv(3) refuses what has more fields, and then nothing behind it would ever be sent.
    @Test(arguments: [0, 1, 199, 200, 201, 400, 10_000])
    func everyTokenIsNamedOnceAndNoEntryHasTooManyFields(_ tokens: Int) throws {
        let entries = AuditFields.entries(try Self.unregistered(tokens), database: String(repeating: "a", count: 32))
        #expect(entries.count == max(1, (tokens + AuditFields.tokensPerEntry - 1) / AuditFields.tokensPerEntry))
        #expect(entries.allSatisfy { $0.count < 256 })
        let named = entries.flatMap { $0 }.filter { $0.name == "SCAEM_ANY_FINGERPRINT" }.map(\.value)
        #expect(Set(named).count == tokens && named.count == tokens)
        let numbered = entries.map { entry in entry.contains { $0.name == "SCAEM_SEQUENCE" } }
        #expect(numbered == Array(repeating: false, count: entries.count - 1) + [true], "the record comes last")
    }
}
