import TOMLKit
import TokenModel

extension ConfigurationReader {
    /// Reads the `[[credential]]` entries.
    mutating func readCredentials(_ value: any TOMLValueConvertible, _ path: KeyPathInFile) {
        guard let entries = value.array else {
            note(path, "must be an array of tables, [[\(path)]], not \(Self.describe(value))")
            return
        }
        for index in 0..<entries.count {
            let place = path.appending(index)
            if let table = entries[index].table {
                readCredential(table, place)
            } else {
                note(place, "must be a table, not \(Self.describe(entries[index]))")
            }
        }
    }

    private mutating func readCredential(_ table: TOMLTable, _ place: KeyPathInFile) {
        let keys = ConfigurationKey.keys(of: ConfigurationKey.credentialTable)
        for name in table.keys where !keys.contains(where: { $0.name == name }) {
            noteUnknown(place.appending(name), keys, "[[\(ConfigurationKey.credentialTable)]]")
        }
        let unit = entry(.unit, table, place, expected: "the name of a unit", Self.unitRule)
        let credential = entry(.credential, table, place, expected: "the ID of a credential", Self.credentialRule)
        let application = entry(.application, table, place, expected: "the name of an application") {
            Self.application($0) == nil ? Self.nameRule : nil
        }
        let project = entry(.projectCode, table, place, expected: "a project code") {
            ProjectCode($0) == nil ? Self.nameRule : nil
        }
        let grace = graceSeconds(table, place)
        if let unit, let credential, let grace, let application = application.flatMap(Self.application),
            let project = project.flatMap({ ProjectCode($0) })
        {
            keep(
                Configuration.Credential(
                    unit: unit, credential: credential, application: application, projectCode: project,
                    graceSeconds: grace),
                at: place)
        }
    }

    private mutating func entry(
        _ text: ConfigurationKey.CredentialText, _ table: TOMLTable, _ place: KeyPathInFile, expected: String,
        _ rule: (String) -> String?
    ) -> String? {
        let key = ConfigurationKey.all.first {
            if case .credentialText(text, _) = $0.value { true } else { false }
        }
        guard let key else { return nil }
        let path = place.appending(key.name)
        guard let value = table[key.name] else {
            noteMissing(path, in: place, "is missing: it must be \(expected)")
            return nil
        }
        return self.text(value, path, expected: expected, rule)
    }

    private mutating func graceSeconds(_ table: TOMLTable, _ place: KeyPathInFile) -> Int? {
        for key in ConfigurationKey.keys(of: ConfigurationKey.credentialTable) {
            guard case .credentialNumber(let range, let standard) = key.value else { continue }
            guard let value = table[key.name] else { return standard }
            return number(value, range, place.appending(key.name))
        }
        return nil
    }

    /// A unit may also be given the application that is itself, whose name may hold an escape's backslashes.
    private static func application(_ name: String) -> ApplicationName? {
        ApplicationName(name) ?? ApplicationName(unitPrincipal: name)
    }

    private static let nameRule =
        "1 to 128 of the characters A-Z a-z 0-9 . _ : @ / -, the first a letter, a digit or _"

    /// systemd.unit(5): what may have credentials (services, and the commands of sockets, mounts and swaps).
    private static func unitRule(_ unit: String) -> String? {
        let suffixes = [".service", ".socket", ".mount", ".swap"]
        guard let suffix = suffixes.first(where: { unit.utf8.count > $0.utf8.count && unit.hasSuffix($0) }) else {
            return "the full name of a unit, such as web.service"
        }
        guard unit.utf8.count <= 255, unit.utf8.allSatisfy({ isASCIILetterOrDigit($0) || ":-_.\\@".utf8.contains($0) })
        else {
            return "at most 255 of the characters A-Z a-z 0-9 : - _ . \\ @"
        }
        let stem = unit.utf8.dropLast(suffix.utf8.count)
        if stem.first == UInt8(ascii: "@") { return "the full name of a unit, such as web.service" }
        if stem.last == UInt8(ascii: "@") { return "an instance such as web@1.service: a template never runs" }
        return nil
    }

    /// systemd.exec(5), LoadCredential=: "a short ASCII string suitable as filename"; a colon would end it.
    private static func credentialRule(_ name: String) -> String? {
        let good =
            (1...255).contains(name.utf8.count) && name != "." && name != ".."
            && name.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: ":") }
        return good ? nil : "1 to 255 printable ASCII characters without space, / and :"
    }

    private static func isASCIILetterOrDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: false
        }
    }
}
