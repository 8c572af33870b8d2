internal import TokenModel

/// A current token: 72 bytes.
struct TokenSlot: BitwiseCopyable {
    var digest = TokenDigest(words: (0, 0, 0, 0))
    /// Names, as slots of the name table.
    var project: UInt32 = 0
    /// Slot of the application.
    var application: UInt32 = 0
    /// The application's other tokens.
    var nextOfApplication: UInt32 = 0
    var priorOfApplication: UInt32 = 0
    /// The first of its previous tokens, the oldest, or 0.
    var previous: UInt32 = 0
    /// Seconds since the epoch; 0 for never.
    var lastUsedSeconds: UInt32 = 0
    var ttlSeconds: UInt32 = 0
    private var issuedHigh: UInt16 = 0
    private var idHigh: UInt16 = 0
    private var issuedLow: UInt32 = 0
    private var idLow: UInt32 = 0

    var issuedAt: Instant {
        @inline(__always) get { Instant(milliseconds: Int64(issuedHigh) << 32 | Int64(issuedLow)) }
        set {
            issuedHigh = UInt16(newValue.milliseconds >> 32)
            issuedLow = UInt32(truncatingIfNeeded: newValue.milliseconds)
        }
    }

    var id: Int64 {
        @inline(__always) get { Int64(idHigh) << 32 | Int64(idLow) }
        set {
            idHigh = UInt16(newValue >> 32)
            idLow = UInt32(truncatingIfNeeded: newValue)
        }
    }

    @inline(__always) var expiresAt: Instant { issuedAt.adding(seconds: Int64(ttlSeconds)) }
}

/// A previous token: few tokens have any.
struct PreviousSlot: BitwiseCopyable {
    var digest = TokenDigest(words: (0, 0, 0, 0))
    var issuedAt = Instant(milliseconds: 0)
    var expiresAt = Instant(milliseconds: 0)
    var bootDeadlineMilliseconds: Int64 = 0
    /// The current token that it stands behind.
    var token: UInt32 = 0
    /// The next younger one, or 0.
    var next: UInt32 = 0

    var model: PreviousToken {
        PreviousToken(
            digest: digest, issuedAt: issuedAt, expiresAt: expiresAt,
            bootDeadlineMilliseconds: bootDeadlineMilliseconds)
    }
}

/// An application: 32 bytes.
struct ApplicationSlot: BitwiseCopyable {
    private var registration: (UInt32, UInt32, UInt32, UInt32) = (0, 0, 0, 0)
    var name: UInt32 = 0
    /// The first of its tokens, or 0.
    var firstToken: UInt32 = 0
    private var idLow: UInt32 = 0
    private var idHigh: UInt16 = 0

    var registrationID: RegistrationID {
        @inline(__always) get {
            RegistrationID(
                high: UInt64(registration.0) << 32 | UInt64(registration.1),
                low: UInt64(registration.2) << 32 | UInt64(registration.3))
        }
        set {
            registration = (
                UInt32(newValue.high >> 32), UInt32(truncatingIfNeeded: newValue.high),
                UInt32(newValue.low >> 32), UInt32(truncatingIfNeeded: newValue.low)
            )
        }
    }

    var id: Int64 {
        get { Int64(idHigh) << 32 | Int64(idLow) }
        set {
            idHigh = UInt16(newValue >> 32)
            idLow = UInt32(truncatingIfNeeded: newValue)
        }
    }
}

/// What stands for a token in the table of digests: a slot's number (26 bits), whether it is a previous token's, and
/// five bits of the digest, so that a probe seldom fetches a slot in vain.
struct DigestEntry: Equatable {
    let raw: UInt32

    private static let previousBit: UInt32 = 1 << 26
    static let tagMask: UInt32 = 31 << 27

    @inline(__always)
    init(raw: UInt32) { self.raw = raw }

    init(slot: UInt32, isPrevious: Bool, digest: TokenDigest) {
        raw = Self.tag(digest) | (isPrevious ? Self.previousBit : 0) | slot
    }

    /// From the other end of the word than the table takes its places from.
    @inline(__always)
    static func tag(_ digest: TokenDigest) -> UInt32 {
        UInt32(truncatingIfNeeded: digest.words.0) & tagMask
    }

    @inline(__always) var slot: UInt32 { raw & (Self.previousBit - 1) }
    @inline(__always) var isPrevious: Bool { raw & Self.previousBit != 0 }
}
