import Glibc
import Logging
import Systemd
import TokenServer

/// Keeps what passes through memory out of the swap, tokens above all: every page is locked when it is first touched, so
/// it costs one system call and no memory. Wiping is done besides, where a secret was sent; there is no core dump.
///
/// Only where RLIMIT_MEMLOCK is unlimited, as the unit sets it: under a limit a later mmap(2) would fail for it. A daemon
/// that somebody starts by hand has a limit, and says nothing of it.
func lockMemory(_ logger: Logger) {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(__RLIMIT_MEMLOCK.rawValue), &limit) == 0 else { return }
    var reason: String?
    if limit.rlim_cur != rlim_t.max {
        guard ServiceManager.isListening else { return }
        reason = "only \(limit.rlim_cur) bytes may be locked"
    } else if mlockall(CInt(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) != 0 {
        reason = String(cString: strerror(errno))
    }
    guard let reason else { return }
    logger.report(
        .warning, .memoryNotLocked, "memory could not be locked, so tokens may reach the swap", ["reason": "\(reason)"])
}
