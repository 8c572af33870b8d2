import Foundation

@testable import TokenRPC

/// The JSON reader held against Foundation's. They differ on purpose in what `Difference` lists, each of which has its
/// test in FoundationTests.swift; anything else is a fault of one of them.
enum JSONFoundationTarget {
    nonisolated(unsafe) private static let reader = JSONReader()

    static func run(_ bytes: UnsafeRawBufferPointer) {
        let ours = reader.read(bytes)
        let theirs = foundation(bytes)
        switch (ours, theirs) {
        case (.notJSON, nil), (.duplicateKey, nil): break
        case (.duplicateKey, .some):
            check(Difference.hasEqualKeys(reader, 0), "we alone see a key twice")
        case (.notJSON, let theirs?):
            check(Difference.excusesTheirs(bytes, theirs), "Foundation alone reads this")
        case (.document, nil):
            check(Difference.hasHugeNumber(reader, 0), "we alone read this")
        case (.document, let theirs?):
            check(isSame(0, theirs) || Difference.hasByteOrderMark(bytes), "this is read differently")
        }
    }

    private static func foundation(_ bytes: UnsafeRawBufferPointer) -> Any? {
        try? JSONSerialization.jsonObject(with: Data(bytes), options: .fragmentsAllowed)
    }

    private static func isSame(_ node: Int32, _ theirs: Any) -> Bool {
        switch reader.kind(node) {
        case .null: return theirs is NSNull
        case .true, .false:
            // Foundation's booleans are numbers of a type of their own.
            guard let flag = theirs as? NSNumber, type(of: flag) == type(of: NSNumber(value: true)) else {
                return false
            }
            return flag.boolValue == (reader.kind(node) == .true)
        case .string:
            return (theirs as? String).map { $0.utf8.elementsEqual(reader.unescaped(node)) } ?? false
        case .number:
            guard let number = theirs as? NSNumber else { return false }
            if let integer = reader.plainInteger(node) { return number.int64Value == integer }
            guard let ours = Double(String(decoding: reader.raw(node), as: UTF8.self)) else { return false }
            // Foundation keeps a number that needs more digits than a Double has as a decimal, and what it makes of that
            // is off by some units in the last place.
            return abs(number.doubleValue - ours) <= abs(ours) * 1e-14
        case .array:
            guard let elements = theirs as? [Any], elements.count == reader.count(node) else { return false }
            var element = reader.firstChild(node)
            for other in elements {
                guard isSame(element, other) else { return false }
                element = reader.next(element)
            }
            return element == -1
        case .object:
            guard let members = theirs as? [String: Any] else { return false }
            if members.count != reader.count(node) { return Difference.hasEquivalentKeys(reader, node) }
            var key = reader.firstChild(node)
            while key >= 0 {
                let value = reader.next(key)
                guard let other = members[reader.string(key)], isSame(value, other) else { return false }
                key = reader.next(value)
            }
            return true
        }
    }
}

/// What the two readers differ in, and why that is right.
private enum Difference {
    /// Foundation reads a comma before a closing bracket, a byte order mark and other encodings, and deeper documents;
    /// RFC 8259 and docs/protocol.md do not allow them.
    static func excusesTheirs(_ bytes: UnsafeRawBufferPointer, _ theirs: Any) -> Bool {
        hasTrailingComma(bytes) || hasByteOrderMark(bytes) || bytes.starts(with: [0xFF, 0xFE])
            || bytes.starts(with: [0xFE, 0xFF]) || bytes.contains(0) || depth(theirs) > Wire.maxDepth
    }

    private static func hasTrailingComma(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var afterComma = false
        for byte in bytes {
            if afterComma, byte == UInt8(ascii: "]") || byte == UInt8(ascii: "}") { return true }
            if ![0x20, 0x09, 0x0A, 0x0D].contains(byte) { afterComma = byte == UInt8(ascii: ",") }
        }
        return false
    }

    private static func depth(_ value: Any) -> Int {
        switch value {
        case let elements as [Any]: 1 + (elements.map(depth).max() ?? 0)
        case let members as [String: Any]: 1 + (members.values.map(depth).max() ?? 0)
        default: 0
        }
    }

    /// Foundation drops a U+FEFF where a string, or what follows an escape, begins with it.
    static func hasByteOrderMark(_ bytes: UnsafeRawBufferPointer) -> Bool {
        bytes.indices.contains { bytes[$0...].starts(with: [0xEF, 0xBB, 0xBF]) }
    }

    /// Foundation refuses numbers that no Double holds; we look at their grammar alone.
    static func hasHugeNumber(_ reader: JSONReader, _ node: Int32) -> Bool {
        contains(reader, node) { value in
            guard reader.kind(value) == .number else { return false }
            return Double(String(decoding: reader.raw(value), as: UTF8.self)).map { !$0.isFinite } ?? true
        }
    }

    /// Foundation lets the last of two equal keys win; for us it is an error.
    static func hasEqualKeys(_ reader: JSONReader, _ node: Int32) -> Bool {
        contains(reader, node) { value in
            let keys = keys(reader, value)
            return Set(keys.map { Array($0.utf8) }).count < keys.count
        }
    }

    /// Foundation takes canonically equivalent keys for equal, the contract compares bytes.
    static func hasEquivalentKeys(_ reader: JSONReader, _ node: Int32) -> Bool {
        let keys = keys(reader, node)
        return Set(keys).count < keys.count && Set(keys.map { Array($0.utf8) }).count == keys.count
    }

    private static func keys(_ reader: JSONReader, _ node: Int32) -> [String] {
        guard reader.kind(node) == .object else { return [] }
        var keys: [String] = []
        var key = reader.firstChild(node)
        while key >= 0 {
            keys.append(reader.string(key))
            key = reader.next(reader.next(key))
        }
        return keys
    }

    private static func contains(_ reader: JSONReader, _ node: Int32, _ isOne: (Int32) -> Bool) -> Bool {
        if isOne(node) { return true }
        var child = reader.firstChild(node)
        while child >= 0 {
            if contains(reader, child, isOne) { return true }
            child = reader.next(child)
        }
        return false
    }
}
