/// What waits, of several uids: each has its turn after the others', so that nobody waits behind all that one of them asked
/// for. Of one uid the oldest comes first.
public struct FairQueue<Element>: ~Copyable {
    // A class: a dictionary lends out what is to be changed in it at the price of an allocation.
    @usableFromInline
    final class Line {
        @usableFromInline var elements: [Element] = []
        @usableFromInline var first = 0

        @inlinable
        init() {}

        @inlinable var count: Int { elements.count - first }

        @inlinable
        func take() -> Element {
            defer { letGo(1) }
            return elements[first]
        }

        @inlinable
        func take(_ count: Int) -> [Element] {
            guard first > 0 || count < elements.count else {
                defer { elements = [] }
                return elements
            }
            defer { letGo(count) }
            return Array(elements[first..<first + count])
        }

        /// What was taken is let go when it is half: each element is moved once at most.
        @inlinable
        func letGo(_ count: Int) {
            first += count
            guard first * 2 >= elements.count else { return }
            elements.removeSubrange(..<first)
            first = 0
        }

        @inlinable
        func giveBack(_ element: Element) {
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
        guard let line = lines[uid] else {
            turns.append(uid)
            return begin(uid).elements.append(element)
        }
        line.elements.append(element)
    }

    /// Gives back what was taken last of its uid, so that it is the next of all: else who always has something would stand
    /// before it each time that it has to wait.
    @inlinable
    public mutating func giveBack(_ element: Element, of uid: UInt32) {
        waiting += 1
        turns.removeAll { $0 == uid }
        turns.insert(uid, at: 0)
        (lines[uid] ?? begin(uid)).giveBack(element)
    }

    @usableFromInline
    mutating func begin(_ uid: UInt32) -> Line {
        let line = Line()
        lines[uid] = line
        return line
    }

    /// Takes what is next, or nil.
    @inlinable
    public mutating func take() -> Element? {
        // As many uids as there are users who ask at the same moment: to move the rest up is cheap.
        guard let uid = turns.first, let line = lines[uid] else { return nil }
        waiting -= 1
        let element = line.take()
        turns.removeFirst()
        if line.count > 0 { turns.append(uid) } else { lines[uid] = nil }
        return element
    }

    /// Takes at most `limit`, by turns, and of no uid more than `each`.
    @inlinable
    public mutating func take(_ limit: Int, each: Int) -> [Element] {
        if turns.count == 1, let uid = turns.first, let line = lines[uid] {
            // Who waits alone has all the turns.
            let taken = line.take(min(limit, each, line.count))
            waiting -= taken.count
            if line.count == 0 {
                lines[uid] = nil
                turns = []
            }
            return taken
        }
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
