internal import TokenModel

/// The chain over the audit: each row's `chain` is the SHA-256 of the row before's `chain` and this row's bytes, so
/// that no row can be changed, taken out or put in without all that follow telling. The first row's predecessor is 32
/// zero bytes.
///
/// A row's bytes are its fields in this order, each behind its length as four bytes, big-endian, or 0xFFFFFFFF alone
/// where it is absent: sequence, time, event, outcome (`success`), registration_id, application, project, principal, uid,
/// gid, pid, unit, fingerprint, ended, shortened; and where one of them holds anything, comm, invocation_id and lapsed:
/// rows of before there were these prove as they did. Numbers are decimal ASCII, times milliseconds since 1970; texts are
/// UTF-8; registration_id is 16 bytes, fingerprint 8, ended and lapsed 8 a token, shortened 16 a token (the fingerprint,
/// then the new end in milliseconds), all big-endian, as they stand in the table.
struct AuditChain {
    static let start = TokenDigest(words: (0, 0, 0, 0))

    private var bytes = RowBytes()

    /// The chain value of a record that follows `previous`; the record's own is not looked at.
    mutating func link(_ record: AuditRecord, after previous: TokenDigest) -> TokenDigest {
        bytes.removeAll()
        previous.withBytes { bytes.append($0) }
        bytes.append(number: record.sequence)
        bytes.append(number: record.time.milliseconds)
        bytes.append(field: record.event.rawValue)
        bytes.append(field: "success")
        bytes.append(length: 16)
        bytes.append(word: record.registrationID.high)
        bytes.append(word: record.registrationID.low)
        bytes.append(field: record.application.text)
        bytes.append(field: record.project?.text)
        bytes.append(field: record.principal.text)
        bytes.append(number: Int64(record.uid))
        bytes.append(number: Int64(record.gid))
        bytes.append(number: Int64(record.process.pid))
        bytes.append(field: record.process.unit)
        if let made = record.fingerprint {
            bytes.append(length: 8)
            bytes.append(word: made.value)
        } else {
            bytes.append(field: nil)
        }
        bytes.append(length: record.ended.count * 8)
        for ended in record.ended { bytes.append(word: ended.value) }
        bytes.append(length: record.shortened.count * 16)
        for token in record.shortened {
            bytes.append(word: token.fingerprint.value)
            bytes.append(word: UInt64(bitPattern: token.expiration.milliseconds))
        }
        if record.process.comm != nil || record.process.invocationID != nil || !record.lapsed.isEmpty {
            bytes.append(field: record.process.comm)
            bytes.append(field: record.process.invocationID)
            bytes.append(length: record.lapsed.count * 8)
            for lapsed in record.lapsed { bytes.append(word: lapsed.value) }
        }
        return TokenDigest(hashing: bytes.written)
    }
}

/// The bytes of a row while it is hashed, in memory that is kept from row to row: this is on the way of each mutation.
private struct RowBytes {
    private final class Memory {
        var room = UnsafeMutableRawBufferPointer.allocate(byteCount: 2_048, alignment: 8)
        deinit { room.deallocate() }
    }

    private let memory = Memory()
    private var next: UnsafeMutableRawPointer
    private var end: UnsafeMutableRawPointer

    init() {
        // The room is never empty.
        next = memory.room.baseAddress!
        end = next + memory.room.count
    }

    var written: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: memory.room[..<(memory.room.count - (end - next))])
    }

    mutating func removeAll() { next = end - memory.room.count }

    mutating func append(_ more: UnsafeRawBufferPointer) {
        guard let source = more.baseAddress, more.count > 0 else { return }
        makeRoom(more.count)
        next.copyMemory(from: source, byteCount: more.count)
        next += more.count
    }

    mutating func append(field text: String?) {
        guard var text else { return append(word: UInt32.max) }
        text.withUTF8 { utf8 in
            append(length: utf8.count)
            append(UnsafeRawBufferPointer(utf8))
        }
    }

    /// Decimal digits.
    mutating func append(number: Int64) {
        makeRoom(4 + 20)
        let digits = next + 4
        var count = 0
        var rest = number.magnitude
        repeat {
            // From the right end of the room; moved to its place when their number is known.
            count += 1
            (digits + 20 - count).storeBytes(of: UInt8(ascii: "0") + UInt8(rest % 10), as: UInt8.self)
            rest /= 10
        } while rest > 0
        if number < 0 {
            count += 1
            (digits + 20 - count).storeBytes(of: UInt8(ascii: "-"), as: UInt8.self)
        }
        append(length: count)
        next.copyMemory(from: digits + 20 - count, byteCount: count)
        next += count
    }

    mutating func append(length: Int) { append(word: UInt32(length)) }

    mutating func append(word: some FixedWidthInteger) {
        let size = word.bitWidth / 8
        makeRoom(size)
        next.storeBytes(of: word.bigEndian, as: type(of: word))
        next += size
    }

    private mutating func makeRoom(_ more: Int) {
        if end - next < more { grow(more) }
    }

    private mutating func grow(_ more: Int) {
        let used = written
        let larger = UnsafeMutableRawBufferPointer.allocate(
            byteCount: max(memory.room.count * 2, used.count + more), alignment: 8)
        larger.copyMemory(from: used)
        memory.room.deallocate()
        memory.room = larger
        next = larger.baseAddress! + used.count  // the room is never empty
        end = next + (larger.count - used.count)
    }
}

