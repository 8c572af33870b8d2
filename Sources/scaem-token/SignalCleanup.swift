import Glibc

/// What must not be left behind when a signal ends the process: a file beside the real one, a terminal without echo.
///
/// The handler does only what signal-safety(7) allows: it reads globals that were written before it was installed, calls
/// unlink(2) and tcsetattr(3), and lets the signal end the process as it would have.
enum SignalCleanup {
    /// A path that `strdup` made, to be unlinked; nil: none. Changed only by `set` and `clear`, with the signals blocked.
    nonisolated(unsafe) private(set) static var temporary: UnsafeMutablePointer<CChar>?
    /// The terminal's settings to go back to. One thread; a handler that runs between sees the old or the new value.
    nonisolated(unsafe) static var terminal: termios?

    private static let signals = [SIGHUP, SIGINT, SIGTERM, SIGQUIT]

    static func install() {
        // Read once here: a lazy first access within the handler would not be safe.
        _ = (temporary, terminal)
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { signal in
            if let path = SignalCleanup.temporary { unlink(path) }
            if var settings = SignalCleanup.terminal { tcsetattr(STDIN_FILENO, TCSANOW, &settings) }
            Glibc.signal(signal, SIG_DFL)
            raise(signal)
        }
        for number in signals {
            var before = sigaction()
            sigaction(number, nil, &before)
            // Who ignores it (nohup) goes on ignoring it.
            if !isIgnored(before) { sigaction(number, &action, nil) }
        }
    }

    private static func isIgnored(_ action: sigaction) -> Bool {
        let handler = unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self)
        return handler == unsafeBitCast(SIG_IGN, to: Int.self)
    }

    /// Names the file that a signal is to remove.
    static func set(temporary path: String) {
        let copy = strdup(path)
        withSignalsBlocked { temporary = copy }
    }

    /// There is nothing to remove any more.
    static func clear() {
        let old = temporary
        withSignalsBlocked { temporary = nil }
        free(old)
    }

    /// Holds the signals back while `body` runs: what it does is done whole or not at all.
    static func withSignalsBlocked<Result>(_ body: () -> Result) -> Result {
        var set = sigset_t()
        sigemptyset(&set)
        for number in signals { sigaddset(&set, number) }
        var before = sigset_t()
        sigprocmask(SIG_BLOCK, &set, &before)
        let result = body()
        sigprocmask(SIG_SETMASK, &before, nil)
        return result
    }
}
