/// Everything that is wrong with a configuration, or with the paths that follow from it.
struct ConfigurationError: Error, Sendable, Equatable, CustomStringConvertible {
    /// One thing that is wrong.
    struct Problem: Sendable, Equatable {
        /// From 1; nil where the problem is not in a line.
        var line: Int?
        /// From 1, in characters; only a syntax error has one.
        var column: Int?
        /// Such as `tokens.per_owner` or `credential[1].unit` (counted from 0); nil where it is about no key.
        var key: String?
        /// What is expected and, where there is one, what is there instead; no full stop.
        var message: String
    }

    /// The most problems that are named one by one; who has more fixes these first.
    static let problemsMax = 50

    /// Nil where the problem is not in a file.
    let file: String?
    /// In the order of the lines; never empty.
    let problems: [Problem]
    /// Problems beyond `problemsMax`.
    let unnamed: Int

    init(file: String?, problems: [Problem], unnamed: Int = 0) {
        self.file = file
        self.problems = problems
        self.unnamed = unnamed
    }

    init(file: String?, _ message: String) {
        self.init(file: file, problems: [Problem(message: message)])
    }

    /// One line a problem, such as `/etc/x.toml:12: tokens.per_owner: must be …`: what people read and what
    /// `data.errors` of -32012 holds.
    var lines: [String] {
        var lines = problems.map { problem in
            var parts: [String] = []
            if let file {
                parts.append(
                    ([file] + [problem.line, problem.column].compactMap { $0.map(String.init) }).joined(separator: ":"))
            }
            if let key = problem.key { parts.append(key) }
            parts.append(problem.message)
            return parts.joined(separator: ": ")
        }
        if unnamed > 0 { lines.append("\(file ?? "the configuration"): \(unnamed) more") }
        return lines
    }

    var description: String { lines.joined(separator: "\n") }
}
