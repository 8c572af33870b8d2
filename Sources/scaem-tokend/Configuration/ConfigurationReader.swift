import Glibc
import TOMLKit
import TokenModel

extension Configuration {
    /// Reads the configuration that holds for a command.
    /// - Parameters:
    ///   - named: the file of `--config`; it must exist. Nil: the standard file, which may be absent.
    ///   - standard: where the standard file is.
    ///   - uid: the user that runs the daemon; the file must belong to it or to root.
    /// - Returns: nil where the standard file is absent: the defaults hold.
    /// - Throws: all that is wrong with the file, not only what comes first.
    static func load(
        named: String?, standard: String = standardFile, uid: UInt32 = geteuid()
    ) throws(ConfigurationError) -> Configuration? {
        let path = named ?? standard
        guard let bytes = try ConfigurationFile.read(path, uid: uid) else {
            if named == nil { return nil }
            throw ConfigurationError(file: path, "does not exist")
        }
        return try parse(bytes, file: path)
    }

    /// Reads a configuration from the bytes of a file.
    /// - Parameter file: the name for messages.
    static func parse(_ bytes: [UInt8], file: String) throws(ConfigurationError) -> Configuration {
        let text = try checkedText(bytes, file: file)
        let root: TOMLTable
        do {
            root = try TOMLTable(string: text)
        } catch let error as TOMLParseError {
            let start = error.source.begin
            throw ConfigurationError(
                file: file,
                problems: [.init(line: start.line, column: start.column, message: onOneLine(error.description))])
        } catch {
            throw ConfigurationError(file: file, "\(error)")
        }
        // TOMLKit never frees a table; emptied, what stays of each reload is a few bytes.
        defer { root.clear() }
        var reader = ConfigurationReader()
        reader.read(root)
        reader.deriveDefaults()
        reader.crossCheck()
        guard reader.findings.isEmpty else { throw located(reader.findings, text: text, file: file) }
        return reader.configuration
    }

    /// A sentence of the library's, which may repeat any character of the file: a line feed would make it two problems,
    /// an escape would speak to the terminal of whoever reads it.
    private static func onOneLine(_ sentence: String) -> String {
        sentence.unicodeScalars.reduce(into: "") { text, scalar in
            text += scalar.properties.generalCategory == .control ? scalar.escaped(asASCII: true) : String(scalar)
        }
    }

    /// The text of a file, without what the library would misread: it takes a C string, and hands C strings back, so
    /// that a NUL in the file or in an escape would hide what follows it; and over some texts it ends the process.
    private static func checkedText(_ bytes: [UInt8], file: String) throws(ConfigurationError) -> String {
        let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        for (index, line) in lines.enumerated() {
            guard let text = String(validating: line, as: UTF8.self) else {
                throw ConfigurationError(file: file, problems: [.init(line: index + 1, message: "is not UTF-8")])
            }
            if line.contains(0) || text.contains("\\u0000") || text.contains("\\U00000000") {
                throw ConfigurationError(
                    file: file, problems: [.init(line: index + 1, message: "a NUL has no place in a configuration")])
            }
        }
        if let problem = AssertedText.problem(in: bytes) { throw ConfigurationError(file: file, problems: [problem]) }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func located(
        _ findings: [ConfigurationReader.Finding], text: String, file: String
    ) -> ConfigurationError {
        let named = findings.prefix(ConfigurationError.problemsMax)
        var locator = KeyLocator(text: text, paths: named.map(\.place))
        let problems = zip(named, locator.lines()).map { finding, line in
            ConfigurationError.Problem(line: line, key: finding.key.description, message: finding.message)
        }
        // By line; where there is none, last. `sorted` is stable only by the index beside it.
        let ordered = problems.enumerated().sorted {
            ($0.element.line ?? .max, $0.offset) < ($1.element.line ?? .max, $1.offset)
        }
        return ConfigurationError(
            file: file, problems: ordered.map(\.element), unnamed: findings.count - named.count)
    }
}

/// Takes the values out of a parsed document and notes all that is wrong.
struct ConfigurationReader {
    /// Something wrong, not yet with its line.
    struct Finding {
        /// What the message names.
        var key: KeyPathInFile
        /// What is in the file: the key itself or, where that is missing, its table.
        var place: KeyPathInFile
        var message: String
    }

    private(set) var configuration = Configuration()
    private(set) var findings: [Finding] = []
    /// The keys that the file gives, as `table.name`, and whose values are good on their own.
    private(set) var given: Set<String> = []
    /// Where in the file each of `configuration.credentials` stands.
    private(set) var credentialPlaces: [KeyPathInFile] = []

    /// Notes something wrong with a key that is in the file.
    mutating func note(_ key: KeyPathInFile, _ message: String) {
        findings.append(Finding(key: key, place: key, message: message))
    }

