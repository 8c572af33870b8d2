import Synchronization
import Testing
import TokenModel

@testable import TokenStore

private final class Flag: Sendable {
    private let value = Atomic<Bool>(false)
    var isRaised: Bool { value.load(ordering: .acquiring) }
    func raise() { value.store(true, ordering: .releasing) }
}

@Suite struct ConcurrencyTests {
    /// Readers see a token from its delivery on, whole, while the writer changes everything around it.
    @Test func introspectBesideTheWriter() async throws {
        let test = try TestLedger()
        let ledger = test.ledger
        let steady = try test.credentials(
            .register(application: app("steady/one"), project: project("steady"), ttlSeconds: 86_400))
        let digest = steady.token.digest
        let isDone = Flag()
        try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<3 {
                group.addTask {
                    var wrong = 0
                    var rounds = 0
                    while !isDone.isRaised || rounds == 0 {
                        let isActive = ledger.introspect(digest) { token in
                            let name = String(decoding: token.application, as: UTF8.self)
                            if name != "steady/one" || token.registrationID != steady.registrationID { wrong += 1 }
                        }
                        if !isActive { wrong += 1 }
                        rounds += 1
                        if rounds % 64 == 0 { _ = ledger.status() }
                        await Task.yield()
                    }
                    return wrong
                }
            }
            defer { isDone.raise() }
            for number in 0..<300 {
                let name = try app("busy/\(number % 20)")
                if case .credentials(let made) = try test.run(
                    .register(application: name, project: project("p\(number)"), ttlSeconds: 600))
                {
                    #expect(test.isActive(made.token))
                    try test.run(
                        .rotate(
                            application: name, project: project("p\(number)"), ttlSeconds: 600, graceSeconds: 60))
                    #expect(test.isActive(made.token))
                }
                if number % 3 == 0 { try test.run(.unregister(application: name)) }
                if number % 10 == 0 { #expect(try test.rows().contains { $0.application.text == "steady/one" }) }
            }
            isDone.raise()
            for try await wrong in group { #expect(wrong == 0) }
        }
        try test.ledger.expectIndexEqualsTable()
    }
}
