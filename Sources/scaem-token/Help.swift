/// What `--help` prints, made of the table of commands.
enum Help {
    static var overview: String {
        var text = "scaem-token: get, check and end the tokens of this host's scaem-tokend\n\n"
        text += "Usage: scaem-token [--socket PATH] [--format json|text] COMMAND\n\nCommands:\n"
        text += columns(CommandSpec.all.map { ($0.name, $0.summary) })
        text += "\nOptions of all commands:\n"
        text += columns(Option.common.map { (synopsis($0), $0.help) })
        text += "\nExit codes:\n"
        text += columns(ExitCode.meanings.map { ("\($0.0.rawValue)", $0.1) })
        text += "\nscaem-token COMMAND --help says more. A token is never an argument: it comes from a file or standard"
        text += " input.\n"
        return text
    }

    static func text(of command: CommandSpec) -> String {
        var text = "scaem-token \(command.name): \(command.summary)\n\n"
        for (index, form) in command.forms.enumerated() {
            text += (index == 0 ? "Usage: " : "       ") + usage(of: command, form) + "\n"
        }
        if !command.details.isEmpty { text += "\n" }
        for line in command.details { text += line + "\n" }
        let own = Option.allCases.filter { option in command.forms.contains { $0.options.contains(option) } }
        if !own.isEmpty { text += "\nOptions:\n" + columns(own.map { (synopsis($0), $0.help) }) }
        text += "\nOptions of all commands:\n" + columns(Option.common.map { (synopsis($0), $0.help) })
        return text
    }

    /// `scaem-token NAME ARGUMENT [OPTIONS]` on one line.
    static func usage(of command: CommandSpec, _ form: CommandSpec.Form) -> String {
        var text = "scaem-token " + command.name
        for argument in form.arguments {
            text += argument.isRequired ? " \(argument.name)" : " [\(argument.name)]"
        }
        // An option without which another form would be meant is no choice.
        for option in form.options {
            text += option == .tokenFile ? " " + synopsis(option) : " [\(synopsis(option))]"
        }
        return text
    }

    private static func synopsis(_ option: Option) -> String {
        "--" + option.name + (option.value.map { " " + $0 } ?? "")
    }

    private static func columns(_ rows: [(String, String)]) -> String {
        let width = rows.map(\.0.utf8.count).max() ?? 0
        var text = ""
        for (left, right) in rows {
            text += "  " + left + String(repeating: " ", count: width - left.utf8.count + 2) + right + "\n"
        }
        return text
    }
}
