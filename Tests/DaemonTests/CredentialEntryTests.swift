import Testing
import TokenModel

@testable import scaem_tokend

@Suite("A [[credential]] names a unit, a credential, an application and a project, or is refused")
struct CredentialEntryTests {
    @Test(
        "each text is required, and its absence is reported at the entry's line",
        arguments: ["unit", "credential", "application", "project_code"])
    func missing(name: String) {
        let lines = refusals(credential() + "\n" + credential(without: name, adding: "grace_seconds = 1"))
        #expect(
            lines.count == 1 && lines[0].hasPrefix("c.toml:7: credential[1].\(name): is missing: it must be "),
            "\(lines)")
    }

    @Test(
        "texts that break their rule",
        arguments: [
            ("unit", "web"), ("unit", ".service"), ("unit", "web@.service"), ("unit", "a b.service"), ("unit", ""),
            ("unit", "@x.service"), ("unit", "wéb.service"), ("unit", "a/b.service"), ("unit", "web.timer"),
            ("credential", ""), ("credential", "."), ("credential", ".."), ("credential", "a/b"), ("credential", "a:b"),
            ("credential", "a b"), ("credential", "é"), ("application", ""), ("application", "-web"),
            ("application", "a b"), ("application", "a\\\\b"), ("project_code", ""), ("project_code", "/"),
            ("project_code", "P\\n"), ("project_code", String(repeating: "p", count: 129)),
        ])
    func broken(name: String, text: String) {
        let lines = refusals("\n" + credential(without: name, adding: "\(name) = \"\(text)\""))
        #expect(lines.count == 1 && lines[0].hasPrefix("c.toml:6: credential[0].\(name): must be "), "\(lines)")
    }

    @Test("a pair of unit and credential stands once")
    func twice() {
        let other = credential(without: "credential", adding: "credential = \"other\"")
        #expect(
            refusals(credential() + other + "\n" + credential()) == [
                "c.toml:12: credential[2]: names the same unit and credential as credential[0]"
            ])
    }

    @Test("its grace keeps to the bound of all graces")
    func grace() {
        let bound = "[tokens]\ngrace_seconds_max = 100\n"
        #expect(
            refusals(bound + credential()) == [
                "c.toml:3: credential[0].grace_seconds: must be at most tokens.grace_seconds_max, which is 100; it is 300"
            ])
        #expect(
            refusals(credential(adding: "grace_seconds = 86401")) == [
                "c.toml:1: credential[0].grace_seconds: must be at most tokens.grace_seconds_max, which is 86400 by "
                    + "default; it is 86401"
            ])
    }

    @Test("a unit may be given the application that is itself, escapes and all")
    func itself() throws {
        let text = credential(without: "application", adding: #"application = 'unit:a-\x2db.service'"#)
        #expect(try parse(text).credentials.first?.application.text == #"unit:a-\x2db.service"#)
    }

    @Test("inline entries are entries too")
    func inline() {
        let lines = refusals("credential = [\n  { unit = 5 },\n]\n")
        #expect(lines.count == 4 && lines.allSatisfy { $0.hasPrefix("c.toml:1: credential[0].") }, "\(lines)")
    }
}
