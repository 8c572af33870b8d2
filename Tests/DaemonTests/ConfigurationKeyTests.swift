import Glibc
import Testing

@testable import scaem_tokend

@Suite("The table of keys is complete, and the reader and the example follow it")
struct ConfigurationKeyTests {
    /// A file in which a key, and besides it only what is needed, has a value.
    private static func file(_ key: ConfigurationKey, _ value: String) -> String {
        if key.table == ConfigurationKey.credentialTable {
            return credential(without: key.name, adding: "\(key.name) = \(value)")
        }
        return "[\(key.table)]\n\(key.name) = \(value)\n"
    }

    @Test(
        "each key: every wrong type and both sides of its bounds are refused by its name",
        arguments: ConfigurationKey.all)
    func refused(key: ConfigurationKey) {
        var wrong = ["1.0", "6e1", "nan", "true", "[1]", "{}", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z"]
        switch key.value {
        case .number(let range, _), .credentialNumber(let range, _):
            wrong += ["\"1\"", "\(range.lowerBound - 1)", "\(range.upperBound + 1)", "\(Int.min)", "\(Int.max)"]
        case .path(let maxBytes, _, _):
            let long = "/" + String(repeating: "x", count: maxBytes)
            wrong += ["1", "\"\"", "\"relative\"", "\"\(long)\""]
        case .credentialText:
            wrong += ["1", "\"\""]
        }
        let name = key.table == ConfigurationKey.credentialTable ? "credential[0].\(key.name)" : key.path
        let line = key.table == ConfigurationKey.credentialTable ? (key.name == "grace_seconds" ? 6 : 5) : 2
        for value in wrong {
            let lines = refusals(Self.file(key, value))
            #expect(lines.count == 1 && lines[0].hasPrefix("c.toml:\(line): \(name): must be "), "\(value): \(lines)")
        }
    }

    @Test("each number's field takes its bounds, and no two keys share a field", arguments: ConfigurationKey.all)
    func taken(key: ConfigurationKey) throws {
        guard case .number(let range, let field) = key.value else { return }
        let standard = try #require(key.standardNumber)
        #expect(range.contains(standard))
        let other = standard == range.lowerBound ? standard + 1 : standard - 1
        // Its neighbours by contradiction move along, so that the value is good.
        let rest = key.path == "tokens.ttl_seconds_default" ? "ttl_seconds_min = 60\n" : ""
        var expected = Configuration()
        expected[keyPath: field] = other
        if key.path == "limits.connections" { expected.limits.connectionsPerUser = other / 4 }
        #expect(try parse(Self.file(key, "\(other)") + rest) == expected)
        #expect(Configuration().keysForNextStart(of: expected) == (key.atStart ? [key.path] : []))
    }

    @Test("every field of a configuration has its key")
    func complete() {
        let configuration = Configuration()
        let parts: [(String, Any)] = [
            ("server", configuration.server), ("tokens", configuration.tokens), ("limits", configuration.limits),
            ("audit", configuration.audit),
        ]
        for (table, part) in parts {
            #expect(Mirror(reflecting: part).children.count == ConfigurationKey.keys(of: table).count, "\(table)")
        }
        #expect(Set(ConfigurationKey.all.map(\.path)).count == ConfigurationKey.all.count)
        #expect(parts.map(\.0) == ConfigurationKey.tables)
    }

    @Test("the example changes nothing as it is, and says the defaults where its keys are put in force")
    func example() throws {
        let text = try Self.example()
        #expect(try parse(text) == Configuration())
        let inForce = text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            line.wholeMatch(of: /#(\[.*|[a-z_]+ = .*)/).map { String($0.output.1) } ?? String(line)
        }.joined(separator: "\n")
        var expected = Configuration()
        let none = Paths.Options()
        let paths = try Paths(options: none, configuration: expected, environment: [:], uid: 0)
        expected.server.socket = paths.socket
        expected.server.stateDirectory = paths.stateDirectory
        expected.credentials = try parse(credential()).credentials
        #expect(try parse(inForce) == expected)
    }

    @Test("the example holds each key once, after its reason and bounds word by word", arguments: ConfigurationKey.all)
    func exampleReasons(key: ConfigurationKey) throws {
        let words = try Self.example().split(whereSeparator: { " \n".contains($0) }).filter { $0 != "#" }
        let text = words.joined(separator: " ")
        var entry = key.reason
        if case .number(let range, _) = key.value { entry += " " + Self.bounds(range) }
        if case .credentialNumber(let range, _) = key.value { entry += " " + Self.bounds(range) }
        if key.atStart { entry += " Takes effect at the start." }
        entry += " #\(key.name) = "
        #expect(text.components(of: entry) == 1, "etc/scaem-tokend.toml lacks: \(entry)")
    }

    private static func bounds(_ range: ClosedRange<Int>) -> String {
        "From \(grouped(range.lowerBound)) to \(grouped(range.upperBound))."
    }

    private static func grouped(_ number: Int) -> String {
        number < 1_000 ? "\(number)" : grouped(number / 1_000) + "_" + "\(1_000 + number % 1_000)".dropFirst()
    }

    private static func example() throws -> String {
        let file = #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined() + "/etc/scaem-tokend.toml"
        let descriptor = open(file, O_RDONLY)
        try #require(descriptor >= 0, "\(file)")
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: ConfigurationFile.maxBytes)
        let count = read(descriptor, &bytes, bytes.count)
        try #require(count > 0)
        return String(decoding: bytes[..<count], as: UTF8.self)
    }
}

extension String {
    /// How often a text occurs.
    fileprivate func components(of text: String) -> Int { ranges(of: text).count }
}
