import Foundation
import Systemd

/// journald's formats for files: JSON lines, and the Journal Export Format (systemd.io/JOURNAL_EXPORT_FORMATS).
enum JournalExport {
    /// Whether a JSON line is an entry of a journal.
    static func isEntry(json line: Data) -> Bool {
        (try? JSONSerialization.jsonObject(with: line) as? [String: Any]).map(isEntry) ?? false
    }

    private static func isEntry(_ object: [String: Any]) -> Bool {
        object["__CURSOR"] != nil || object["__REALTIME_TIMESTAMP"] != nil
    }

    /// The fields of a JSON line; nil where it is none of a journal. Of a field that stands twice
    /// all values count, as `JournalReader` gives them.
    static func fields(json line: Data) throws -> [String: String]? {
        guard let object = try? JSONSerialization.jsonObject(with: line) as? [String: Any] else {
            throw CommandFailure("no JSON object")
        }
        guard isEntry(object) else { return nil }
        if let cut = object.first(where: { $0.key.hasPrefix("SCAEM_") && $0.value is NSNull }) {
            throw CommandFailure("\(cut.key) was too long for journalctl: export with --all, or -o export")
        }
        return object.compactMapValues { value in
            switch value {
            case let text as String: text
            case let texts as [String]: texts.joined(separator: String(JournalReader.valueSeparator))
            // What is no UTF-8 comes as numbers.
            case let bytes as [Int]: String(decoding: bytes.map { UInt8(truncatingIfNeeded: $0) }, as: UTF8.self)
            default: nil
            }
        }
    }

    /// Every entry of an export: `NAME=value` a line, or `NAME`, then the length in eight bytes, the value, LF; an
    /// empty line ends an entry.
    static func read(_ data: Data, _ path: String, _ body: ([String: String]) throws -> Void) throws {
        // Where it lies, for a file is mapped: an export is as large as the journal itself.
        try data.withUnsafeBytes { try read($0, path, body) }
    }

    private static func read(
        _ bytes: UnsafeRawBufferPointer, _ path: String, _ body: ([String: String]) throws -> Void
    ) throws {
        var place = 0
        var fields: [String: String] = [:]
        while place < bytes.count {
            guard let end = bytes[place...].firstIndex(of: UInt8(ascii: "\n")) else { throw cut(path) }
            let line = bytes[place..<end]
            place = end + 1
            if line.isEmpty {
                if !fields.isEmpty { try body(fields) }
                fields = [:]
            } else if let equals = line.firstIndex(of: UInt8(ascii: "=")) {
                note(line[..<equals], line[(equals + 1)...], in: &fields)
            } else {
                guard place + 8 <= bytes.count else { throw cut(path) }
                let length = bytes.loadUnaligned(fromByteOffset: place, as: UInt64.self).littleEndian
                place += 8
                guard length < bytes.count - place else { throw cut(path) }
                note(line, bytes[place..<place + Int(length)], in: &fields)
                place += Int(length) + 1
            }
        }
        if !fields.isEmpty { try body(fields) }
    }

    private static func note(
        _ name: Slice<UnsafeRawBufferPointer>, _ value: Slice<UnsafeRawBufferPointer>,
        in fields: inout [String: String]
    ) {
        JournalReader.note(
            String(decoding: value, as: UTF8.self), of: String(decoding: name, as: UTF8.self), in: &fields)
    }

    private static func cut(_ path: String) -> CommandFailure {
        CommandFailure("\(path) is neither an audit export nor an exported journal, or its end is missing")
    }
}
