internal import CLinux
internal import Glibc

/// Names as bytes, each once: an application, its owner and a project of the same name share them. A name goes with
/// its last reference.
///
/// A slot also holds what is found by name, an application and an owner's count of tokens, so that neither needs a
/// table of its own.
final class NameTable {
    struct Name: BitwiseCopyable {
        /// In units of `NameArena.unit`.
        var offset: UInt32 = 0
        var references: UInt32 = 0
        /// The application of this name, or 0.
        var application: UInt32 = 0
        /// Tokens of the applications that this name owns.
        var ownedTokens: UInt32 = 0
    }

    let names = Chunks<Name>(empty: Name())
    private let arena = NameArena()
    private let table = ProbeTable()
    // Names are chosen by callers: a hash with a key of this process keeps them from piling names on one place.
    private let seed = UInt64.random(in: .min ... .max)

    /// Makes room for so many names in a table that is empty.
    func reserve(_ count: Int) { table.reserve(count) }

    /// The bytes, good until the name's last reference goes.
    @inline(__always)
    func bytes(_ slot: UInt32) -> UnsafeRawBufferPointer { arena.bytes(names[slot].pointee.offset) }

    /// Fetches a name's bytes, or the first of them.
    @inline(__always)
    func prefetch(_ slot: UInt32) { linux_prefetch(arena.address(names[slot].pointee.offset)) }

    /// The slot of a name, or 0.
    func find(_ bytes: UnsafeRawBufferPointer) -> UInt32 { find(bytes, hash(bytes)) }

    /// The slot of a name, or 0.
    func find(_ text: String) -> UInt32 { find(text, hash(text)) }

    // MARK: In steps, each for many names before the next, so that their memory is fetched side by side

    /// The first step: the name's hash.
    func hash(_ text: String) -> UInt64 {
        var text = text
        return text.withUTF8 { hash(UnsafeRawBufferPointer($0)) }
    }

    /// Fetches the place where the hash is looked for.
    func prefetch(hash: UInt64) { table.prefetch(hash) }

    /// The slot that a name of this hash has if there is one, or 0; fetches it.
    func candidate(_ hash: UInt64) -> UInt32 {
        let slot = TaggedSlot(raw: table.find(hash) { TaggedSlot(raw: $0).mayMatch(hash) }).slot
        if slot != 0 { linux_prefetch(names[slot]) }
        return slot
    }

    /// The last step: the slot of a name, or 0.
    func find(_ text: String, _ hash: UInt64) -> UInt32 {
        var text = text
        return text.withUTF8 { find(UnsafeRawBufferPointer($0), hash) }
    }

    /// The slot of a name, with one reference more.
    func retain(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        let hash = hash(bytes)
        let found = find(bytes, hash)
        if found != 0 {
            names[found].pointee.references += 1
            return found
        }
        let slot = names.take()
        names[slot].pointee.offset = arena.add(bytes)
        names[slot].pointee.references = 1
        table.insert(TaggedSlot(slot, hash: hash).raw, hash: hash, hashOf: { self.hash(ofEntry: $0) })
        return slot
    }

    /// Takes one reference more to a name that is there.
    func retain(slot: UInt32) { names[slot].pointee.references += 1 }

    /// Gives one reference back.
    func release(_ slot: UInt32) {
        names[slot].pointee.references -= 1
        guard names[slot].pointee.references == 0 else { return }
        let hash = hash(bytes(slot))
        table.remove(TaggedSlot(slot, hash: hash).raw, hash: hash, hashOf: { self.hash(ofEntry: $0) })
        arena.remove(names[slot].pointee.offset)
        names.release(slot)
    }

    private func find(_ bytes: UnsafeRawBufferPointer, _ hash: UInt64) -> UInt32 {
        let entry = table.find(hash) { raw in
            let entry = TaggedSlot(raw: raw)
            guard entry.mayMatch(hash) else { return false }
            let mine = self.bytes(entry.slot)
            guard mine.count == bytes.count else { return false }
            guard let left = mine.baseAddress, let right = bytes.baseAddress else { return true }
            return memcmp(left, right, bytes.count) == 0
        }
        return TaggedSlot(raw: entry).slot
    }

    private func hash(ofEntry raw: UInt32) -> UInt64 { hash(bytes(TaggedSlot(raw: raw).slot)) }

    private func hash(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        var hasher = Hasher()
        hasher.combine(seed)
        hasher.combine(bytes: bytes)
        return UInt64(bitPattern: Int64(hasher.finalize()))
    }
}

/// Bytes of names, each behind one byte of length, in chunks that never move. What is given back is used again for a
/// name of the same size.
private final class NameArena {
    static let unit = 4
    private static let chunkBits: UInt32 = 14
    private static let unitsPerChunk = 1 << 14

    private let directory: UnsafeMutablePointer<UnsafeMutableRawPointer>
    private static let maxChunks = 1 << 18
    private var chunkCount = 0
    private var used = unitsPerChunk
    private var free = [[UInt32]](repeating: [], count: 65)

    init() { directory = .allocate(capacity: Self.maxChunks) }

    deinit {
        for chunk in 0..<chunkCount { directory[chunk].deallocate() }
        directory.deallocate()
    }

    @inline(__always)
    func address(_ offset: UInt32) -> UnsafeMutableRawPointer {
        directory[Int(offset >> Self.chunkBits)] + Int(offset & UInt32(Self.unitsPerChunk - 1)) * Self.unit
    }

    @inline(__always)
    func bytes(_ offset: UInt32) -> UnsafeRawBufferPointer {
        let record = address(offset)
        return UnsafeRawBufferPointer(start: record + 1, count: Int(record.load(as: UInt8.self)))
    }

    func add(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        precondition(bytes.count < 256, "names are 128 bytes at most")
        let units = Self.units(bytes.count)
        let offset = free[units].popLast() ?? bump(units)
        let record = address(offset)
        record.storeBytes(of: UInt8(bytes.count), as: UInt8.self)
        (record + 1).copyMemory(from: bytes.baseAddress ?? UnsafeRawPointer(record), byteCount: bytes.count)
        return offset
    }

    func remove(_ offset: UInt32) { free[Self.units(bytes(offset).count)].append(offset) }

    private func bump(_ units: Int) -> UInt32 {
        if used + units > Self.unitsPerChunk {
            precondition(chunkCount < Self.maxChunks, "the index is full")
            directory[chunkCount] = .allocate(byteCount: Self.unitsPerChunk * Self.unit, alignment: Self.unit)
            chunkCount += 1
            used = 0
        }
        defer { used += units }
        return UInt32((chunkCount - 1) * Self.unitsPerChunk + used)
    }

    private static func units(_ byteCount: Int) -> Int { (byteCount + 1 + unit - 1) / unit }
}
