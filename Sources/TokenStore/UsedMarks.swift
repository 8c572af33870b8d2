/// Which tokens were used since `last_used_at` was last written behind: one bit a slot. Marked by whoever holds the
/// ledger's lock.
final class UsedMarks {
    private let words = Chunks<UInt64>(empty: 0)
    private let header: UnsafeMutablePointer<(count: Int, end: UInt32)>

    init() {
        header = .allocate(capacity: 1)
        header.initialize(to: (0, 0))
    }

    deinit { header.deallocate() }

    /// Slots that are marked.
    var count: Int { header.pointee.count }

    /// Marks a slot; a word's place is its slot number in units of 64, from 1.
    @inline(__always)
    func mark(_ slot: UInt32) {
        let place = slot / 64 + 1
        if place >= header.pointee.end { grow(to: place) }
        let bit = UInt64(1) << UInt64(slot % 64)
        if words[place].pointee & bit == 0 {
            words[place].pointee |= bit
            header.pointee.count += 1
        }
    }

    func clear(_ slot: UInt32) {
        let place = slot / 64 + 1
        let bit = UInt64(1) << UInt64(slot % 64)
        guard place < header.pointee.end, words[place].pointee & bit != 0 else { return }
        words[place].pointee &= ~bit
        header.pointee.count -= 1
    }

    /// At most `limit` marked slots; they are not marked any more.
    func take(_ limit: Int) -> [UInt32] {
        var slots: [UInt32] = []
        var place: UInt32 = 1
        while place < header.pointee.end && slots.count < limit && header.pointee.count > 0 {
            while words[place].pointee != 0 && slots.count < limit {
                let slot = (place - 1) * 64 + UInt32(words[place].pointee.trailingZeroBitCount)
                slots.append(slot)
                clear(slot)
            }
            place += 1
        }
        return slots
    }

    private func grow(to place: UInt32) {
        while header.pointee.end <= place {
            let taken = words.take()
            header.pointee.end = taken + 1
        }
    }
}
