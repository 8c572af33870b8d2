import CLinux
import Glibc

/// The file that `--output` names: replaced in one step by one that holds the token alone, or left as it was.
///
/// Made before the request is sent, with the token's room reserved, so that a folder that cannot be written and a disk
/// that is full cost no token. What is left to fail after the request is the disk itself.
final class TokenFile {
    /// A token has 72 bytes; the room is for whatever a daemon may call one.
    static let reservedBytes = 4_096

    /// What the user named, for messages.
    private let name: String
    /// The file that is replaced: `name` with its symbolic links followed.
    private let target: String
    private let temporary: String
    private let folder: Int32
    private let file: Int32

    /// Makes the file beside `name`.
    /// - Throws: 73 where it cannot be, or where `name` is no file.
    init(_ name: String) throws(Failure) {
        self.name = name
        target = try Self.followLinks(name)
        try Self.refuseWhatIsNoFile(target, name)
        let path = Self.folder(of: target)
        folder = linux_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
        // A folder may be one to write into and not to be read.
        guard folder >= 0 || errno == EACCES else {
            throw Failure(.cannotWrite, "\(name) cannot be written: its folder", errno: errno)
        }
        guard linux_what_keeps_a_file(path + "/.") != EPERM else {
            throw Failure(.cannotWrite, "\(name) cannot be written: its folder is immutable or append-only (lsattr(1))")
        }
        // A name of its own: one made of a long target's could be too long.
        var template = Array((path + "/.scaem-token.XXXXXX").utf8CString)
        // mkstemp(3): O_EXCL and mode 0600.
        file = template.withUnsafeMutableBufferPointer { mkstemp($0.baseAddress!) }  // it is not empty
        let error = errno
        temporary = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }  // it has its closing zero
        guard file >= 0 else {
            throw Failure(.cannotWrite, "\(name) cannot be written: nothing can be made beside it", errno: error)
        }
        SignalCleanup.set(temporary: temporary)
        SignalCleanup.install()
        let full = posix_fallocate(file, 0, off_t(Self.reservedBytes))
        // A file system that cannot reserve says so (EOPNOTSUPP); glibc then writes, so what is left are real refusals.
        guard full == 0 || full == EOPNOTSUPP || full == EINVAL else {
            throw Failure(.cannotWrite, "\(name) cannot be written: there is no room for it", errno: full)
        }
    }

    deinit {
        // Gone already where it was renamed.
        if file >= 0 {
            unlinkTemporary()
            close(file)
        }
        if folder >= 0 { close(folder) }
    }

    private var isCommitted = false

    private func unlinkTemporary() {
        guard !isCommitted else { return }
        // Should it have to stay, then without a token.
        _ = ftruncate(file, 0)
        unlink(temporary)
        SignalCleanup.clear()
    }

    /// Writes the token, syncs it, and puts the file in place. Signals wait meanwhile.
    /// - Throws: 73; the target is then as it was.
    func commit(_ token: UnsafeRawBufferPointer) throws(Failure) {
        let error = SignalCleanup.withSignalsBlocked { () -> Int32 in
            guard token.count <= Self.reservedBytes else { return EFBIG }
            var written = 0
            while written < token.count {
                let count = pwrite(file, token.baseAddress.map { $0 + written }, token.count - written, off_t(written))
                if count < 0 && errno != EINTR { return errno }
                written += max(0, count)
            }
            guard ftruncate(file, off_t(token.count)) == 0, fsync(file) == 0 else { return errno }
            guard rename(temporary, target) == 0 else { return errno }
            isCommitted = true
            return 0
        }
        guard error == 0 else {
            throw Failure(
                .cannotWrite,
                "\(name) cannot be written and is as it was; the token that was issued is lost, rotate again",
                errno: error)
        }
        SignalCleanup.clear()
        // The token is in place for everybody; only a power cut in the next moments could bring the old file back.
        // Where the folder may not be read, its file system is synced.
        if folder >= 0 ? fsync(folder) != 0 && errno != EINVAL : linux_sync_file_system(file) != 0 {
            Failure.report(
                "\(name) holds the token, but its folder cannot be synced: \(String(cString: strerror(errno)))")
        }
    }
}