/// How lists and ids stand in blobs: fixed widths, big-endian.
enum AuditBlobs {
    /// Lends the bytes; like the others, without allocating for what is short, for it is on the way of each mutation.
    static func withBytes(_ id: RegistrationID, _ body: (UnsafeRawBufferPointer) -> Void) {
        withWords(2, { $0 == 0 ? id.high : id.low }, body)
    }

    static func withBytes(_ fingerprints: [Fingerprint], _ body: (UnsafeRawBufferPointer) -> Void) {
        withWords(fingerprints.count, { fingerprints[$0].value }, body)
    }

    static func withBytes(_ fingerprint: Fingerprint, _ body: (UnsafeRawBufferPointer) -> Void) {
        withWords(1, { _ in fingerprint.value }, body)
    }

    static func withBytes(_ tokens: [ShortenedToken], _ body: (UnsafeRawBufferPointer) -> Void) {
        withWords(
            tokens.count * 2,
            { place in
                let token = tokens[place / 2]
                return place % 2 == 0
                    ? token.fingerprint.value : UInt64(bitPattern: token.expiration.milliseconds)
            }, body)
    }

    /// Three at most: digest, issued_at, expires_at.
    static func withBytes(_ previous: [PreviousToken], _ body: (UnsafeRawBufferPointer) -> Void) {
        withWords(
            previous.count * 6,
            { place in
                let token = previous[place / 6]
                switch place % 6 {
                case 0: return token.digest.words.0
                case 1: return token.digest.words.1
                case 2: return token.digest.words.2
                case 3: return token.digest.words.3
                case 4: return UInt64(bitPattern: token.issuedAt.milliseconds)
                default: return UInt64(bitPattern: token.expiresAt.milliseconds)
                }
            }, body)
    }

    static func registrationID(_ blob: UnsafeRawBufferPointer) -> RegistrationID? {
        blob.count == 16 ? RegistrationID(high: word(blob, 0), low: word(blob, 1)) : nil
    }

    static func fingerprints(_ blob: UnsafeRawBufferPointer) -> [Fingerprint]? {
        guard blob.count % 8 == 0 else { return nil }
        return (0..<blob.count / 8).map { Fingerprint(value: word(blob, $0)) }
    }

    static func shortened(_ blob: UnsafeRawBufferPointer) -> [ShortenedToken]? {
        guard blob.count % 16 == 0 else { return nil }
        return (0..<blob.count / 16).map { place in
            ShortenedToken(
                fingerprint: Fingerprint(value: word(blob, place * 2)),
                expiration: Instant(milliseconds: Int64(bitPattern: word(blob, place * 2 + 1))))
        }
    }

    static func previous(_ blob: UnsafeRawBufferPointer, asOf moment: Moment) -> [PreviousToken]? {
        guard blob.count % 48 == 0, blob.count <= 48 * TokenLimits.maxPrevious else { return nil }
        return (0..<blob.count / 48).map { place in
            let first = place * 6
            return PreviousToken(
                digest: TokenDigest(
                    words: (word(blob, first), word(blob, first + 1), word(blob, first + 2), word(blob, first + 3))),
                issuedAt: Instant(milliseconds: Int64(bitPattern: word(blob, first + 4))),
                expiresAt: Instant(milliseconds: Int64(bitPattern: word(blob, first + 5))), asOf: moment)
        }
    }

    private static func word(_ blob: UnsafeRawBufferPointer, _ place: Int) -> UInt64 {
        UInt64(bigEndian: blob.loadUnaligned(fromByteOffset: place * 8, as: UInt64.self))
    }

    @inline(__always)
    private static func withWords(_ count: Int, _ word: (Int) -> UInt64, _ body: (UnsafeRawBufferPointer) -> Void) {
        withUnsafeTemporaryAllocation(of: UInt64.self, capacity: count) { room in
            for place in 0..<count { room[place] = word(place).bigEndian }
            body(UnsafeRawBufferPointer(room))
        }
    }
}
