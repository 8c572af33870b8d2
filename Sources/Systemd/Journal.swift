import CLinux
import CSystemd
import Glibc

/// The journal's sending side: sd_journal_sendv(3), journald's native protocol.
public enum Journal {
    /// A field of a record. A name is upper-case letters, digits and underscores, and does not begin with one.
    public struct Field: Sendable {
        public let name: String
        public let value: String

        /// Names a value. It may hold anything, line feeds too: it forges no other field.
        public init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    /// Where journald listens. Without it sd_journal_sendv(3) says that all is well.
    public static let socketPath = "/run/systemd/journal/socket"

    /// The namespace that this service's records go to: systemd says it to a unit with `LogNamespace=`.
    public static var namespace: String? { getenv("LOG_NAMESPACE").map { String(cString: $0) } }

    /// Whether there is a journald to send to.
    public static var isPresent: Bool { access(socketPath, F_OK) == 0 }

    /// Sends one record. Blocks while journald does not read and some hundred records wait already: only for threads that
    /// nobody waits for.
    /// - Returns: 0, or a negative errno. 0 is no proof that journald has it: it is also what comes where there is none.
    @discardableResult
    public static func send(_ fields: [Field]) -> CInt { send(fields.map { Array("\($0.name)=\($0.value)".utf8) }) }

    /// The same for fields that are bytes already, each `NAME=value`.
    public static func send(_ fields: [[UInt8]]) -> CInt {
        // One room for all, so that the pointers stay good for the call.
        var bytes = fields.flatMap { $0 }
        return bytes.withUnsafeMutableBytes { room in
            var offset = 0
            let vectors = fields.map { field in
                defer { offset += field.count }
                return iovec(iov_base: room.baseAddress.map { $0 + offset }, iov_len: field.count)
            }
            return sd_journal_sendv(vectors, CInt(vectors.count))
        }
    }
}

/// The journal's reading side: this machine's records that have all of some fields, in the order of the journal. For
/// one thread.
public final class JournalReader {
    private let journal: OpaquePointer

    /// - Parameters:
    ///   - matches: `NAME=value`; of those with one name any may hold, of different names all must.
    ///   - namespace: whose journal (`LogNamespace=` in systemd.exec(5)); nil for the system's.
    ///   - inMemoryOnly: only what goes with the next reboot.
    /// - Returns: nil where the journal cannot be opened.
    public init?(
        matching matches: [String], namespace: String? = Journal.namespace, inMemoryOnly: Bool = false
    ) {
        var opened: OpaquePointer?
        // SD_JOURNAL_LOCAL_ONLY: what other machines sent here is not ours. SD_JOURNAL_RUNTIME_ONLY.
        let flags: CInt = 1 << 0 | (inMemoryOnly ? 1 << 1 : 0)
        guard sd_journal_open_namespace(&opened, namespace, flags) >= 0, let opened else { return nil }
        journal = opened
        // Beyond this many bytes of a field the library may leave off the rest; 0: it may not. The tokens that an
        // `unregister` ended are 170,000 bytes of one.
        sd_journal_set_data_threshold(opened, 0)
        for match in matches {
            let bytes = Array(match.utf8)
            guard sd_journal_add_match(opened, bytes, bytes.count) >= 0 else { return nil }
        }
    }

    deinit { sd_journal_close(journal) }

    /// Stands before the first record.
    public func seekToStart() { sd_journal_seek_head(journal) }

    /// Stands after the last record.
    public func seekToEnd() { sd_journal_seek_tail(journal) }

    /// Steps to the first record; false where there is none that may be read.
    public func first() -> Bool {
        seekToStart()
        return next()
    }

    /// Steps to the next record; false where there is none yet.
    public func next() -> Bool { sd_journal_next(journal) > 0 }

    /// Steps to the record before; false where there is none.
    public func previous() -> Bool { sd_journal_previous(journal) > 0 }

    /// Notices files that were added or went since.
    public func refresh() { _ = sd_journal_wait(journal, 0) }

    /// A field's value in the record stood at.
    public func value(_ name: String) -> String? {
        var data: UnsafeRawPointer?
        var length = 0
        guard sd_journal_get_data(journal, name, &data, &length) >= 0, let data else { return nil }
        let bytes = UnsafeRawBufferPointer(start: data, count: length).dropFirst(name.utf8.count + 1)
        return String(decoding: bytes, as: UTF8.self)
    }

    /// What stands between the values of a field that an entry has more than once.
    public static let valueSeparator: Character = "\0"

    /// Every field of the record stood at, in no order that means anything; of one that it has more than once all.
    public func values() -> [String: String] {
        var values: [String: String] = [:]
        var data: UnsafeRawPointer?
        var length = 0
        sd_journal_restart_data(journal)
        while sd_journal_enumerate_available_data(journal, &data, &length) > 0, let field = data {
            let bytes = UnsafeRawBufferPointer(start: field, count: length)
            guard let equals = bytes.firstIndex(of: UInt8(ascii: "=")) else { continue }
            let name = String(decoding: bytes[..<equals], as: UTF8.self)
            Self.note(String(decoding: bytes[(equals + 1)...], as: UTF8.self), of: name, in: &values)
        }
        return values
    }

    /// Adds a value to those that an entry has of a field.
    public static func note(_ value: String, of name: String, in values: inout [String: String]) {
        guard values[name] != nil else {
            values[name] = value
            return
        }
        // In place: anybody may write a thousand of one name.
        values[name]?.append(valueSeparator)
        values[name]?.append(value)
    }
}