/// Which file it is that is to be replaced.
extension TokenFile {
    /// Follows symbolic links by hand, for the last one may name a file that is not there yet.
    private static func followLinks(_ name: String) throws(Failure) -> String {
        var path = name
        // As many as the kernel follows (path_resolution(7)).
        for _ in 0..<40 {
            var status = stat()
            guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFLNK else { return path }
            try refuseForeignLink(path, owner: status.st_uid, name)
            var room = [UInt8](repeating: 0, count: Int(PATH_MAX))
            let count = room.withUnsafeMutableBytes { room in
                readlink(path, room.bindMemory(to: CChar.self).baseAddress!, room.count)  // PATH_MAX is not 0
            }
            guard count > 0 else { throw Failure(.cannotWrite, "\(name) cannot be followed", errno: errno) }
            // Repaired in silence it would be another file's.
            guard let link = String(validating: room.prefix(count), as: UTF8.self) else {
                throw Failure(.cannotWrite, "\(name) is a symbolic link whose target is not UTF-8")
            }
            path = link.utf8.first == UInt8(ascii: "/") ? link : folder(of: path) + "/" + link
        }
        throw Failure(.cannotWrite, "\(name) cannot be followed", errno: ELOOP)
    }

    /// What the kernel does for open(2) with fs.protected_symlinks: in a folder like /tmp, anybody could have put the
    /// link there to have another file replaced.
    private static func refuseForeignLink(_ path: String, owner: uid_t, _ name: String) throws(Failure) {
        var status = stat()
        guard stat(folder(of: path), &status) == 0 else { return }
        let isShared = status.st_mode & (S_ISVTX | S_IWOTH) == S_ISVTX | S_IWOTH
        if isShared, owner != geteuid(), owner != status.st_uid {
            throw Failure(.cannotWrite, "\(name) is another user's symbolic link in a folder that all may write")
        }
    }

    private static func refuseWhatIsNoFile(_ target: String, _ name: String) throws(Failure) {
        guard !target.isEmpty else { throw Failure(.usage, "--output needs the name of a file") }
        guard name != "-" else {
            throw Failure(
                .usage, "--output needs the name of a file: without it the credentials are printed; ./- is a file")
        }
        var status = stat()
        if lstat(target, &status) != 0 {
            guard errno == ENOENT else { throw Failure(.cannotWrite, "\(name) cannot be written", errno: errno) }
            guard target.utf8.last != UInt8(ascii: "/") else {
                throw Failure(.cannotWrite, "\(name) names a folder, where a file is needed")
            }
            return
        }
        switch status.st_mode & S_IFMT {
        case S_IFREG: try refuseWhatStays(target, owner: status.st_uid, name)
        case S_IFDIR: throw Failure(.cannotWrite, "\(name) is a folder, where a file is needed")
        default: throw Failure(.cannotWrite, "\(name) is not a regular file and cannot be replaced by one")
        }
    }

    /// What rename(2) would refuse once the token has been issued: another's file in a folder whose sticky bit is set, a mount
    /// point, and what chattr(1) has made immutable or append-only.
    private static func refuseWhatStays(_ target: String, owner: uid_t, _ name: String) throws(Failure) {
        var status = stat()
        let user = geteuid()
        if user != owner, linux_acts_for_owners() == 0, stat(folder(of: target), &status) == 0,
            status.st_mode & S_ISVTX != 0,
            user != status.st_uid
        {
            throw Failure(
                .cannotWrite, "\(name) is another user's file in a folder where only its owner may replace it")
        }
        switch linux_what_keeps_a_file(target) {
        case EBUSY: throw Failure(.cannotWrite, "\(name) is a mount point, which no file can replace")
        case EPERM: throw Failure(.cannotWrite, "\(name) is immutable or append-only (lsattr(1))")
        default: return
        }
    }

    private static func folder(of path: String) -> String {
        guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }
}