    /// Notes a key whose line is that of its table where the table does not have it.
    mutating func noteMissing(_ key: KeyPathInFile, in table: KeyPathInFile, _ message: String) {
        findings.append(Finding(key: key, place: table, message: message))
    }

    /// Reads a whole document.
    mutating func read(_ root: TOMLTable) {
        for name in root.keys {
            guard let value = root[name] else { continue }
            let path = KeyPathInFile(name)
            if name == ConfigurationKey.credentialTable {
                readCredentials(value, path)
            } else if !ConfigurationKey.tables.contains(name) {
                let known = (ConfigurationKey.tables.map { "[\($0)]" } + ["[[\(ConfigurationKey.credentialTable)]]"])
                note(path, "is not known here; there are \(known.joined(separator: ", "))")
            } else if let table = value.table {
                readTable(table, name)
            } else {
                note(path, "must be a table, not \(Self.describe(value))")
            }
        }
    }

    /// What a key that is not given follows from: who lowers the bound of all connections does not mean that one user may
    /// have them all.
    mutating func deriveDefaults() {
        guard !given.contains("limits.connections_per_user") else { return }
        configuration.limits.connectionsPerUser = min(
            configuration.limits.connectionsPerUser, configuration.limits.connections / 4)
    }

    private mutating func readTable(_ table: TOMLTable, _ name: String) {
        let keys = ConfigurationKey.keys(of: name)
        for entry in table.keys {
            let path = KeyPathInFile(name, entry)
            guard let value = table[entry] else { continue }
            guard let key = keys.first(where: { $0.name == entry }) else {
                noteUnknown(path, keys, "[\(name)]")
                continue
            }
            switch key.value {
            case .number(let range, let field):
                if let number = number(value, range, path) {
                    configuration[keyPath: field] = number
                    given.insert(key.path)
                }
            case .path(let maxBytes, _, let field):
                if let text = text(value, path, expected: "an absolute path", Self.pathRule(maxBytes: maxBytes)) {
                    configuration[keyPath: field] = text
                    given.insert(key.path)
                }
            case .credentialNumber, .credentialText:
                continue  // No table of `ConfigurationKey.tables` has these.
            }
        }
    }

    /// Notes a key that its table does not have.
    mutating func noteUnknown(_ path: KeyPathInFile, _ keys: [ConfigurationKey], _ table: String) {
        note(path, "is not known here; \(table) has \(keys.map(\.name).joined(separator: ", "))")
    }

    /// The value as a whole number within bounds; nil where it is none, which is noted.
    mutating func number(
        _ value: any TOMLValueConvertible, _ range: ClosedRange<Int>, _ path: KeyPathInFile
    ) -> Int? {
        if let number = value.int, range.contains(number) { return number }
        note(
            path,
            "must be a whole number from \(range.lowerBound) to \(range.upperBound), not \(Self.describe(value))")
        return nil
    }

    /// The value as a text that keeps a rule; nil where it does not, which is noted.
    /// - Parameter rule: what is wrong with a text, as what it must be instead; nil where it is good.
    mutating func text(
        _ value: any TOMLValueConvertible, _ path: KeyPathInFile, expected: String, _ rule: (String) -> String?
    ) -> String? {
        guard let text = value.string else {
            note(path, "must be \(expected) in quotes, not \(Self.describe(value))")
            return nil
        }
        guard let complaint = rule(text) else { return text }
        note(path, "must be \(complaint), not \(Self.describe(value))")
        return nil
    }

    static func pathRule(maxBytes: Int) -> (String) -> String? {
        { path in
            if !path.utf8.starts(with: "/".utf8) { return "an absolute path" }
            if path.utf8.contains(where: { $0 < 0x20 || $0 == 0x7f }) { return "a path without control characters" }
            if path.utf8.count > maxBytes { return "a path of at most \(maxBytes) bytes" }
            return nil
        }
    }

    /// A value as messages show it: short, on one line.
    static func describe(_ value: any TOMLValueConvertible) -> String {
        switch value.type {
        case .string:
            let text = value.string ?? ""
            return text.count > 40 ? String(reflecting: String(text.prefix(40))) + "…" : String(reflecting: text)
        case .int: return value.int.map(String.init) ?? "a whole number"
        case .double: return value.double.map { "\($0)" } ?? "a fraction"
        case .bool: return value.bool == true ? "true" : "false"
        case .table: return "a table"
        case .array: return "an array"
        case .date: return "a date"
        case .time: return "a time"
        case .dateTime: return "a date and time"
        }
    }

    /// Keeps a credential entry that is good on its own.
    mutating func keep(_ credential: Configuration.Credential, at place: KeyPathInFile) {
        configuration.credentials.append(credential)
        credentialPlaces.append(place)
    }
}
