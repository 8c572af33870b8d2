internal import CLinux

/// A set of fingerprints: open addressing, linear probing, at most two thirds full. A fingerprint is the beginning of a
/// SHA-256, so it needs no hash of its own. 0 marks a free place and is not kept: one in 2^64 is that.
struct FingerprintSet: ~Copyable {
    private var places: UnsafeMutablePointer<UInt64>
    private var mask: Int
    private(set) var count = 0

    init() {
        mask = 15
        places = Self.allocate(16)
    }

    deinit { places.deallocate() }

    /// Fetches the place where a fingerprint is looked for first.
    func prefetch(_ fingerprint: UInt64) { linux_prefetch(places + home(fingerprint)) }

    func contains(_ fingerprint: UInt64) -> Bool { fingerprint != 0 && places[find(fingerprint)] == fingerprint }

    /// - Returns: whether it is new.
    mutating func insert(_ fingerprint: UInt64) -> Bool {
        var place = find(fingerprint)
        guard fingerprint != 0, places[place] == 0 else { return false }
        if (count + 1) * 3 > (mask + 1) * 2 {
            grow()
            place = find(fingerprint)
        }
        places[place] = fingerprint
        count += 1
        return true
    }

    mutating func remove(_ fingerprint: UInt64) {
        var hole = find(fingerprint)
        guard fingerprint != 0, places[hole] == fingerprint else { return }
        var place = (hole + 1) & mask
        while places[place] != 0 {
            // It may move back into the hole unless its home lies behind the hole, on the way to where it is.
            if (place - home(places[place])) & mask >= (place - hole) & mask {
                places[hole] = places[place]
                hole = place
            }
            place = (place + 1) & mask
        }
        places[hole] = 0
        count -= 1
    }

    /// Where it is, or where it would be put.
    private func find(_ fingerprint: UInt64) -> Int {
        var place = home(fingerprint)
        while places[place] != 0, places[place] != fingerprint { place = (place + 1) & mask }
        return place
    }

    /// From the upper bits: the lower ones chose the set.
    private func home(_ fingerprint: UInt64) -> Int { Int(truncatingIfNeeded: fingerprint >> 32) & mask }

    private mutating func grow() {
        let (old, capacity) = (places, mask + 1)
        mask = capacity * 2 - 1
        places = Self.allocate(capacity * 2)
        for place in 0..<capacity where old[place] != 0 { places[find(old[place])] = old[place] }
        old.deallocate()
    }

    private static func allocate(_ capacity: Int) -> UnsafeMutablePointer<UInt64> {
        let places = UnsafeMutablePointer<UInt64>.allocate(capacity: capacity)
        places.initialize(repeating: 0, count: capacity)
        return places
    }
}
