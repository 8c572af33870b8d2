import Glibc

/// Bytes that grow at their end: what is to be sent.
///
/// One thread at a time. Memory that is let go is overwritten before, for it may have held a token.
public final class ByteWriter {
    @usableFromInline
    struct State {
        @usableFromInline var memory: UnsafeMutablePointer<UInt8>
        @usableFromInline var count: Int
        @usableFromInline var capacity: Int
        /// How far bytes may lie that were written and then cut off.
        @usableFromInline var dirty: Int
    }

    // Behind a pointer, for a class's properties are checked for exclusivity at each access.
    @usableFromInline let state: UnsafeMutablePointer<State>

    /// An empty writer with room for some short answers.
    public init(capacity: Int = 1_024) {
        state = .allocate(capacity: 1)
        state.initialize(to: State(memory: .allocate(capacity: capacity), count: 0, capacity: capacity, dirty: 0))
    }

    deinit {
        removeAll(wiping: true)
        state.pointee.memory.deallocate()
        state.deallocate()
    }

    /// What was written, good until the next change.
    @inlinable public var bytes: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: state.pointee.memory, count: state.pointee.count)
    }

    /// How many bytes there are; a mark for `truncate`.
    @inlinable public var count: Int { state.pointee.count }

    /// How many there may be before memory is allocated.
    @inlinable public var capacity: Int { state.pointee.capacity }

    /// Makes room for so many more bytes.
    @inlinable
    public func reserve(_ more: Int) {
        if state.pointee.capacity - state.pointee.count < more { grow(by: more) }
    }

    @usableFromInline
    func grow(by more: Int) {
        let capacity = max(state.pointee.capacity * 2, state.pointee.count + more)
        let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
        memory.update(from: state.pointee.memory, count: state.pointee.count)
        explicit_bzero(state.pointee.memory, max(state.pointee.dirty, state.pointee.count))
        state.pointee.memory.deallocate()
        state.pointee.memory = memory
        state.pointee.capacity = capacity
        state.pointee.dirty = 0
    }

    /// Writes one byte.
    @inlinable
    public func append(_ byte: UInt8) {
        reserve(1)
        state.pointee.memory[state.pointee.count] = byte
        state.pointee.count += 1
    }

    /// Writes bytes as they are.
    @inlinable
    public func append(_ bytes: UnsafeRawBufferPointer) {
        guard let source = bytes.baseAddress else { return }
        reserve(bytes.count)
        UnsafeMutableRawPointer(state.pointee.memory + state.pointee.count)
            .copyMemory(from: source, byteCount: bytes.count)
        state.pointee.count += bytes.count
    }

    /// Writes a literal as it is. Inlined, for the copy is then one of a length that is known.
    @inlinable
    @inline(__always)
    public func append(_ text: StaticString) {
        append(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    /// Lets `write` fill at most `room` bytes and say how many it did.
    @inlinable
    public func append(room: Int, _ write: (UnsafeMutablePointer<UInt8>) -> Int) {
        reserve(room)
        let written = write(state.pointee.memory + state.pointee.count)
        precondition(written >= 0 && written <= room, "more was written than there was room for")
        state.pointee.count += written
    }

    /// Cuts off what was written since `count` was `mark`. The bytes stay in memory until they are overwritten: see
    /// `wipe`.
    @inlinable
    public func truncate(to mark: Int) {
        precondition(mark >= 0 && mark <= state.pointee.count, "a mark is an earlier count")
        state.pointee.dirty = max(state.pointee.dirty, state.pointee.count)
        state.pointee.count = mark
    }

    /// Takes bytes off the front; what is left moves there.
    public func removeFirst(_ removed: Int) {
        precondition(removed >= 0 && removed <= state.pointee.count, "no more than there is")
        let rest = state.pointee.count - removed
        state.pointee.dirty = max(state.pointee.dirty, state.pointee.count)
        UnsafeMutableRawPointer(state.pointee.memory).copyMemory(from: state.pointee.memory + removed, byteCount: rest)
        state.pointee.count = rest
    }

    /// Empties the writer and keeps its memory; `wiping` overwrites all that it ever held.
    @inlinable
    public func removeAll(wiping: Bool) {
        truncate(to: 0)
        if wiping { wipe() }
    }

    /// Overwrites what was cut off and is not part of `bytes`, so that no optimiser leaves it out.
    public func wipe() {
        let dirty = max(state.pointee.dirty, state.pointee.count)
        if dirty > state.pointee.count {
            explicit_bzero(state.pointee.memory + state.pointee.count, dirty - state.pointee.count)
        }
        state.pointee.dirty = 0
    }
}
