/// What waits, of several uids: each has its turn after the others', so that nobody waits behind all that one of them asked
/// for. Of one uid the oldest comes first.
public struct FairQueue<Element> {
    @usableFromInline
    struct Line {
        @usableFromInline var elements: [Element] = []
        @usableFromInline var first = 0

        @inlinable
        init() {}

        @inlinable var count: Int { elements.count - first }

        @inlinable
        mutating func take() -> Element {
            defer {
                first += 1
                // What was taken is let go when it is half: each element is moved once at most.
                if first * 2 >= elements.count {
                    elements.removeSubrange(..<first)
                    first = 0
                }
            }
            return elements[first]
        }

        @inlinable
        mutating func giveBack(_ element: Element) {
            if first > 0 {
                first -= 1
                elements[first] = element
            } else {
                elements.insert(element, at: 0)
            }
        }
    }

    /// How many wait.
    @inlinable public var count: Int { waiting }
    @usableFromInline var waiting = 0
    @usableFromInline var lines: [UInt32: Line] = [:]
    /// The uids that have something here, who is next first.
    @usableFromInline var turns: [UInt32] = []

    /// An empty one.
    @inlinable
    public init() {}

    /// Of how many uids.
    @inlinable
    public var uids: Int { turns.count }

    /// How many of one uid wait.
    @inlinable
    public func count(of uid: UInt32) -> Int { lines[uid]?.count ?? 0 }

    /// Puts one behind those of its uid.
    @inlinable
    public mutating func append(_ element: Element, of uid: UInt32) {
        waiting += 1
        if lines[uid] == nil { turns.append(uid) }
        lines[uid, default: Line()].elements.append(element)
    }

    /// Gives back what was taken last of its uid, so that it is the next of all: else who always has something would stand
    /// before it each time that it has to wait.
    @inlinable
    public mutating func giveBack(_ element: Element, of uid: UInt32) {
        waiting += 1
        turns.removeAll { $0 == uid }
        turns.insert(uid, at: 0)
        lines[uid, default: Line()].giveBack(element)
    }

    /// Takes what is next, or nil.
    @inlinable
    public mutating func take() -> Element? {
        // As many uids as there are users who ask at the same moment: to move the rest up is cheap.
        guard let uid = turns.first, let element = lines[uid]?.take() else { return nil }
        waiting -= 1
        turns.removeFirst()
        if count(of: uid) > 0 { turns.append(uid) } else { lines[uid] = nil }
        return element
    }

    /// Takes at most `limit`, by turns, and of no uid more than `each`.
    @inlinable
    public mutating func take(_ limit: Int, each: Int) -> [Element] {
        var taken: [Element] = []
        taken.reserveCapacity(min(limit, count))
        for _ in 0..<each {
            for _ in turns.indices {
                guard taken.count < limit, let element = take() else { return taken }
                taken.append(element)
            }
        }
        return taken
    }
}
