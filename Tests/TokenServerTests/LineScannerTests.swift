import Testing
import TokenRPC

@testable import TokenServer

/// Lines come out the same however their bytes arrive.
struct LineScannerTests {
    /// Feeds bytes in the given pieces, as the loop does, and collects the lines.
    private func lines(of bytes: [UInt8], cutInto pieces: [Int]) -> (lines: [[UInt8]], last: LineScanner.Step) {
        var scanner = LineScanner()
        var pending: [UInt8] = []
        var lines: [[UInt8]] = []
        var last = LineScanner.Step.needsMore
        var offset = 0
        for piece in pieces {
            pending += bytes[offset..<offset + piece]
            offset += piece
            while true {
                last = pending.withUnsafeBytes { scanner.next($0) }
                guard case .line(let length) = last else { break }
                // What cannot be taken yet is found again.
                #expect(pending.withUnsafeBytes { scanner.next($0) } == last)
                lines.append(Array(pending[..<length]))
                pending.removeFirst(length)
                scanner.consume()
            }
        }
        return (lines, last)
    }

    @Test func sameLinesHoweverTheyArrive() {
        let seed = UInt64.random(in: .min ... .max)
        print("seed \(seed)")
        var generator = SplitMix(state: seed)
        for _ in 0..<200 {
            let expected = (0..<Int.random(in: 0...20, using: &generator)).map { _ in
                [UInt8](repeating: 0x78, count: Int.random(in: 0...300, using: &generator)) + [0x0A]
            }
            let bytes = Array(expected.joined())
            var pieces: [Int] = []
            var rest = bytes.count
            while rest > 0 {
                let piece = Int.random(in: 1...min(rest, 100), using: &generator)
                pieces.append(piece)
                rest -= piece
            }
            #expect(lines(of: bytes, cutInto: [bytes.count]).lines == expected)
            #expect(lines(of: bytes, cutInto: Array(repeating: 1, count: bytes.count)).lines == expected)
            #expect(lines(of: bytes, cutInto: pieces).lines == expected)
        }
    }

    @Test(arguments: [65_536, 65_537])
    func longestLine(length: Int) {
        let bytes = [UInt8](repeating: 0x78, count: length - 1) + [0x0A]
        for pieces in [[length], [1, length - 1], [65_535, length - 65_535]] {
            let result = lines(of: bytes, cutInto: pieces)
            #expect(result.lines.count == (length == 65_536 ? 1 : 0))
            #expect(result.last == (length == 65_536 ? .needsMore : .tooLong))
        }
    }

    @Test func noByteIsLookedAtTwice() {
        var scanner = LineScanner()
        var bytes = [UInt8](repeating: 0x78, count: 1_000)
        #expect(bytes.withUnsafeBytes { scanner.next($0) } == .needsMore)
        // Were the front looked at again, this would be found.
        bytes[500] = 0x0A
        #expect(bytes.withUnsafeBytes { scanner.next($0) } == .needsMore)
        bytes += [0x78, 0x0A]
        #expect(bytes.withUnsafeBytes { scanner.next($0) } == .line(length: 1_002))
    }

    @Test func tooLongIsKnownAtTheLimitAndNotBefore() {
        var scanner = LineScanner()
        let bytes = [UInt8](repeating: 0x78, count: 65_536)
        #expect(bytes[..<65_535].withUnsafeBytes { scanner.next($0) } == .needsMore)
        #expect(bytes.withUnsafeBytes { scanner.next($0) } == .tooLong)
    }
}

/// A seeded generator, so that a failure can be repeated.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
