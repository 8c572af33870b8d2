import Testing

@testable import scaem_tokend

/// Reads a text as if it were the file `c.toml`.
func parse(_ text: String) throws(ConfigurationError) -> Configuration {
    try Configuration.parse(Array(text.utf8), file: "c.toml")
}

/// The messages of a text that must be refused; none where it is taken, which is noted as an issue.
func refusals(_ text: String, _ location: SourceLocation = #_sourceLocation) -> [String] {
    do {
        _ = try parse(text)
        Issue.record("taken: \(text.debugDescription)", sourceLocation: location)
        return []
    } catch {
        return error.lines
    }
}

/// A good `[[credential]]` with some lines left out and others added.
func credential(without name: String? = nil, adding lines: String...) -> String {
    let entry = [
        ("unit", "unit = \"web.service\""), ("credential", "credential = \"token\""),
        ("application", "application = \"web\""), ("project_code", "project_code = \"P\""),
    ]
    return (["[[credential]]"] + entry.filter { $0.0 != name }.map(\.1) + lines).joined(separator: "\n") + "\n"
}
