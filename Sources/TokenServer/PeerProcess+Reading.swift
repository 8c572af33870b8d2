import CLinux
import Glibc
import Systemd
import TokenModel

extension PeerProcess {
    /// Reads what the system says of the process that connected. Opens files of proc(5): not for an event loop.
    ///
    /// What is read by pid may be another's, so it counts only where the process is still there afterwards: until it is
    /// waited for, nobody else gets its pid. The kernel names the very process that connected (SO_PEERPIDFD, since 6.5);
    /// an older one says only which pid it had, and a process that ended before this was called is then taken for its
    /// successor.
    init(peerOf descriptor: CInt, pid: Int32) {
        let process = linux_peer_process(descriptor, pid)
        guard process >= 0 else {
            self.init(pid: pid)
            return
        }
        defer { close(process) }
        let unit = ServiceManager.unit(ofProcess: pid)
        let comm = Self.comm(pid)
        let invocationID = unit.flatMap { ServiceManager.invocationID(ofUnit: $0) }
        if linux_is_gone(process) != 0 {
            self.init(pid: pid)
        } else {
            self.init(pid: pid, unit: unit, invocationID: invocationID, comm: comm)
        }
    }

    /// 15 bytes at most, of any kind, behind which proc(5) puts a LF.
    private static func comm(_ pid: Int32) -> String? {
        let file = linux_open("/proc/\(pid)/comm", O_RDONLY | O_CLOEXEC, 0)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 64)
        let count = read(file, &bytes, bytes.count)
        guard count > 1 else { return nil }
        return String(decoding: bytes[..<(count - 1)], as: UTF8.self)
    }
}
