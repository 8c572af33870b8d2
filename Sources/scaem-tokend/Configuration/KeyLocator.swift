import TOMLKit

/// Finds the lines of keys in a TOML document that is known to parse.
///
/// TOMLKit keeps no positions, and a scanner of our own would be a second opinion on what TOML is. So the library
/// itself is asked: of the prefixes of the document that parse, the shortest one that holds a key ends where the key's
/// value ends, and the longest one without it ends just before the line where the key begins. Along the prefixes that
/// parse, a key that is there stays there, so a binary search finds the line. Used only where there is an error.
struct KeyLocator {
    /// Parses for one search at most. A document of 64 KiB with `ConfigurationError.problemsMax` errors stays below it
    /// unless a single value has hundreds of lines; then a problem is reported without its line.
    static let parsesMax = 1_000

    private let text: String
    private let paths: [KeyPathInFile]
    /// Where each prefix ends, from 0 lines to all of them.
    private var ends: [String.Index]
    /// Which paths the prefix of so many lines holds; nil where it does not parse. What was not tried is not in it.
    private var known: [Int: Set<Int>?] = [:]

    init(text: String, paths: [KeyPathInFile]) {
        self.text = text
        self.paths = paths
        ends = [text.startIndex]
        for index in text.utf8.indices where text.utf8[index] == UInt8(ascii: "\n") {
            ends.append(text.utf8.index(after: index))
        }
        if ends.last != text.endIndex { ends.append(text.endIndex) }
    }

    /// The line, from 1, where each path's key begins; nil where the document does not hold it or the search was given
    /// up.
    mutating func lines() -> [Int?] { paths.indices.map { line(of: $0) } }

    private mutating func line(of path: Int) -> Int? {
        var without = 0
        var with = ends.count - 1
        guard let all = holds(prefix: with), all.contains(path) else { return nil }
        search: while with - without > 1 {
            let middle = without + (with - without) / 2
            // Where the middle is inside a value, the nearest prefix that parses: first onwards, then back.
            for count in [Array(middle..<with), Array((without + 1..<middle).reversed())].joined() {
                guard known.count < Self.parsesMax || known[count] != nil else { return nil }
                guard let held = holds(prefix: count) else { continue }
                if held.contains(path) { with = count } else { without = count }
                continue search
            }
            break
        }
        return without + 1
    }

    private mutating func holds(prefix count: Int) -> Set<Int>? {
        if let answer = known[count] { return answer }
        var answer: Set<Int>?
        if let root = try? TOMLTable(string: String(text[..<ends[count]])) {
            answer = Set(paths.indices.filter { Self.holds(root, paths[$0].steps[...]) })
            // TOMLKit never frees a table; emptied, what stays is a few bytes.
            root.clear()
        }
        known[count] = .some(answer)
        return answer
    }

    private static func holds(_ table: TOMLTable, _ steps: ArraySlice<KeyPathInFile.Step>) -> Bool {
        guard case .key(let key)? = steps.first else { return steps.isEmpty }
        guard let value = table[key] else { return false }
        return holds(value, steps.dropFirst())
    }

    private static func holds(_ value: any TOMLValueConvertible, _ steps: ArraySlice<KeyPathInFile.Step>) -> Bool {
        switch steps.first {
        case nil: return true
        case .key?:
            guard let table = value.table else { return false }
            return holds(table, steps)
        case .index(let index)?:
            guard let array = value.array, index < array.count else { return false }
            return holds(array[index], steps.dropFirst())
        }
    }
}
