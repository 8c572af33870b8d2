/// A length of time as the commands take it: `90s`, `15m`, `12h`, `60d`.
enum DurationText {
    private static let forms = "90s, 15m, 12h or 60d"

    /// The seconds.
    static func seconds(_ text: String, of option: Option) throws(Failure) -> Int64 {
        let bytes = Array(text.utf8)
        func refused(_ hint: String) -> Failure {
            Failure(.usage, "--\(option.name) \"\(text)\" is not a duration: \(hint)")
        }
        guard let unit = bytes.last else { throw refused("write \(forms)") }
        let factor: Int64
        switch unit {
        case UInt8(ascii: "s"): factor = 1
        case UInt8(ascii: "m"): factor = 60
        case UInt8(ascii: "h"): factor = 3_600
        case UInt8(ascii: "d"): factor = 86_400
        case UInt8(ascii: "0")...UInt8(ascii: "9"):
            throw refused("its unit is missing, write \(text)s for seconds, or as in \(forms)")
        default: throw refused("write \(forms)")
        }
        guard bytes.count > 1, let number = number(bytes.dropLast()) else { throw refused("write \(forms)") }
        let (seconds, overflow) = number.multipliedReportingOverflow(by: factor)
        guard !overflow, number < .max else { throw refused("it is too long") }
        return seconds
    }

    /// A number of digits alone, nil for anything else; saturated where it does not fit.
    private static func number(_ digits: ArraySlice<UInt8>) -> Int64? {
        var value: Int64 = 0
        for digit in digits {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
            let (tenfold, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = tenfold.addingReportingOverflow(Int64(digit - UInt8(ascii: "0")))
            value = overflow || carry ? .max : sum
        }
        return value
    }
}
