internal import TokenModel

/// The chain over the audit: each row's `chain` is the SHA-256 of the row before's `chain` and this row's bytes, so
/// that no row can be changed, taken out or put in without all that follow telling. The first row's predecessor is 32
/// zero bytes.
///
/// A row's bytes are its fields in this order, each behind its length as four bytes, big-endian, or 0xFFFFFFFF alone
/// where it is absent: sequence, time, event, outcome (`success`), registration_id, application, project, principal, uid,
/// gid, pid, unit, fingerprint, ended, shortened. Numbers are decimal ASCII, times milliseconds since 1970; texts are
/// UTF-8; registration_id is 16 bytes, fingerprint 8, ended 8 a token, shortened 16 a token (the fingerprint, then the
/// new end in milliseconds), all big-endian, as they stand in the table.
struct AuditChain {
    static let start = TokenDigest(words: (0, 0, 0, 0))

    private var bytes: [UInt8] = []

    /// The chain value of a record that follows `previous`; the record's own is not looked at.
    mutating func link(_ record: AuditRecord, after previous: TokenDigest) -> TokenDigest {
        bytes.removeAll(keepingCapacity: true)
        previous.withBytes { bytes.append(contentsOf: $0) }
        append(number: record.sequence)
        append(number: record.time.milliseconds)
        append(record.event.rawValue)
        append("success")
        append(AuditBlobs.bytes(record.registrationID))
        append(record.application.text)
        append(record.project?.text)
        append(record.principal.text)
        append(number: Int64(record.uid))
        append(number: Int64(record.gid))
        append(number: Int64(record.pid))
        append(record.unit)
        append(record.fingerprint.map { AuditBlobs.bytes([$0]) })
        append(AuditBlobs.bytes(record.ended))
        append(AuditBlobs.bytes(record.shortened))
        return bytes.withUnsafeBytes { TokenDigest(hashing: $0) }
    }

    private mutating func append(_ text: String?) {
        guard var text else { return appendLength(UInt32.max) }
        text.withUTF8 { utf8 in
            appendLength(UInt32(utf8.count))
            bytes.append(contentsOf: utf8)
        }
    }

    private mutating func append(_ blob: [UInt8]?) {
        guard let blob else { return appendLength(UInt32.max) }
        appendLength(UInt32(blob.count))
        bytes.append(contentsOf: blob)
    }

    private mutating func append(number: Int64) { append(String(number)) }

    private mutating func appendLength(_ length: UInt32) {
        withUnsafeBytes(of: length.bigEndian) { bytes.append(contentsOf: $0) }
    }
}

/// How lists and ids stand in blobs: fixed widths, big-endian.
enum AuditBlobs {
    static func bytes(_ id: RegistrationID) -> [UInt8] { words([id.high, id.low]) }

    static func bytes(_ fingerprints: [Fingerprint]) -> [UInt8] { words(fingerprints.map(\.value)) }

    static func bytes(_ tokens: [ShortenedToken]) -> [UInt8] {
        words(tokens.flatMap { [$0.fingerprint.value, UInt64(bitPattern: $0.expiration.milliseconds)] })
    }

    /// Three at most: digest, issued_at, expires_at.
    static func bytes(_ previous: [PreviousToken]) -> [UInt8] {
        words(
            previous.flatMap { token in
                let digest = token.digest.words
                return [
                    digest.0, digest.1, digest.2, digest.3, UInt64(bitPattern: token.issuedAt.milliseconds),
                    UInt64(bitPattern: token.expiresAt.milliseconds),
                ]
            })
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

    private static func words(_ words: [UInt64]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(words.count * 8)
        for word in words { withUnsafeBytes(of: word.bigEndian) { bytes.append(contentsOf: $0) } }
        return bytes
    }
}
