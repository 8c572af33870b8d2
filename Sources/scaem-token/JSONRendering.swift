import ScaemTokenClient
import TokenRPC

/// JSON that is put together of parts of answers, which stay as they came.
enum JSONRendering {
    /// An object without one of its members, as a line.
    static func object(_ object: Answer, without left: StaticString, to writer: ByteWriter) {
        var isFirst = true
        object.forEachMember { key, value in
            guard !key.reader.equals(key.node, left) else { return }
            writer.append(isFirst ? "{" : ",")
            isFirst = false
            writer.append(key.bytes)
            writer.append(":")
            writer.append(value.bytes)
        }
        writer.append(isFirst ? "{}\n" : "}\n")
    }
}

/// The one line that `list` prints, put together page by page: {"tokens":[...]}.
struct TokenArray {
    private var isBegun = false
    private var hasRows = false

    /// Writes a page's part. Any page may be without rows.
    mutating func write(page: Answer, isLast: Bool, to writer: ByteWriter) {
        if !isBegun { writer.append("{\"tokens\":[") }
        isBegun = true
        page.forEachElement { row in
            if hasRows { writer.append(",") }
            hasRows = true
            writer.append(row.bytes)
        }
        if isLast { writer.append("]}\n") }
    }
}
