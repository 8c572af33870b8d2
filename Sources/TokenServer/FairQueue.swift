/// What waits, of several uids: each has its turn after the others', so that nobody waits behind all that one of them asked
/// for. Of one uid the oldest comes first.
struct FairQueue<Element> {
    private struct Line {
        var elements: [Element] = []
        var first = 0
    }

    private var lines: [UInt32: Line] = [:]
    /// The uids that have something here, who is next first.
    private var turns: [UInt32] = []

    mutating func append(_ element: Element, of uid: UInt32) {
        if lines[uid] == nil { turns.append(uid) }
        lines[uid, default: Line()].elements.append(element)
    }

    /// Takes what is next, or nil.
    mutating func take() -> Element? {
        // As many uids as there are users who ask at the same moment: to move the rest up is cheap.
        guard let uid = turns.first, let line = lines[uid] else { return nil }
        turns.removeFirst()
        if line.first + 1 < line.elements.count {
            lines[uid]?.first += 1
            turns.append(uid)
        } else {
            lines[uid] = nil
        }
        return line.elements[line.first]
    }
}
