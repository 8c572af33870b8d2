/// A set of entries that stand for something with a hash: open addressing, linear probing, no tombstones (a removal
/// shifts back what was displaced), at most three quarters full. An entry is never 0. What it stands for is the
/// owner's business: the table asks for its hash when it moves it.
final class ProbeTable {
    private struct Header {
        var entries: UnsafeMutablePointer<UInt32>
        var mask: Int
        var count: Int
    }

    // Behind a pointer, so that the hot path's reads are not checked for exclusive access.
    private let header: UnsafeMutablePointer<Header>

    init() {
        header = .allocate(capacity: 1)
        header.initialize(to: Header(entries: Self.allocate(16), mask: 15, count: 0))
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
        let mask = header.pointee.mask
        var place = Int(truncatingIfNeeded: hash) & mask
        while true {
            let entry = entries[place]
            if entry == 0 || isMatch(entry) { return entry }
            place = (place + 1) & mask
        }
    }

    /// Adds an entry that is not there.
    func insert(_ entry: UInt32, hash: UInt64, hashOf: (UInt32) -> UInt64) {
        if (header.pointee.count + 1) * 4 > (header.pointee.mask + 1) * 3 { grow(hashOf) }
        Self.place(entry, hash, header.pointee.entries, header.pointee.mask)
        header.pointee.count += 1
    }

    /// Puts another entry in the place of one that is there; both have this hash.
    func replace(_ old: UInt32, with new: UInt32, hash: UInt64) {
        header.pointee.entries[position(of: old, hash)] = new
    }

    /// Takes an entry out that is there.
    func remove(_ entry: UInt32, hash: UInt64, hashOf: (UInt32) -> UInt64) {
        let entries = header.pointee.entries
        let mask = header.pointee.mask
        var hole = position(of: entry, hash)
        var next = (hole + 1) & mask
        while entries[next] != 0 {
            // An entry may move back into the hole unless its home lies behind the hole, on the way to where it is.
            let home = Int(truncatingIfNeeded: hashOf(entries[next])) & mask
            if (next &- home) & mask >= (next &- hole) & mask {
                entries[hole] = entries[next]
                hole = next
            }
            next = (next + 1) & mask
        }
        entries[hole] = 0
        header.pointee.count -= 1
    }

    private func position(of entry: UInt32, _ hash: UInt64) -> Int {
        let mask = header.pointee.mask
        var place = Int(truncatingIfNeeded: hash) & mask
        while header.pointee.entries[place] != entry {
            precondition(header.pointee.entries[place] != 0, "an entry that the index relies on is missing")
            place = (place + 1) & mask
        }
        return place
    }

    private func grow(_ hashOf: (UInt32) -> UInt64) {
        let old = header.pointee.entries
        let oldMask = header.pointee.mask
        let mask = (oldMask + 1) * 2 - 1
        let entries = Self.allocate(mask + 1)
        for place in 0...oldMask where old[place] != 0 { Self.place(old[place], hashOf(old[place]), entries, mask) }
        header.pointee.entries = entries
        header.pointee.mask = mask
        old.deallocate()
    }

    private static func place(
        _ entry: UInt32, _ hash: UInt64, _ entries: UnsafeMutablePointer<UInt32>, _ mask: Int
    ) {
        var place = Int(truncatingIfNeeded: hash) & mask
        while entries[place] != 0 { place = (place + 1) & mask }
        entries[place] = entry
    }

    private static func allocate(_ capacity: Int) -> UnsafeMutablePointer<UInt32> {
        let entries = UnsafeMutablePointer<UInt32>.allocate(capacity: capacity)
        entries.initialize(repeating: 0, count: capacity)
        return entries
    }
}
