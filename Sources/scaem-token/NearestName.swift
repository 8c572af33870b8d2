/// Which name somebody who mistyped one most likely meant.
enum NearestName {
    /// The nearest of `names`: one that begins so, or at most two letters off; nil where none is near.
    static func of(_ typed: String, among names: [String]) -> String? {
        let letters = Array(typed.utf8.prefix(64))
        guard !letters.isEmpty else { return nil }
        if letters.count >= 2, let longer = names.first(where: { $0.utf8.starts(with: letters) }) { return longer }
        let ranked = names.map { (name: $0, distance: distance(letters, Array($0.utf8))) }
        // A name of which not even half is right was not meant.
        guard let best = ranked.min(by: { $0.distance < $1.distance }), best.distance <= 2,
            best.distance * 2 <= letters.count
        else { return nil }
        return best.name
    }

    /// Levenshtein's distance: insertions, deletions and replacements of one letter.
    private static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        var row = Array(0...right.count)
        for (leftIndex, leftByte) in left.enumerated() {
            var diagonal = row[0]
            row[0] = leftIndex + 1
            for (rightIndex, rightByte) in right.enumerated() {
                let replaced = diagonal + (leftByte == rightByte ? 0 : 1)
                diagonal = row[rightIndex + 1]
                row[rightIndex + 1] = min(replaced, diagonal + 1, row[rightIndex] + 1)
            }
        }
        return row[right.count]
    }
}
