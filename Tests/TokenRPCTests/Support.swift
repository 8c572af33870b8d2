import Glibc
import Testing

@testable import TokenRPC

/// The same numbers for the same seed (SplitMix64).
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }

    /// `TEST_SEED` from the environment, else a new one; printed, so that a failure can be repeated.
    static func announcedSeed(_ test: String) -> UInt64 {
        let given = getenv("TEST_SEED").flatMap { UInt64(String(cString: $0)) }
        let seed = given ?? UInt64.random(in: 0...UInt64(UInt32.max))
        print("\(test): TEST_SEED=\(seed)")
        return seed
    }
}

/// A document at the very end of readable memory: reading one byte past it ends the process.
final class GuardedBytes {
    private let base: UnsafeMutableRawPointer
    private let readable: Int
    private static let page = 4_096

    init(capacity: Int) {
        readable = (capacity + Self.page - 1) / Self.page * Self.page
        let memory = mmap(nil, readable + Self.page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let memory, memory != MAP_FAILED, mprotect(memory + readable, Self.page, PROT_NONE) == 0 else {
            preconditionFailure("no memory for a test")
        }
        base = memory
    }

    deinit { munmap(base, readable + Self.page) }

    func place(_ bytes: [UInt8]) -> UnsafeRawBufferPointer {
        let start = base + (readable - bytes.count)
        bytes.withUnsafeBytes { if let source = $0.baseAddress { start.copyMemory(from: source, byteCount: $0.count) } }
        return UnsafeRawBufferPointer(start: start, count: bytes.count)
    }
}

extension JSONReader {
    /// Reads a text and hands the verdict over while its bytes live.
    func with<Result>(_ text: String, _ body: (Verdict) throws -> Result) rethrows -> Result {
        try Array(text.utf8).withUnsafeBytes { try body(read($0)) }
    }
}

func verdict(_ text: String) -> JSONReader.Verdict { verdict(Array(text.utf8)) }

func verdict(_ bytes: [UInt8]) -> JSONReader.Verdict {
    let memory = GuardedBytes(capacity: bytes.count + 1)
    return withExtendedLifetime(memory) { JSONReader().read(memory.place(bytes)) }
}

extension ByteWriter {
    var text: String { String(decoding: bytes, as: UTF8.self) }
}

func written(_ body: (ByteWriter) -> Void) -> String {
    let writer = ByteWriter(capacity: 1)
    body(writer)
    return writer.text
}
