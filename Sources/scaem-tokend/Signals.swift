import CLinux
import Glibc

/// The signals the daemon answers to, as a descriptor that the main thread waits on (signalfd(2)).
struct Signals: ~Copyable {
    private let descriptor: CInt

    /// Blocks them in this thread and in all that it starts later: so before any other thread.
    init() {
        var set = sigset_t()
        sigemptyset(&set)
        for signal in [SIGTERM, SIGINT, SIGHUP] { sigaddset(&set, signal) }
        pthread_sigmask(SIG_BLOCK, &set, nil)
        signal(SIGPIPE, SIG_IGN)
        descriptor = signalfd(-1, &set, CInt(SFD_CLOEXEC))
    }

    /// Waits for the next one.
    func next() -> CInt {
        var info = signalfd_siginfo()
        while read(descriptor, &info, MemoryLayout<signalfd_siginfo>.size) != MemoryLayout<signalfd_siginfo>.size {}
        return CInt(info.ssi_signo)
    }

    /// Whether a stop has been asked for and nobody has taken it yet. Any thread.
    static var isStopPending: Bool {
        var pending = sigset_t()
        return sigpending(&pending) == 0 && (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1)
    }

    deinit { close(descriptor) }
}
