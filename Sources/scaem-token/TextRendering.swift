import ScaemTokenClient
import TokenModel
import TokenRPC

/// Answers as text for people. Control characters never reach the terminal.
enum TextRendering {
    /// A line for each member, `name: value`, aligned; objects within are named by their path.
    static func members(of object: Answer, without left: StaticString?, to writer: ByteWriter) {
        let width = widestName(in: object, without: left, below: 0)
        write(members: object, without: left, below: "", width: width, to: writer)
    }

    private static func widestName(in object: Answer, without left: StaticString?, below: Int) -> Int {
        var width = 0
        object.forEachMember { key, value in
            if let left, key.reader.equals(key.node, left) { return }
            let length = below + key.reader.unescaped(key.node).count
            let inner = value.kind == .object ? widestName(in: value, without: nil, below: length + 1) : length
            width = max(width, inner)
        }
        return width
    }

    private static func write(
        members object: Answer, without left: StaticString?, below path: String, width: Int, to writer: ByteWriter
    ) {
        object.forEachMember { key, value in
            if let left, key.reader.equals(key.node, left) { return }
            let name = path + key.reader.string(key.node)
            if value.kind == .object {
                return write(members: value, without: nil, below: name + ".", width: width, to: writer)
            }
            text(Array(name.utf8).map { $0 == UInt8(ascii: "_") ? UInt8(ascii: " ") : $0 }, to: writer)
            writer.append(":")
            pad(from: name.utf8.count, to: width + 2, writer)
            self.value(value, to: writer)
            writer.append("\n")
        }
    }

    /// A value on its own: a text without quotes, yes or no, - for nothing.
    static func value(_ value: Answer, to writer: ByteWriter) {
        switch value.kind {
        case .string: text(value.reader.unescaped(value.node), to: writer)
        case .true: writer.append("yes")
        case .false: writer.append("no")
        case .null: writer.append("-")
        case .number, .array, .object: writer.append(value.bytes)
        }
    }

    /// A member's value, or `-`.
    static func member(_ name: StaticString, of object: Answer, to writer: ByteWriter) {
        guard let member = object.member(name) else { return writer.append("-") }
        value(member, to: writer)
    }

    static func introspection(_ answer: Answer, isActive: Bool, to writer: ByteWriter) {
        guard isActive else { return writer.append("not active\n") }
        writer.append("active: application ")
        member("sub", of: answer, to: writer)
        writer.append(", project ")
        member("project_code", of: answer, to: writer)
        if let seconds = answer.member("exp")?.integer, seconds < Int64.max / 1_000 {
            writer.append(", until ")
            writer.append(bytes: Instant(milliseconds: max(0, seconds) * 1_000).description)
        }
        writer.append("\n")
    }

    /// `TIME  EVENT  APPLICATION  PROJECT  new F  ended F F  until TIME F`, each where it is there.
    static func event(_ event: Answer, to writer: ByteWriter) {
        member("time", of: event, to: writer)
        writer.append("  ")
        member("event", of: event, to: writer)
        for name: StaticString in ["application", "project_code"] where event.member(name) != nil {
            writer.append("  ")
            member(name, of: event, to: writer)
        }
        if event.member("fingerprint") != nil {
            writer.append("  new ")
            member("fingerprint", of: event, to: writer)
        }
        if let ended = event.member("ended"), ended.reader.count(ended.node) > 0 {
            writer.append("  ended")
            ended.forEachElement { fingerprint in
                writer.append(" ")
                value(fingerprint, to: writer)
            }
        }
        event.member("shortened")?.forEachElement { token in
            writer.append("  until ")
            member("token_expiration", of: token, to: writer)
            writer.append(" ")
            member("fingerprint", of: token, to: writer)
        }
        writer.append("\n")
    }

    /// Text with `?` for control characters.
    static func text(_ bytes: some Sequence<UInt8>, to writer: ByteWriter) {
        for byte in harmless(bytes) { writer.append(byte) }
    }

    /// UTF-8 with `?` for C0, DEL and C1 (U+0080 to U+009F: C2 and such a byte), which speak to a terminal.
    static func harmless(_ bytes: some Sequence<UInt8>) -> [UInt8] {
        var shown: [UInt8] = []
        for byte in bytes {
            if (0x80...0x9F).contains(byte), shown.last == 0xC2 {
                shown.removeLast()
            } else if byte >= 0x20, byte != 0x7F {
                shown.append(byte)
                continue
            }
            shown.append(UInt8(ascii: "?"))
        }
        return shown
    }

    static func pad(from count: Int, to width: Int, _ writer: ByteWriter) {
        for _ in count..<max(count, width) { writer.append(UInt8(ascii: " ")) }
    }
}

/// The rows of `list` as a table. Columns keep their width from page to page unless a page needs more.
struct TokenTable {
    private static let columns: [(title: StaticString, member: StaticString)] = [
        ("APPLICATION", "application"), ("PROJECT", "project_code"), ("STATE", "state"),
        ("EXPIRES", "token_expiration"), ("LAST USED", "last_used_at"), ("FINGERPRINT", "fingerprint"),
    ]

    private var widths = TokenTable.columns.map { $0.title.utf8CodeUnitCount }
    private(set) var isEmpty = true

    mutating func write(page: Answer, to writer: ByteWriter) {
        var rows: [[[UInt8]]] = []
        page.forEachElement { row in
            rows.append(Self.columns.map { Self.cell(row, $0.member) } + [Self.previous(row)])
        }
        guard !rows.isEmpty else { return }
        for row in rows {
            for column in widths.indices { widths[column] = max(widths[column], row[column].count) }
        }
        if isEmpty {
            write(row: Self.columns.map { Array("\($0.title)".utf8) } + [Array("PREVIOUS".utf8)], to: writer)
            isEmpty = false
        }
        for row in rows { write(row: row, to: writer) }
    }

    private func write(row: [[UInt8]], to writer: ByteWriter) {
        for column in widths.indices {
            TextRendering.text(row[column], to: writer)
            TextRendering.pad(from: row[column].count, to: widths[column] + 2, writer)
        }
        TextRendering.text(row[widths.count], to: writer)
        writer.append("\n")
    }

    private static func cell(_ row: Answer, _ name: StaticString) -> [UInt8] {
        guard let member = row.member(name), member.kind == .string else { return [UInt8(ascii: "-")] }
        return Array(member.reader.unescaped(member.node))
    }

    /// How many previous tokens are alive, and until when the last of them is.
    private static func previous(_ row: Answer) -> [UInt8] {
        guard let previous = row.member("previous") else { return [UInt8(ascii: "-")] }
        var latest = ""
        previous.forEachElement { token in
            if let end = token.member("token_expiration")?.string, end > latest { latest = end }
        }
        let count = previous.reader.count(previous.node)
        return Array(count == 0 ? "-".utf8 : "\(count), until \(latest)".utf8)
    }
}
