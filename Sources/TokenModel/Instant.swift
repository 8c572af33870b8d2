/// A moment in UTC, in whole milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted (POSIX time).
@frozen
public struct Instant: Comparable, Hashable, Sendable, BitwiseCopyable {
    /// Since the epoch.
    public let milliseconds: Int64

    /// A moment that many milliseconds after the epoch.
    @inlinable
    public init(milliseconds: Int64) { self.milliseconds = milliseconds }

    /// Whole seconds since the epoch, rounded down (RFC 7662's `iat` and `exp`).
    @inlinable public var seconds: Int64 {
        milliseconds >= 0 ? milliseconds / 1_000 : (milliseconds - 999) / 1_000
    }

    /// The moment `seconds` later. Both stay far from the ends of `Int64`: a time to live is a year at most.
    @inlinable
    public func adding(seconds: Int64) -> Instant { Instant(milliseconds: milliseconds + seconds * 1_000) }

    /// Earlier comes first.
    @inlinable
    public static func < (left: Instant, right: Instant) -> Bool { left.milliseconds < right.milliseconds }
}

extension Instant: CustomStringConvertible {
    /// The bytes that `write(to:)` writes.
    public static let textLength = 24

    /// 9999-12-31T23:59:59.999Z, the last moment that four digits of a year can name.
    package static let lastWritable: Int64 = 253_402_300_799_999

    /// Writes exactly `textLength` bytes of ISO 8601, as `2025-05-24T18:18:22.265Z`. A moment outside the years 1970
    /// to 9999 is written as the nearest one inside.
    public func write(to text: UnsafeMutablePointer<UInt8>) {
        let clamped = min(max(milliseconds, 0), Self.lastWritable)
        let day = clamped / 86_400_000
        let rest = clamped % 86_400_000
        let date = CivilDate(daysSinceEpoch: day)
        Self.writeDigits(date.year, 4, to: text)
        text[4] = UInt8(ascii: "-")
        Self.writeDigits(date.month, 2, to: text + 5)
        text[7] = UInt8(ascii: "-")
        Self.writeDigits(date.day, 2, to: text + 8)
        text[10] = UInt8(ascii: "T")
        Self.writeDigits(rest / 3_600_000, 2, to: text + 11)
        text[13] = UInt8(ascii: ":")
        Self.writeDigits(rest / 60_000 % 60, 2, to: text + 14)
        text[16] = UInt8(ascii: ":")
        Self.writeDigits(rest / 1_000 % 60, 2, to: text + 17)
        text[19] = UInt8(ascii: ".")
        Self.writeDigits(rest % 1_000, 3, to: text + 20)
        text[23] = UInt8(ascii: "Z")
    }

    /// The text of `write(to:)`.
    public var description: String {
        String(unsafeUninitializedCapacity: Self.textLength) { buffer in
            guard let base = buffer.baseAddress else { return 0 }
            write(to: base)
            return Self.textLength
        }
    }

    /// Reads exactly the form that `write(to:)` writes: 24 bytes, a day that exists, no leap second, years from 1970.
    public init?(text: some Collection<UInt8>) {
        guard text.count == Self.textLength else { return nil }
        var numbers: (Int64, Int64, Int64, Int64, Int64, Int64, Int64) = (0, 0, 0, 0, 0, 0, 0)
        for (offset, byte) in text.enumerated() {
            switch offset {
            case 4, 7: guard byte == UInt8(ascii: "-") else { return nil }
            case 10: guard byte == UInt8(ascii: "T") else { return nil }
            case 13, 16: guard byte == UInt8(ascii: ":") else { return nil }
            case 19: guard byte == UInt8(ascii: ".") else { return nil }
            case 23: guard byte == UInt8(ascii: "Z") else { return nil }
            default:
                guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { return nil }
                let digit = Int64(byte - UInt8(ascii: "0"))
                switch offset {
                case 0...3: numbers.0 = numbers.0 * 10 + digit
                case 5...6: numbers.1 = numbers.1 * 10 + digit
                case 8...9: numbers.2 = numbers.2 * 10 + digit
                case 11...12: numbers.3 = numbers.3 * 10 + digit
                case 14...15: numbers.4 = numbers.4 * 10 + digit
                case 17...18: numbers.5 = numbers.5 * 10 + digit
                default: numbers.6 = numbers.6 * 10 + digit
                }
            }
        }
        guard
            let date = CivilDate(year: numbers.0, month: numbers.1, day: numbers.2), numbers.0 >= 1970,
            numbers.3 <= 23, numbers.4 <= 59, numbers.5 <= 59
        else { return nil }
        let seconds = ((date.daysSinceEpoch * 24 + numbers.3) * 60 + numbers.4) * 60 + numbers.5
        self.init(milliseconds: seconds * 1_000 + numbers.6)
    }

    private static func writeDigits(_ value: Int64, _ count: Int, to text: UnsafeMutablePointer<UInt8>) {
        var rest = value
        for offset in stride(from: count - 1, through: 0, by: -1) {
            text[offset] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
        }
    }
}

/// A day of the Gregorian calendar. The conversions count years from March, so that the leap day is a year's last
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
struct CivilDate: Equatable {
    let year: Int64
    let month: Int64
    let day: Int64

    init(daysSinceEpoch: Int64) {
        let shifted = daysSinceEpoch + 719_468  // days from 0000-03-01
        let era = shifted / 146_097  // of 400 years
        let dayOfEra = shifted % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
        month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    }

    /// Nil where there is no such day.
    init?(year: Int64, month: Int64, day: Int64) {
        guard (1...12).contains(month), day >= 1 else { return nil }
        let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        let length: Int64 =
            switch month {
            case 2: isLeap ? 29 : 28
            case 4, 6, 9, 11: 30
            default: 31
            }
        guard day <= length else { return nil }
        self.year = year
        self.month = month
        self.day = day
    }

    var daysSinceEpoch: Int64 {
        let shiftedYear = month <= 2 ? year - 1 : year
        let era = shiftedYear / 400
        let yearOfEra = shiftedYear % 400
        let monthFromMarch = month > 2 ? month - 3 : month + 9
        let dayOfYear = (153 * monthFromMarch + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }
}
