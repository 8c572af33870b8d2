internal import CLinux

/// A set of entries that stand for something with a hash: open addressing, linear probing, no tombstones (a removal
/// shifts back what was displaced), at most four fifths full. An entry is never 0. What it stands for is the owner's
/// business: the table asks for its hash when it moves it.
///
/// It is many small tables, for who grows one has the index's lock, and every `introspect` waits for it: of a million names
/// one growth of the whole moves for a fifth of a second, a shard's for a millisecond. The hash's first bits choose the
/// shard; its share of the shard's capacity is the entry's home, so that the capacity can be any: it grows by half, not by doubling.
final class ProbeTable {
    private struct Shard {
        var entries: UnsafeMutablePointer<UInt32>
        var capacity: UInt32
        var count: UInt32
    }

    // 4 KiB of them, which the processor keeps at hand.
    private static let shardBits: UInt64 = 8
    private static let shardCount = 1 << Int(shardBits)

    // Behind a pointer, so that the hot path's reads are not checked for exclusive access.
    private let shards: UnsafeMutablePointer<Shard>

    init() {
        shards = .allocate(capacity: Self.shardCount)
        for shard in 0..<Self.shardCount { (shards + shard).initialize(to: Self.empty(0)) }
    }

    deinit {
        for shard in 0..<Self.shardCount { shards[shard].entries.deallocate() }
        shards.deallocate()
    }

    var count: Int { (0..<Self.shardCount).reduce(0) { $0 + Int(shards[$1].count) } }

    /// The entry of this hash that `isMatch` accepts, or 0.
    @inline(__always)
    func find(_ hash: UInt64, where isMatch: (UInt32) -> Bool) -> UInt32 {
        let shard = shard(hash)
        let entries = shard.pointee.entries
        let capacity = shard.pointee.capacity
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
        let shard = shard(hash)
        linux_prefetch(shard.pointee.entries + Self.home(hash, shard.pointee.capacity))
    }

    /// Makes room for so many entries in a table that is empty: they need hardly any growth.
    func reserve(_ count: Int) {
        precondition(self.count == 0, "room is made before the first entry")
        for shard in 0..<Self.shardCount {
            shards[shard].entries.deallocate()
            shards[shard] = Self.empty(count / Self.shardCount)
        }
    }

    /// Adds an entry that is not there.
    func insert(_ entry: UInt32, hash: UInt64, hashOf: (UInt32) -> UInt64) {
        let shard = shard(hash)
        if (Int(shard.pointee.count) + 1) * 5 > Int(shard.pointee.capacity) * 4 { Self.grow(&shard.pointee, hashOf) }
        Self.place(entry, hash, shard.pointee)
        shard.pointee.count += 1
    }

    /// Takes an entry out that is there.
    func remove(_ entry: UInt32, hash: UInt64, hashOf: (UInt32) -> UInt64) {
        let shard = shard(hash)
        let entries = shard.pointee.entries
        let capacity = shard.pointee.capacity
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
        shard.pointee.count -= 1
    }

    private static func grow(_ shard: inout Shard, _ hashOf: (UInt32) -> UInt64) {
        let old = shard
        shard = empty(Int(old.capacity))
        shard.count = old.count
        for place in 0..<Int(old.capacity) where old.entries[place] != 0 {
            Self.place(old.entries[place], hashOf(old.entries[place]), shard)
        }
        old.entries.deallocate()
    }

    @inline(__always)
    private func shard(_ hash: UInt64) -> UnsafeMutablePointer<Shard> {
        shards + Int(truncatingIfNeeded: hash >> (64 - Self.shardBits))
    }

    /// From the bits behind those that chose the shard.
    @inline(__always)
    private static func home(_ hash: UInt64, _ capacity: UInt32) -> Int {
        Int(truncatingIfNeeded: (hash << shardBits).multipliedFullWidth(by: UInt64(capacity)).high)
    }

    @inline(__always)
    private static func next(_ place: Int, _ capacity: UInt32) -> Int { place + 1 == Int(capacity) ? 0 : place + 1 }

    /// Steps from one place on to another.
    private static func distance(_ from: Int, _ to: Int, _ capacity: UInt32) -> Int {
        to >= from ? to - from : to - from + Int(capacity)
    }

    private static func place(_ entry: UInt32, _ hash: UInt64, _ shard: Shard) {
        var place = home(hash, shard.capacity)
        while shard.entries[place] != 0 { place = next(place, shard.capacity) }
        shard.entries[place] = entry
    }

    /// A shard with half as much room again as that, so that what is a little more needs no growth.
    private static func empty(_ count: Int) -> Shard {
        let capacity = max(16, count + count / 2)
        let entries = UnsafeMutablePointer<UInt32>.allocate(capacity: capacity)
        entries.initialize(repeating: 0, count: capacity)
        return Shard(entries: entries, capacity: UInt32(capacity), count: 0)
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
