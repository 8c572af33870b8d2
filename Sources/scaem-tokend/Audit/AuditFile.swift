import Foundation
import TokenModel
import TokenStore

/// A file of audit records: an `audit export`, or a journal as `journalctl -o json` or `-o export` writes it.
enum AuditFile {
    /// What a file turned out to be.
    enum Kind {
        case export
        case journal
    }

    /// Where an entry of a journal comes from; nil for an export's.
    struct Origin {
        /// `_UID`, journald's own word, or nil where it is missing.
        let uid: UInt32?
        let hasForeignTransport: Bool
    }

    /// Reads all entries in their order; what has nothing to do with the audit is passed over.
    /// - Throws: where a line is not what it should be, with its number.
    @discardableResult
    static func read(_ path: String, _ body: (AuditEntry, Origin?) throws -> Void) throws -> Kind {
        let data: Data
        do {
            data =
                path == "-"
                ? FileHandle.standardInput.readDataToEndOfFile()
                : try Data(contentsOf: URL(fileURLWithPath: path), options: .alwaysMapped)
        } catch {
            throw CommandFailure("\(path) cannot be read: \(error.localizedDescription)")
        }
        if data.first != UInt8(ascii: "{") && !data.isEmpty {
            try JournalExport.read(data, path) { fields in try take(fields, path, body) }
            return .journal
        }
        var kind = Kind.export
        for (number, line) in data.split(separator: UInt8(ascii: "\n")).enumerated() {
            do {
                if let fields = try JournalExport.fields(json: line) {
                    kind = .journal
                    try take(fields, path, body)
                } else if let entry = try AuditLine.read(line) {
                    try body(entry, nil)
                }
            } catch let failure as CommandFailure {
                throw CommandFailure("\(path): line \(number + 1) is no record of the audit (\(failure))")
            } catch is DecodingError {
                throw CommandFailure("\(path): line \(number + 1) is no record of the audit")
            }
        }
        return kind
    }

    private static func take(
        _ fields: [String: String], _ path: String, _ body: (AuditEntry, Origin?) throws -> Void
    ) throws {
        guard fields["SCAEM_SEQUENCE"] != nil else { return }
        let origin = Origin(
            uid: fields["_UID"].flatMap { UInt32($0) }, hasForeignTransport: fields["_TRANSPORT"] != "journal")
        guard let record = AuditFields.record(fields) else {
            throw CommandFailure("the record with SCAEM_SEQUENCE=\(fields["SCAEM_SEQUENCE"] ?? "") is not whole")
        }
        try body(.record(record), origin)
    }
}
