/// CRC-32 as IEEE 802.3 has it (polynomial 0xEDB88320, reflected, inverted at both ends; zlib's `crc32`).
public enum CRC32 {
    // One entry a half byte: sixteen constants that need no initialisation and share a cache line.
    private static let table: [UInt32] = [
        0x0000_0000, 0x1DB7_1064, 0x3B6E_20C8, 0x26D9_30AC, 0x76DC_4190, 0x6B6B_51F4, 0x4DB2_6158, 0x5005_713C,
        0xEDB8_8320, 0xF00F_9344, 0xD6D6_A3E8, 0xCB61_B38C, 0x9B64_C2B0, 0x86D3_D2D4, 0xA00A_E278, 0xBDBD_F21C,
    ]

    /// The checksum of the bytes.
    public static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        table.withUnsafeBufferPointer { table in
            var checksum: UInt32 = 0xFFFF_FFFF
            for byte in bytes {
                checksum ^= UInt32(byte)
                checksum = checksum >> 4 ^ table[Int(checksum & 15)]
                checksum = checksum >> 4 ^ table[Int(checksum & 15)]
            }
            return ~checksum
        }
    }
}

/// Numbers in the digits `0-9A-Za-z`.
enum Base62 {
    private static let digits: StaticString = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

    /// The digit of a value below 62. From a table: which of three ranges a random value lies in cannot be predicted.
    static func digit(_ value: UInt8) -> UInt8 {
        assert(value < 62)
        return digits.utf8Start[Int(value)]
    }

    static func isDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "a")...UInt8(ascii: "z"):
            true
        default: false
        }
    }

    /// Writes six digits, the most significant first; six hold 32 bits (62^6 > 2^32).
    static func write(_ value: UInt32, to text: UnsafeMutablePointer<UInt8>) {
        var rest = value
        for offset in stride(from: 5, through: 0, by: -1) {
            text[offset] = digit(UInt8(rest % 62))
            rest /= 62
        }
    }
}
