import Foundation
import TokenModel
import TokenStore

/// A file of audit records: an `audit export`, or a journal as `journalctl -o json` or `-o export` writes it.
struct AuditFile {
    /// What a file is.
    enum Kind {
        case export
        case journalLines
        case journalExport
    }

    let path: String
    let kind: Kind
    private let data: Data

    /// Reads a file, `-` for standard input, and sees what it is.
    init(_ path: String) throws {
        self.path = path
        do {
            data =
                path == "-"
                ? FileHandle.standardInput.readDataToEndOfFile()
                : try Data(contentsOf: URL(fileURLWithPath: path), options: .alwaysMapped)
        } catch {
            throw CommandFailure("\(path) cannot be read: \(error.localizedDescription)")
        }
        let first = data.prefix { $0 != UInt8(ascii: "\n") }
        if first.first == UInt8(ascii: "{") {
            kind = JournalExport.isEntry(json: first) ? .journalLines : .export
        } else {
            kind = data.isEmpty ? .export : .journalExport
        }
    }

    var isJournal: Bool { kind != .export }

    /// Every entry of an `audit export`; what is no part of the chain is passed over.
    /// - Throws: where a line is not what it should be, with its number.
    func forEachEntry(_ body: (AuditEntry) throws -> Void) throws {
        for (number, line) in data.split(separator: UInt8(ascii: "\n")).enumerated() {
            let entry: AuditEntry?
            do { entry = try AuditLine.read(line) } catch {
                throw CommandFailure("\(path): line \(number + 1) is no record of the audit")
            }
            if let entry { try body(entry) }
        }
    }

    /// Every record of a journal that is one of the audit, or of a cut of it.
    /// - Throws: where the file is not what it should be.
    func forEachJournalRecord(_ body: (JournalRecord) throws -> Void) throws {
        func take(_ fields: [String: String]) throws {
            if let record = JournalRecord(fields) { try body(record) }
        }
        guard kind == .journalLines else { return try JournalExport.read(data, path, take) }
        for (number, line) in data.split(separator: UInt8(ascii: "\n")).enumerated() {
            let fields: [String: String]?
            do { fields = try JournalExport.fields(json: line) } catch {
                throw CommandFailure("\(path): line \(number + 1) is no record of a journal: \(error)")
            }
            guard let fields else { throw CommandFailure("\(path): line \(number + 1) is no record of a journal") }
            try take(fields)
        }
    }
}

/// An entry of the journal that says that it is a record of the audit.
struct JournalRecord {
    /// As it stands there; nil where that is no number.
    let sequence: Int64?
    /// Nil where a field is missing or malformed.
    let record: AuditRecord?
    /// Numbers that have no record, where it says that.
    let mark: AuditMark?
    /// `_UID`, journald's own word: whose record it really is.
    let uid: UInt32?
    let database: String?

    /// Nil for an entry that has nothing to do with the audit.
    init?(_ fields: [String: String]) {
        mark = AuditFields.mark(fields)
        guard fields["SCAEM_SEQUENCE"] != nil || mark != nil else { return nil }
        sequence = fields["SCAEM_SEQUENCE"].flatMap { Int64($0) }
        record =
            mark == nil ? AuditFields.record(fields).flatMap { AuditFields.isTold($0, by: fields) ? $0 : nil } : nil
        uid = fields["_UID"].flatMap { UInt32($0) }
        database = fields[AuditFields.databaseField]
    }
}
