// The client of scaem-tokend. Commands (CommandTable.swift has each with its options, scaem-token(1) what scripts may rely
// on):
//
//   register, generate, rotate, obtain     issue a token
//   introspect, revoke, unregister         look at one, end some
//   list, watch                            what there is, what happens
//   whoami, status, ping                   about the daemon and this caller
//   fingerprint                            offline
//   call                                   any method
//
// It must start in a millisecond and need no library but libc's: no Foundation, no argument parser's package.
import Glibc
import TokenRPC

@main
enum ScaemToken {
    static func main() {
        // A limit on file sizes is to be an error of write(2), not the end of the process with a file left behind.
        // SIGPIPE stays as it was inherited: who closes the pipe behind standard output wants no more.
        signal(SIGXFSZ, SIG_IGN)
        exit(run(arguments: processArguments()).rawValue)
    }

    /// Runs one command; whatever goes wrong is one line on standard error.
    static func run(arguments: [String]?) -> ExitCode {
        do throws(Failure) {
            guard let arguments else { throw Failure(.usage, "the arguments must be UTF-8") }
            switch try ArgumentParser.parse(arguments) {
            case .help(let command):
                try StandardOutput.write(text: command.map(Help.text(of:)) ?? Help.overview)
                return .success
            case .version:
                try StandardOutput.write(text: "scaem-token \(programVersion)\n")
                return .success
            case .run(let invocation):
                return try invocation.command.run(try Session(invocation))
            }
        } catch {
            error.report()
            return error.exitCode
        }
    }

    /// The arguments without the program's name, or nil where one is not UTF-8: a name that was repaired in silence
    /// would be another name.
    private static func processArguments() -> [String]? {
        var arguments: [String] = []
        for index in 1..<max(1, Int(CommandLine.argc)) {
            guard let bytes = CommandLine.unsafeArgv[index] else { break }
            guard let text = String(validatingCString: bytes) else { return nil }
            arguments.append(text)
        }
        return arguments
    }
}
