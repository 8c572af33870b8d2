import GRDB
import Testing
import TokenModel

@testable import TokenStore

@Suite struct ListTests {
    private static let names = [
        "ALICE", "alice", "alice-x", "alice.x", "alice/", "alice/a", "alice/b/c", "alice0", "alice_", "alicf", "bob",
    ]

    private func filled() throws -> TestLedger {
        let test = try TestLedger()
        for name in Self.names.shuffled() {
            try test.run(.register(application: app(name), project: project("q"), ttlSeconds: 600))
            try test.run(.generate(application: app(name), project: project("p"), ttlSeconds: 60))
        }
        return test
    }

    @Test func scopesAreByBytes() throws {
        let test = try filled()
        #expect(try test.rows().map(\.application.text) == Self.names.flatMap { [$0, $0] })
        #expect(try test.rows().map(\.project.text) == Self.names.flatMap { _ in ["p", "q"] })
        let own = try test.rows(.owner(.user(name: "alice", uid: 1_000)))
        #expect(own.map(\.application.text) == ["alice", "alice", "alice/a", "alice/a", "alice/b/c", "alice/b/c"])
        #expect(try test.rows(.application(app("alice"))).count == 2)
        #expect(try test.rows(.application(app("nobody"))).isEmpty)
    }

    @Test(arguments: [1, 2, 3, 5, 100])
    func pagesHoldEveryRowOnce(_ limit: Int) throws {
        let test = try filled()
        for scope in [ListQuery.Scope.all, .owner(.user(name: "alice", uid: 1_000)), .application(try app("bob"))] {
            var seen: [String] = []
            var after: ListQuery.Position?
            while true {
                let page = try test.ledger.list(
                    ListQuery(scope: scope, project: nil, expiresBefore: nil, limit: limit, after: after)
                ).rows
                seen += page.map { "\($0.application) \($0.project)" }
                guard let last = page.last else { break }
                #expect(page.count <= limit)
                after = .init(application: last.application, project: last.project)
            }
            #expect(try seen == test.rows(scope).map { "\($0.application) \($0.project)" })
        }
    }

    @Test func filtersAndStates() throws {
        let test = try filled()
        let start = test.clock.wall()
        func list(_ project: ProjectCode?, _ before: Instant?) throws -> [ListRow] {
            try test.ledger.list(
                ListQuery(
                    scope: .application(app("bob")), project: project, expiresBefore: before, limit: 10, after: nil)
            ).rows
        }
        #expect(try list(project("p"), nil).map(\.project.text) == ["p"])
        #expect(try list(nil, start.adding(seconds: 60)).isEmpty, "the bound is exclusive")
        #expect(
            try list(nil, Instant(milliseconds: start.adding(seconds: 60).milliseconds + 1)).map(\.project.text)
                == ["p"])
        #expect(try list(project("q"), start.adding(seconds: 61)).isEmpty)
        test.clock.advance(seconds: 60)
        #expect(try list(nil, nil).map(\.isActive) == [false, true])
        #expect(test.ledger.status().tokens == Self.names.count)
    }

    /// What is looked for may be rare: a page walks so many rows and no more, and the next one goes on there.
    @Test(arguments: [1, 2, 3, 7, 22, 23])
    func aPageWalksSoManyRowsAndNoMore(_ walk: Int) throws {
        var configuration = StoreConfiguration.overlapping
        configuration.listWalkRows = walk
        let test = try TestLedger(configuration: configuration)
        for name in Self.names {
            try test.run(.register(application: app(name), project: project("q"), ttlSeconds: 600))
            try test.run(.generate(application: app(name), project: project("p"), ttlSeconds: 60))
        }
        try test.run(.generate(application: app("alicf"), project: project("rare"), ttlSeconds: 60))
        try test.run(.revoke(application: app("bob"), project: project("p")))
        func walkAll(_ project: ProjectCode?, _ before: Instant?, limit: Int) throws -> [String] {
            var seen: [String] = []
            var after: ListQuery.Position?
            for _ in 0...22 {
                let page = try test.ledger.list(
                    ListQuery(scope: .all, project: project, expiresBefore: before, limit: limit, after: after))
                #expect(page.rows.count <= limit)
                seen += page.rows.map { "\($0.application) \($0.project)" }
                let last = page.rows.last.map { ListQuery.Position(application: $0.application, project: $0.project) }
                after = page.rows.count == limit ? last : page.walkedTo
                if after == nil { return seen }
            }
            throw TestFault("no end")
        }
        for limit in [1, 2, 100] {
            #expect(try walkAll(project("rare"), nil, limit: limit) == ["alicf rare"])
            #expect(try walkAll(nil, test.clock.wall().adding(seconds: 61), limit: limit).count == Self.names.count)
            #expect(try walkAll(project("none"), nil, limit: limit).isEmpty)
        }
        let rare = ListQuery(scope: .all, project: try project("rare"), expiresBefore: nil, limit: 9, after: nil)
        let end = try test.ledger.list(rare).walkedTo
        #expect(end?.application.text == (walk <= 22 ? Self.names[(walk - 1) / 2] : nil))
    }

    @Test func aPageIsReadWithoutSorting() throws {
        let test = try filled()
        let query = ListQuery(scope: .all, project: nil, expiresBefore: nil, limit: 10, after: nil)
        let selection = LedgerReader.selection(query, walking: 100)
        let plan = try LedgerReader.read(
            test.ledger.pool, "EXPLAIN QUERY PLAN " + selection.sql, selection.arguments
        ) { $0.text(3) }
        #expect(plan.count == 2)
        #expect(!plan.contains { $0.contains("TEMP B-TREE") }, "\(plan)")
    }
}
