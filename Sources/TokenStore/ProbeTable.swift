internal import CLinux

/// A set of entries that stand for something with a hash: open addressing, linear probing, no tombstones (a removal
/// shifts back what was displaced), at most four fifths full. An entry is never 0. What it stands for is the owner's
/// business: the table asks for its hash when it moves it.
///
/// An entry's home is the hash's share of the capacity, so its upper bits say where it is, and the capacity can be any:
/// it grows by half, not by doubling.
final class ProbeTable {
    private struct Header {
        var entries: UnsafeMutablePointer<UInt32>
        var capacity: Int
        var count: Int
    }

    // Behind a pointer, so that the hot path's reads are not checked for exclusive access.
    private let header: UnsafeMutablePointer<Header>

    init() {
        let capacity = Self.capacity(0)
        header = .allocate(capacity: 1)
        header.initialize(to: Header(entries: Self.allocate(capacity), capacity: capacity, count: 0))
    }

    deinit {
        header.pointee.entries.deallocate()
        header.deallocate()
    }

    var count: Int { header.pointee.count }

    /// The entry of this hash that `isMatch` accepts, or 0.
    @inline(__always)
    func find(_ hash: UInt64, where isMatch: (UInt32) -> Bool) -> UInt32 {
        let entries = header.pointee.entries
        let capacity = header.pointee.capacity
        var place = Self.home(hash, capacity)
        while true {
            let entry = entries[place]
            if entry == 0 || isMatch(entry) { return entry }
            place = Self.next(place, capacity)
        }
    }

    /// Fetches the place where a hash is looked for first.
    @inline(__always)
    func prefetch(_ hash: UInt64) {
        linux_prefetch(header.pointee.entries + Self.home(hash, header.pointee.capacity))
    }

    /// Makes room for so many entries in a table that is empty: they need no growth.
    func reserve(_ count: Int) {
        precondition(self.count == 0, "room is made before the first entry")
        header.pointee.entries.deallocate()
        header.pointee.capacity = Self.capacity(count)
        header.pointee.entries = Self.allocate(header.pointee.capacity)
    }

    /// Adds an entry that is not there.
    func insert(_ entry: UInt32, hash: UInt64, hashOf: (UInt32) -> UInt64) {
        if (header.pointee.count + 1) * 5 > header.pointee.capacity * 4 { grow(hashOf) }
        Self.place(entry, hash, header.pointee.entries, header.pointee.capacity)
        header.pointee.count += 1
    }

    /// Takes an entry out that is there.
    func remove(_ entry: UInt32, hash: UInt64, hashOf: (UInt32) -> UInt64) {
        let entries = header.pointee.entries
        let capacity = header.pointee.capacity
        var hole = Self.home(hash, capacity)
        while entries[hole] != entry {
            precondition(entries[hole] != 0, "an entry that the index relies on is missing")
            hole = Self.next(hole, capacity)
        }
        var place = Self.next(hole, capacity)
        while entries[place] != 0 {
            // An entry may move back into the hole unless its home lies behind the hole, on the way to where it is.
            let home = Self.home(hashOf(entries[place]), capacity)
            if Self.distance(home, place, capacity) >= Self.distance(hole, place, capacity) {
                entries[hole] = entries[place]
                hole = place
            }
            place = Self.next(place, capacity)
        }
        entries[hole] = 0
        header.pointee.count -= 1
    }

    private func grow(_ hashOf: (UInt32) -> UInt64) {
        let old = header.pointee.entries
        let oldCapacity = header.pointee.capacity
        let capacity = oldCapacity + oldCapacity / 2
        let entries = Self.allocate(capacity)
        for place in 0..<oldCapacity where old[place] != 0 {
            Self.place(old[place], hashOf(old[place]), entries, capacity)
        }
        header.pointee.entries = entries
        header.pointee.capacity = capacity
        old.deallocate()
    }

    @inline(__always)
    private static func home(_ hash: UInt64, _ capacity: Int) -> Int {
        Int(truncatingIfNeeded: hash.multipliedFullWidth(by: UInt64(capacity)).high)
    }

    @inline(__always)
    private static func next(_ place: Int, _ capacity: Int) -> Int { place + 1 == capacity ? 0 : place + 1 }

    /// Steps from one place on to another.
    private static func distance(_ from: Int, _ to: Int, _ capacity: Int) -> Int {
        to >= from ? to - from : to - from + capacity
    }

    private static func place(
        _ entry: UInt32, _ hash: UInt64, _ entries: UnsafeMutablePointer<UInt32>, _ capacity: Int
    ) {
        var place = home(hash, capacity)
        while entries[place] != 0 { place = next(place, capacity) }
        entries[place] = entry
    }

    private static func capacity(_ count: Int) -> Int { max(16, count + count / 2) }

    private static func allocate(_ capacity: Int) -> UnsafeMutablePointer<UInt32> {
        let entries = UnsafeMutablePointer<UInt32>.allocate(capacity: capacity)
        entries.initialize(repeating: 0, count: capacity)
        return entries
    }
}

/// An entry that holds a slot's number (26 bits) and the lowest six bits of its hash, so that a probe seldom fetches a
/// slot in vain: the place in the table says the upper bits.
struct TaggedSlot {
    let raw: UInt32

    private static let slotBits: UInt32 = 26

    @inline(__always)
    init(raw: UInt32) { self.raw = raw }

    @inline(__always)
    init(_ slot: UInt32, hash: UInt64) { raw = UInt32(truncatingIfNeeded: hash) << Self.slotBits | slot }

    @inline(__always) var slot: UInt32 { raw & (1 << Self.slotBits - 1) }

    @inline(__always)
    func mayMatch(_ hash: UInt64) -> Bool { raw >> Self.slotBits == UInt32(truncatingIfNeeded: hash) & 63 }
}
