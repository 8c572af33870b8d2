import Glibc
import Testing

@testable import scaem_tokend

/// A folder of its own, gone with the suite's instance.
private final class Folder {
    let path: String

    init() throws {
        var template = Array("/tmp/scaem-configuration-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    deinit {
        for name in ["c.toml", "link"] {
            unlink("\(path)/\(name)")
            rmdir("\(path)/\(name)")
        }
        rmdir(path)
    }

    func write(_ bytes: [UInt8], mode: mode_t = 0o644) throws -> String {
        let file = "\(path)/c.toml"
        let descriptor = open(file, O_WRONLY | O_CREAT | O_EXCL, mode)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        try #require(fchmod(descriptor, mode) == 0)
        try #require(Glibc.write(descriptor, bytes, bytes.count) == bytes.count)
        return file
    }
}

@Suite("Only a file that nobody else can have written is read")
struct ConfigurationFileTests {
    private let folder: Folder

    init() throws { folder = try Folder() }

    private func failure(_ named: String?, standard: String = "/", uid: UInt32 = geteuid()) -> [String] {
        do {
            _ = try Configuration.load(named: named, standard: standard, uid: uid)
            return []
        } catch {
            return error.lines
        }
    }

    @Test("the standard file may be absent, a named one may not")
    func absent() throws {
        let file = "\(folder.path)/c.toml"
        #expect(try Configuration.load(named: nil, standard: file) == nil)
        #expect(failure(file) == ["\(file): does not exist"])
    }

    /// Somebody meant a file, and the defaults would drop every limit and credential of it.
    @Test("a link to nothing is not an absent file")
    func linkToNothing() throws {
        let link = "\(folder.path)/c.toml"
        #expect(symlink("gone", link) == 0)
        let problem = "\(link): is a symbolic link to what is not there: No such file or directory"
        #expect(failure(nil, standard: link) == [problem])
        #expect(failure(link) == [problem])
    }

    @Test("a file is read, also through a link, and a problem names it")
    func good() throws {
        let file = try folder.write(Array("[audit]\nkeep_days = 7\n".utf8), mode: 0o600)
        #expect(try Configuration.load(named: file)?.audit.keepDays == 7)
        #expect(try Configuration.load(named: nil, standard: file)?.audit.keepDays == 7)
        #expect(symlink("c.toml", "\(folder.path)/link") == 0)
        #expect(try Configuration.load(named: "\(folder.path)/link")?.audit.keepDays == 7)
    }

    @Test("others must not be able to write it", arguments: [mode_t(0o664), 0o646, 0o622])
    func writable(mode: mode_t) throws {
        let file = try folder.write([], mode: mode)
        #expect(
            failure(file) == [
                "\(file): may be written by others (mode 0\(String(mode, radix: 8))): only its owner may; chmod go-w \(file)"
            ])
    }

    @Test("it must belong to root or to the daemon's user")
    func owner() throws {
        let file = try folder.write([])
        if geteuid() == 0 {
            try #require(chown(file, 4_711, 0) == 0)
            #expect(try Configuration.load(named: file, uid: 4_711) == Configuration())
        }
        let owner: UInt32 = geteuid() == 0 ? 4_711 : geteuid()
        #expect(
            failure(file, uid: 4_712) == [
                "\(file): belongs to uid \(owner): must belong to root or to the daemon's user (uid 4712); "
                    + "chown root \(file)"
            ])
    }

    @Test("64 KiB are taken, a byte more is not")
    func size() throws {
        let full = [UInt8](repeating: UInt8(ascii: "\n"), count: ConfigurationFile.maxBytes)
        let file = try folder.write(full)
        #expect(try Configuration.load(named: file) == Configuration())
        unlink(file)
        #expect(failure(try folder.write(full + [0x0A])) == ["\(file): is longer than 65536 bytes"])
    }

    @Test("what is no regular file is refused and never waited for")
    func special() throws {
        #expect(failure(folder.path) == ["\(folder.path): must be a regular file"])
        let pipe = "\(folder.path)/c.toml"
        #expect(mkfifo(pipe, 0o600) == 0)
        #expect(failure(pipe) == ["\(pipe): must be a regular file"])
        #expect(failure("\(pipe)/x") == ["\(pipe)/x: cannot be opened: Not a directory"])
    }
}
