/// Which tokens were used since `last_used_at` was last written behind: one bit a slot. Marked by whoever holds the
/// ledger's lock.
final class UsedMarks {
    private let words = Chunks<UInt64>(empty: 0)
    /// `next` is the slot at which the next `take` begins.
    private let header: UnsafeMutablePointer<(count: Int, end: UInt32, next: UInt32)>

    init() {
        header = .allocate(capacity: 1)
        header.initialize(to: (0, 0, 0))
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

    /// At most `limit` marked slots, from where the last call stopped: what is marked again behind it waits for the next
    /// round, so that those ahead get their turn however busy the others are.
    /// - Returns: the slots, which are not marked any more, and whether a round is over; the next call begins another.
    func take(_ limit: Int) -> (slots: [UInt32], isComplete: Bool) {
        var slots: [UInt32] = []
        while header.pointee.count > 0 {
            let next = header.pointee.next
            let place = next / 64 + 1
            guard place < header.pointee.end else { break }
            let ahead = words[place].pointee & (UInt64.max << UInt64(next % 64))
            guard ahead != 0 else {
                header.pointee.next = place * 64
                continue
            }
            guard slots.count < limit else { return (slots, false) }
            let slot = (place - 1) * 64 + UInt32(ahead.trailingZeroBitCount)
            slots.append(slot)
            clear(slot)
            header.pointee.next = slot + 1
        }
        startOver()
        return (slots, true)
    }

    /// The next `take` begins a round.
    func startOver() { header.pointee.next = 0 }

    private func grow(to place: UInt32) {
        while header.pointee.end <= place {
            let taken = words.take()
            header.pointee.end = taken + 1
        }
    }
}
