import Glibc

/// Finds a key that an object has twice, by the bytes after unescaping.
///
/// Small objects are compared pair by pair. Larger ones, and those whose keys hold escapes, go through a hash table, so
/// that time grows with the line's length only; Swift's hasher is seeded anew in each process, so nobody outside can
/// choose keys that collide. Keys with the same 64 bits of hash are compared by their bytes.
struct JSONKeys {
    private struct Slot {
        var hash: Int
        /// The key's node, -1 where the slot is free.
        var node: Int32
    }

    /// Up to here comparing all pairs is cheaper than hashing: 28 comparisons, most of them of lengths alone.
    private static let maxPairwise = 8

    private var slots: UnsafeMutablePointer<Slot>?
    private var capacity = 0
    private var scratch = JSONScratch()
    private var otherScratch = JSONScratch()
    /// Comparisons and probes since the reader was made: what a test holds against the number of keys.
    private(set) var steps = 0

    /// Whether any object of the tape has a key twice.
    /// - Parameter crowdedObjects: how many objects have two keys or more.
    /// - Parameter hasEscapedKey: whether any key of the tape has an escape.
    mutating func anyRepeats(in tape: JSONTape, crowdedObjects: Int, hasEscapedKey: Bool) -> Bool {
        var left = crowdedObjects
        var object = 0
        while left > 0 {
            let node = tape.nodes[object]
            if node.kind == .object, node.count >= 2 {
                left -= 1
                let isPairwise = node.count <= Self.maxPairwise && !hasEscapedKey
                if isPairwise ? repeatsPairwise(object, in: tape) : repeatsByHash(object, in: tape) { return true }
            }
            object += 1
        }
        return false
    }

    private mutating func repeatsPairwise(_ object: Int, in tape: JSONTape) -> Bool {
        var left = Int32(truncatingIfNeeded: object + 1)
        while left >= 0 {
            let leftNode = tape.nodes[Int(left)]
            let length = leftNode.end - leftNode.start
            let following = tape.nodes[Int(leftNode.next)].next
            var right = following
            while right >= 0 {
                let rightNode = tape.nodes[Int(right)]
                steps += 1
                if rightNode.end - rightNode.start == length,
                    tape.content(of: leftNode).isEqual(to: tape.content(of: rightNode))
                {
                    return true
                }
                right = tape.nodes[Int(rightNode.next)].next
            }
            left = following
        }
        return false
    }

    private mutating func repeatsByHash(_ object: Int, in tape: JSONTape) -> Bool {
        let mask = clearSlots(for: tape.nodes[object].count) - 1
        guard let slots else { return false }
        var key = Int32(truncatingIfNeeded: object + 1)
        while key >= 0 {
            let node = tape.nodes[Int(key)]
            let bytes = scratch.unescaped(node, of: tape)
            var hasher = Hasher()
            hasher.combine(bytes: bytes)
            let hash = hasher.finalize()
            var place = hash & mask
            steps += 1
            while slots[place].node >= 0 {
                steps += 1
                if slots[place].hash == hash {
                    let other = otherScratch.unescaped(tape.nodes[Int(slots[place].node)], of: tape)
                    if bytes.isEqual(to: other) { return true }
                }
                place = (place + 1) & mask
            }
            slots[place] = Slot(hash: hash, node: key)
            key = tape.nodes[Int(node.next)].next
        }
        return false
    }

    /// Frees so many slots, a power of two, that at most half of them will be taken.
    private mutating func clearSlots(for keys: Int) -> Int {
        var needed = 16
        while needed < keys * 2 { needed *= 2 }
        if needed > capacity {
            slots?.deallocate()
            slots = .allocate(capacity: needed)
            capacity = needed
        }
        slots?.update(repeating: Slot(hash: 0, node: -1), count: needed)
        return needed
    }

    /// Overwrites the keys that were unescaped: a caller may have sent a token in a key's place.
    mutating func wipe() {
        scratch.wipe()
        otherScratch.wipe()
    }

    mutating func deallocate() {
        slots?.deallocate()
        scratch.deallocate()
        otherScratch.deallocate()
    }
}

/// Room for one string with its escapes resolved. Strings without escapes are not copied.
struct JSONScratch {
    private var memory: UnsafeMutableRawPointer?
    private var capacity = 0
    private var dirty = 0

    /// The bytes of a string, good until the next call.
    mutating func unescaped(_ node: JSONNode, of tape: JSONTape) -> UnsafeRawBufferPointer {
        let content = tape.content(of: node)
        guard node.hasEscapes else { return content }
        if content.count > capacity || memory == nil {
            wipe()
            memory?.deallocate()
            capacity = max(content.count, 256)
            memory = .allocate(byteCount: capacity, alignment: 1)
        }
        guard let memory else { return content }
        let count = JSONEscape.unescape(content, into: memory)
        dirty = max(dirty, count)
        return UnsafeRawBufferPointer(start: memory, count: count)
    }

    /// Overwrites what was unescaped: it may have been a token.
    mutating func wipe() {
        guard let memory, dirty > 0 else { return }
        explicit_bzero(memory, dirty)
        dirty = 0
    }

    mutating func deallocate() {
        wipe()
        memory?.deallocate()
    }
}
