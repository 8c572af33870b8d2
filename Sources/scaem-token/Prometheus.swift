import ScaemTokenClient
import TokenRPC

/// The numbers of `status` in Prometheus' text exposition format 0.0.4, for a node exporter's textfile collector.
enum Prometheus {
    private static let prefix = "scaem_tokend_"

    /// Every number, and every yes or no as 1 or 0, with the keys on the way to it joined by `_`. Texts are left out,
    /// but for the version, which is a label, as is the custom.
    static func write(_ status: Answer, to writer: ByteWriter) {
        if let version = status.member("version"), version.kind == .string {
            head("info", "the daemon's version", "gauge", writer)
            writer.append(bytes: prefix + "info{version=\"")
            label(version, to: writer)
            writer.append("\"} 1\n")
        }
        write(members: status, below: "", writer)
    }

    /// As deep as the reader let objects nest.
    private static func write(members object: Answer, below path: String, _ writer: ByteWriter) {
        object.forEachMember { key, value in
            let name = path + sanitized(key)
            switch value.kind {
            case .object: write(members: value, below: name + "_", writer)
            case .number: sample(name, writer) { writer.append(value.bytes) }
            case .true: sample(name, writer) { writer.append("1") }
            case .false: sample(name, writer) { writer.append("0") }
            case .array, .string, .null: break
            }
        }
    }

    private static func sample(_ name: String, _ writer: ByteWriter, _ value: () -> Void) {
        let isCounter = name.utf8.reversed().starts(with: "_total".utf8.reversed())
        head(name, "as status gives it", isCounter ? "counter" : "gauge", writer)
        writer.append(bytes: prefix + name + " ")
        value()
        writer.append("\n")
    }

    private static func head(_ name: String, _ help: String, _ type: String, _ writer: ByteWriter) {
        writer.append(bytes: "# HELP \(prefix)\(name) \(help)\n# TYPE \(prefix)\(name) \(type)\n")
    }

    /// Metric names are letters, digits and `_`.
    private static func sanitized(_ key: Answer) -> String {
        let bytes = key.reader.unescaped(key.node).map { byte -> UInt8 in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"):
                byte
            default: UInt8(ascii: "_")
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// In a label's value a backslash, a quote and a line end are escaped.
    private static func label(_ text: Answer, to writer: ByteWriter) {
        for byte in text.reader.unescaped(text.node) {
            switch byte {
            case UInt8(ascii: "\\"): writer.append("\\\\")
            case UInt8(ascii: "\""): writer.append("\\\"")
            case UInt8(ascii: "\n"): writer.append("\\n")
            default: writer.append(byte)
            }
        }
    }
}

extension ByteWriter {
    /// Writes a text as it is.
    func append(bytes text: String) {
        for byte in text.utf8 { append(byte) }
    }
}
