import CLinux
import Glibc

/// What a connection has sent and nobody has taken yet. Empty for most connections most of the time, and then it holds
/// no memory. Tokens pass through it, so what is taken is wiped.
struct InputBuffer: ~Copyable {
    private var storage: UnsafeMutableRawBufferPointer?
    private(set) var count = 0

    /// The bytes, until the next change.
    var bytes: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: storage?.baseAddress, count: count)
    }

    /// Puts bytes behind those that are there.
    mutating func append(_ more: UnsafeRawBufferPointer) {
        guard let source = more.baseAddress, more.count > 0 else { return }
        let needed = count + more.count
        if needed > storage?.count ?? 0 {
            let larger = UnsafeMutableRawBufferPointer.allocate(
                byteCount: max(256, needed.nextPowerOfTwo), alignment: 16)
            if let storage, let target = larger.baseAddress, let old = storage.baseAddress {
                memcpy(target, old, count)
                release(storage)
            }
            storage = larger
        }
        if let target = storage?.baseAddress { memcpy(target + count, source, more.count) }
        count = needed
    }

    /// Takes bytes from the front.
    mutating func removeFirst(_ taken: Int) {
        guard taken > 0, let base = storage?.baseAddress else { return }
        count -= taken
        if count == 0 {
            removeAll()
        } else {
            memmove(base, base + taken, count)
            explicit_bzero(base + count, taken)
        }
    }

    /// Forgets everything and gives the memory back.
    mutating func removeAll() {
        if let storage { release(storage) }
        storage = nil
        count = 0
    }

    private func release(_ region: UnsafeMutableRawBufferPointer) {
        if let base = region.baseAddress { explicit_bzero(base, region.count) }
        region.deallocate()
    }

    deinit {
        if let storage { release(storage) }
    }
}

extension Int {
    /// The smallest power of two that is not below this.
    var nextPowerOfTwo: Int { self <= 1 ? 1 : 1 << (Int.bitWidth - (self - 1).leadingZeroBitCount) }
}
