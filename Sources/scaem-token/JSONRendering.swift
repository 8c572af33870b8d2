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

    /// A page's part of the one line that `list` prints: {"tokens":[...]}.
    static func page(_ tokens: Answer, isFirst: inout Bool, isLast: Bool, to writer: ByteWriter) {
        var separator: StaticString = ""
        if isFirst { writer.append("{\"tokens\":[") } else { separator = "," }
        tokens.forEachElement { row in
            writer.append(separator)
            writer.append(row.bytes)
            separator = ","
        }
        isFirst = false
        if isLast { writer.append("]}\n") }
    }
}
