import CSystemd
import Glibc

/// The journal's own way in (sd_journal_sendv(3)): records of fields, not lines.
public enum Journal {
    /// Sends one record. Blocks while journald does not read and some hundred records wait already: not for a thread that
    /// anybody waits for. 0 is no proof of delivery: it is also what comes where there is no journal.
    /// - Parameter fields: each `NAME=value`, the value of any bytes.
    /// - Returns: 0, or a negative errno.
    public static func send(_ fields: [[UInt8]]) -> CInt {
        // One room for all, so that the pointers stay good for the call.
        let bytes = fields.flatMap { $0 }
        return bytes.withUnsafeBytes { room in
            var offset = 0
            let vectors = fields.map { field in
                defer { offset += field.count }
                return iovec(
                    iov_base: UnsafeMutableRawPointer(mutating: room.baseAddress.map { $0 + offset }),
                    iov_len: field.count)
            }
            return sd_journal_sendv(vectors, CInt(vectors.count))
        }
    }
}
