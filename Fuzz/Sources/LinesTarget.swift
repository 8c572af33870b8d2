import Glibc
import TokenRPC

@testable import TokenServer

/// The framing: the same bytes bring the same answers, however they arrive, and the same events of a watch; where an
/// event stands between two answers is nobody's promise.
///
/// In the input 0xFF, which no line can hold, is where the sender pauses, and 0xFE with a byte N behind it stands for
/// N times 256 spaces, so that lines of the longest length are a few bytes here. The rest is what is sent.
enum LinesTarget {
    /// Beyond it nothing new can happen: four lines of the longest length.
    private static let mostBytes = 4 * Wire.maxLineBytes
    /// Bytes that stand for something else; none of them is valid in UTF-8.
    private static let (pause, spaces) = (UInt8(0xFF), UInt8(0xFE))

    // A fault here is a fault of the machine: there is no descriptor left.
    nonisolated(unsafe) private static let loop = try? SteppedLoop()

    static func run(_ bytes: UnsafeRawBufferPointer) {
        guard let loop else { return check(false, "no event loop") }
        let pieces = pieces(bytes)
        let whole = pieces.reduce(into: [UInt8]()) { $0 += $1 }
        guard whole.count <= mostBytes else { return }
        let asPieces = Received(loop.converse(pieces, as: .root))
        let atOnce = Received(loop.converse([whole], as: .root))
        check(asPieces == atOnce, "at once: \(atOnce), in pieces: \(asPieces)")
        let lineByLine = Received(loop.converse(lines(whole), as: .root))
        check(lineByLine == atOnce, "at once: \(atOnce), line by line: \(lineByLine)")
        checkEnd(whole, atOnce.answers)
    }

    private static func pieces(_ bytes: UnsafeRawBufferPointer) -> [[UInt8]] {
        var pieces: [[UInt8]] = [[]]
        var place = bytes.startIndex
        while place < bytes.endIndex {
            switch bytes[place] {
            case pause: pieces.append([])
            case spaces where place + 1 < bytes.endIndex:
                place += 1
                pieces[pieces.count - 1] += [UInt8](repeating: 0x20, count: Int(bytes[place]) << 8)
            case let byte: pieces[pieces.count - 1].append(byte)
            }
            place += 1
        }
        return pieces
    }

    private static func lines(_ bytes: [UInt8]) -> [[UInt8]] {
        var lines: [[UInt8]] = []
        var rest = bytes[...]
        while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
            lines.append(Array(rest[...end]))
            rest = rest[(end + 1)...]
        }
        return lines + [Array(rest)]
    }

    /// A line that is too long, and nothing else, is said to be, and is the last thing that is answered.
    private static func checkEnd(_ sent: [UInt8], _ answers: [[UInt8]]) {
        let isTooLong = lines(sent).contains { $0.count >= Wire.maxLineBytes + ($0.last == UInt8(ascii: "\n") ? 1 : 0) }
        let last = answers.last ?? []
        let said =
            last.starts(with: #"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"#.utf8)
            && place(of: #""reason":"line_too_long""#, in: last) != nil
        check(isTooLong == said, "a line too long: \(isTooLong), and the last answer is \(shown(last))")
    }
}

/// What came over a connection.
private struct Received: Equatable, CustomStringConvertible {
    private(set) var answers: [[UInt8]] = []
    private(set) var events: [[UInt8]] = []

    init(_ bytes: [UInt8]) {
        check(bytes.isEmpty || bytes.last == UInt8(ascii: "\n"), "the last answer is cut off: \(shown(bytes))")
        for line in bytes.split(separator: UInt8(ascii: "\n")) {
            if line.starts(with: #"{"jsonrpc":"2.0","method":"#.utf8) {
                events.append(Array(line))
            } else {
                answers.append(Self.withoutTime(Array(line)))
            }
        }
    }

    var description: String { "answers \(answers.map { shown($0) }), events \(events.map { shown($0) })" }

    /// A line without what depends on when it was asked.
    private static func withoutTime(_ line: [UInt8]) -> [UInt8] {
        var (kept, rest) = ([UInt8](), line[...])
        while let end = place(of: #""uptime_seconds":"#, in: Array(rest)) {
            kept += rest.prefix(end)
            rest = rest.dropFirst(end).drop { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        }
        return kept + rest
    }
}

/// Where the first of these words ends.
private func place(of words: StaticString, in bytes: [UInt8]) -> Int? {
    let length = words.utf8CodeUnitCount
    return bytes.withUnsafeBytes { bytes in
        guard let base = bytes.baseAddress, bytes.count >= length else { return nil }
        let start = (0...bytes.count - length).first { memcmp(base + $0, words.utf8Start, length) == 0 }
        return start.map { $0 + length }
    }
}
