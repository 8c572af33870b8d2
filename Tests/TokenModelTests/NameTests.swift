import Testing
import TokenModel

@Suite struct NameTests {
    @Test(arguments: ["a", "_apt", "0", "A.b_c:d@e/f-g", "alice/web", "alice/", String(repeating: "x", count: 128)])
    func accepts(_ text: String) {
        #expect(ApplicationName(text)?.text == text)
        #expect(ProjectCode(text)?.text == text)
        var text = text
        text.withUTF8 { #expect(ApplicationName(bytes: UnsafeRawBufferPointer($0)) != nil) }
    }

    @Test(arguments: [
        "", "-a", ".a", "/a", ":a", "@a", "a b", "a\\b", "a\0", "a*", "é", "aé", "a\u{301}", "ａ", "a,b", "a%b",
        String(repeating: "x", count: 129),
    ])
    func refuses(_ text: String) {
        #expect(ApplicationName(text) == nil)
        #expect(ProjectCode(text) == nil)
        var text = text
        text.withUTF8 {
            #expect(ApplicationName(bytes: UnsafeRawBufferPointer($0)) == nil)
            #expect(ProjectCode(bytes: UnsafeRawBufferPointer($0)) == nil)
        }
    }

    @Test func onlyAUnitsNameHoldsABackslash() {
        #expect(ApplicationName(unitPrincipal: "unit:a\\x2db.service")?.text == "unit:a\\x2db.service")
        #expect(ApplicationName(unitPrincipal: "user:a\\x2db") == nil)
        for (text, isName) in [("unit:a\\x2db.service", true), ("user:a\\x2db", false), ("unit:a|b", false)] {
            var text = text
            text.withUTF8 { #expect((ApplicationName(bytes: UnsafeRawBufferPointer($0)) != nil) == isName) }
        }
        #expect(ApplicationName(unitPrincipal: "unit:" + String(repeating: "x", count: 124)) == nil)
        #expect(Principal.unit("a\\x2db.service").application?.text == "unit:a\\x2db.service")
        #expect(Principal.unit(String(repeating: "x", count: 124)).application == nil)
    }

    @Test(arguments: [
        ("alice", true), ("alice/web", true), ("alice/a/b", true), ("alice/", false), ("alice-x", false),
        ("alice0", false), ("Alice", false), ("alic", false), ("bob/alice", false), ("alicex/web", false),
    ])
    func ownershipIsByBytes(_ name: String, _ isOwned: Bool) throws {
        let name = try #require(ApplicationName(name))
        #expect(name.isOwned(by: .user(name: "alice", uid: 1_000)) == isOwned)
        #expect(!name.isOwned(by: .recorded("alice")))
    }

    @Test func theOwnerStandsBeforeTheFirstSlash() {
        #expect(["a", "a/b", "a/b/c", "a/"].map { ApplicationName($0)?.owner } == ["a", "a", "a", "a"])
    }

    @Test func orderIsThatOfTheBytes() {
        let names = ["a/b", "A", "a", "a-b", "_", "a0", "Z"].compactMap { ApplicationName($0) }
        #expect(names.sorted().map(\.text) == ["A", "Z", "_", "a", "a-b", "a/b", "a0"])
    }
}

@Suite struct PrincipalTests {
    @Test(
        arguments: [
            ("alice", "alice"), ("_apt", "_apt"), ("uid-", "uid-"), ("uid-x7", "uid-x7"),
            ("a.service.d", "a.service.d"),
            ("service", "service"), (nil, "uid-1000"), ("uid-7", "uid-1000"), ("uid-1000", "uid-1000"),
            ("a/b", "uid-1000"), ("-a", "uid-1000"), ("a b", "uid-1000"), ("", "uid-1000"), ("jörg", "uid-1000"),
            ("a.service", "uid-1000"), ("a.socket", "uid-1000"), ("a.timer", "uid-1000"), ("a.scope", "uid-1000"),
            ("a.slice", "uid-1000"), ("unit:a", "uid-1000"), ("DOMAIN\\a", "uid-1000"),
        ] as [(String?, String)])
    func isTheUserNameOrTheNumber(_ name: String?, _ text: String) {
        let principal = Principal.user(name: name, uid: 1_000)
        #expect(principal.text == text)
        #expect(principal.mayOwn)
        #expect(principal.application?.text == text)
    }

    @Test(arguments: [
        (UInt32(0), true), (1_000, true), (61_183, true), (61_184, false), (65_519, false), (65_520, true),
        (65_534, true), (65_535, true), (65_536, false), (100_007, false), (.max, false),
    ])
    func aNamelessRecycledNumberOwnsNothing(_ uid: UInt32, _ mayOwn: Bool) throws {
        let nameless = Principal.user(name: nil, uid: uid)
        #expect(nameless.mayOwn == mayOwn)
        #expect(nameless.text == "uid-\(uid)")
        #expect(try #require(nameless.application).isOwned(by: nameless) == mayOwn)
        #expect(Principal.user(name: "alice", uid: uid).mayOwn)
    }
}
