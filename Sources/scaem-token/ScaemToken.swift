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
import CLinux
import Glibc
import TokenRPC

@main
enum ScaemToken {
    static func main() {
        // No core, and no ptrace(2) of the same user's: what is read and asked for is a token.
        _ = linux_set_dumpable(0)
        occupyStandardDescriptors()
        // A limit on file sizes is to be an error of write(2), not the end of the process with a file left behind.
        // SIGPIPE stays as it was inherited: who closes the pipe behind standard output wants no more.
        signal(SIGXFSZ, SIG_IGN)
        exit(run(arguments: processArguments()).rawValue)
    }

    /// Where the caller has closed one of the three, the token's file or the socket would get its number, and what is meant for
    /// people would go there. Opened the wrong way round, so that to use it is an error, as it would be of a closed one.
    private static func occupyStandardDescriptors() {
        for descriptor in STDIN_FILENO...STDERR_FILENO where fcntl(descriptor, F_GETFD) == -1 {
            _ = open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY)
        }
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
