import TokenModel

/// The configuration's bytes: what is accepted keeps every bound, and what is refused is said in whole lines that point
/// into the file.
enum ConfigurationTarget {
    static func run(_ bytes: UnsafeRawBufferPointer) {
        let text = Array(bytes)
        do throws(ConfigurationError) {
            let configuration = try Configuration.parse(text, file: "f")
            checkBounds(configuration)
            checkOrder(configuration)
        } catch {
            checkError(error, lines: 1 + text.count { $0 == UInt8(ascii: "\n") })
        }
    }

    private static func checkBounds(_ configuration: Configuration) {
        for key in ConfigurationKey.all {
            switch key.value {
            case .number(let bounds, let field):
                check(bounds.contains(configuration[keyPath: field]), "\(key.path) is out of its bounds")
            case .path(let maxBytes, _, let field):
                guard let path = configuration[keyPath: field] else { continue }
                check(path.utf8.first == UInt8(ascii: "/") && path.utf8.count <= maxBytes, "\(key.path) is no path")
                check(path.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F }, "\(key.path) holds a control character")
            case .credentialNumber(let bounds, _):
                check(configuration.credentials.allSatisfy { bounds.contains($0.graceSeconds) }, "grace_seconds")
            case .credentialText: break
            }
        }
    }

    private static func checkOrder(_ configuration: Configuration) {
        let tokens = configuration.tokens
        check(
            tokens.ttlSecondsMin <= tokens.ttlSecondsDefault && tokens.ttlSecondsDefault <= tokens.ttlSecondsMax
                && tokens.graceSecondsDefault <= tokens.graceSecondsMax, "the times to live are out of order")
        let credentials = configuration.credentials
        check(credentials.allSatisfy { $0.graceSeconds <= tokens.graceSecondsMax }, "a grace beyond the largest")
        check(Set(credentials.map { [$0.unit, $0.credential] }).count == credentials.count, "an entry twice")
    }

    private static func checkError(_ error: ConfigurationError, lines: Int) {
        check(!error.problems.isEmpty && error.unnamed >= 0, "an error without a problem")
        check(error.problems.count <= ConfigurationError.problemsMax, "more problems than are named")
        for problem in error.problems {
            check(problem.line.map { (1...lines).contains($0) } ?? true, "line \(problem.line ?? 0) of \(lines)")
        }
        for line in error.lines {
            check(!line.utf8.contains { $0 < 0x20 || $0 == 0x7F }, "a control character in: \(shown(line.utf8))")
        }
    }
}
