/// The way from the root of a TOML document to one of its values.
struct KeyPathInFile: Hashable, Sendable, CustomStringConvertible {
    enum Step: Hashable, Sendable {
        case key(String)
        case index(Int)
    }

    var steps: [Step] = []

    init() {}

    init(_ keys: String...) { steps = keys.map(Step.key) }

    func appending(_ key: String) -> KeyPathInFile { appending(.key(key)) }

    func appending(_ index: Int) -> KeyPathInFile { appending(.index(index)) }

    private func appending(_ step: Step) -> KeyPathInFile {
        var longer = self
        longer.steps.append(step)
        return longer
    }

    /// As messages name it: `tokens.per_owner`, `credential[1].unit`; what is no bare key of TOML stands in quotes.
    var description: String {
        var text = ""
        for step in steps {
            switch step {
            case .index(let index): text += "[\(index)]"
            case .key(let key):
                if !text.isEmpty { text += "." }
                text += Self.isBare(key) ? key : String(reflecting: key)
            }
        }
        return text
    }

    private static func isBare(_ key: String) -> Bool {
        !key.isEmpty
            && key.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                    true
                default: false
                }
            }
    }
}
