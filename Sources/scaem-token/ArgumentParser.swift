/// What the arguments ask for.
enum ParsedArguments {
    case run(Invocation)
    /// Of a command, or of all.
    case help(CommandSpec?)
    case version
}

/// A command with what was given to it.
struct Invocation {
    let command: CommandSpec
    let arguments: [String]
    let options: [(option: Option, value: String)]

    subscript(_ option: Option) -> String? { options.first { $0.option == option }?.value }

    func has(_ option: Option) -> Bool { options.contains { $0.option == option } }
}

/// Options may stand before and behind the command and its arguments, as `--name value` or `--name=value`; `--` ends them.
enum ArgumentParser {
    static func parse(_ words: [String]) throws(Failure) -> ParsedArguments {
        try refuseTokens(words)
        let (positionals, options) = try split(words)
        func has(_ option: Option) -> Bool { options.contains { $0.option == option } }

        guard let name = positionals.first else {
            if has(.help) { return .help(nil) }
            if has(.version) { return .version }
            throw Failure(.usage, "which command? scaem-token --help names them")
        }
        guard let command = CommandSpec.named(name) else { throw unknownCommand(name) }
        if has(.help) { return .help(command) }
        if has(.version) { return .version }
        let arguments = Array(positionals.dropFirst())
        try check(command, arguments, options.map(\.option))
        return .run(Invocation(command: command, arguments: arguments, options: options))
    }

    /// Arguments can be read by every user of the host: a token in one is given away already, and must at least not
    /// work.
    private static func refuseTokens(_ words: [String]) throws(Failure) {
        for word in words where TokenText.isIn(word) {
            throw Failure(
                .usage,
                "a token was given as an argument, which other users can read: give it in a file or on standard input"
                    + " (-), and replace this one, for it has been seen")
        }
    }

    private static func split(
        _ words: [String]
    ) throws(Failure) -> (positionals: [String], options: [(option: Option, value: String)]) {
        var positionals: [String] = []
        var options: [(option: Option, value: String)] = []
        var rest = words[...]
        while let word = rest.popFirst() {
            if word == "--" {
                positionals += rest
                break
            }
            guard word.utf8.first == UInt8(ascii: "-"), word != "-" else {
                positionals.append(word)
                continue
            }
            let (name, attached) = cut(word == "-h" ? "--help" : word)
            guard let option = Option.allCases.first(where: { "--" + $0.name == name }) else {
                throw unknownOption(name)
            }
            guard !options.contains(where: { $0.option == option }) else {
                throw Failure(.usage, "\(name) is given twice")
            }
            options.append((option, try value(of: option, attached, &rest)))
        }
        return (positionals, options)
    }

    private static func value(
        of option: Option, _ attached: String?, _ rest: inout ArraySlice<String>
    ) throws(Failure) -> String {
        guard let placeholder = option.value else {
            guard attached == nil else { throw Failure(.usage, "--\(option.name) takes no value") }
            return ""
        }
        if let attached { return attached }
        // What looks like an option is one: `--output --format json` has forgotten its file.
        guard let next = rest.first, !next.utf8.starts(with: "--".utf8) else {
            throw Failure(.usage, "--\(option.name) needs a value: --\(option.name) \(placeholder)")
        }
        rest = rest.dropFirst()
        return next
    }

    /// `--name=value` in its two parts.
    private static func cut(_ word: String) -> (name: String, value: String?) {
        guard let sign = word.utf8.firstIndex(of: UInt8(ascii: "=")) else { return (word, nil) }
        return (String(word[..<sign]), String(word[word.utf8.index(after: sign)...]))
    }

    /// Whether one of the command's forms takes these options and as many arguments.
    private static func check(
        _ command: CommandSpec, _ arguments: [String], _ given: [Option]
    ) throws(Failure) {
        let special = given.filter { !Option.common.contains($0) }
        for option in special where !command.forms.contains(where: { $0.options.contains(option) }) {
            throw Failure(.usage, "\(command.name) has no --\(option.name); \(seeHelp(command))")
        }
        guard let form = command.forms.first(where: { form in special.allSatisfy(form.options.contains) }) else {
            let names = special.map { "--" + $0.name }
            throw Failure(.usage, "\(joined(names, " and ")) do not go together; \(seeHelp(command))")
        }
        let required = form.arguments.filter(\.isRequired)
        if arguments.count < required.count {
            let missing = joined(required.dropFirst(arguments.count).map(\.name), " and ")
            throw Failure(.usage, "\(missing) is missing: \(Help.usage(of: command, form))")
        }
        if arguments.count > form.arguments.count {
            let surplus = arguments[form.arguments.count]
            throw Failure(.usage, "\"\(surplus)\" is one argument too many: \(Help.usage(of: command, form))")
        }
    }

    private static func unknownCommand(_ name: String) -> Failure {
        let hint = NearestName.of(name, among: CommandSpec.all.map(\.name)).map { "did you mean \($0)?" }
        return Failure(
            .usage, "there is no command \"\(name)\"; " + (hint ?? "scaem-token --help names them"))
    }

    private static func unknownOption(_ name: String) -> Failure {
        let hint = NearestName.of(name, among: Option.allCases.map { "--" + $0.name }).map { "did you mean \($0)?" }
        return Failure(.usage, "there is no option \(name); " + (hint ?? "scaem-token --help names them"))
    }

    private static func seeHelp(_ command: CommandSpec) -> String { "see scaem-token \(command.name) --help" }
}

/// Texts in a row, with something between them.
func joined(_ texts: [String], _ separator: String) -> String {
    var result = ""
    for (index, text) in texts.enumerated() {
        if index > 0 { result += separator }
        result += text
    }
    return result
}
