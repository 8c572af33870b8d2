extension ConfigurationReader {
    /// Checks what holds between keys. A key that is wrong on its own is left out: it has its message already.
    mutating func crossCheck() {
        let noted = Set(findings.map(\.key.description))
        for (lower, upper) in Self.pairs where !noted.contains(lower) && !noted.contains(upper) {
            compare(lower, upper)
        }
        if !noted.contains(Self.graceMax) { checkCredentialGraces() }
        checkCredentialPairs()
    }

    private static let graceMax = "tokens.grace_seconds_max"

    /// Each key with one that it must not exceed.
    private static let pairs = [
        ("tokens.ttl_seconds_min", "tokens.ttl_seconds_default"),
        ("tokens.ttl_seconds_default", "tokens.ttl_seconds_max"),
        ("tokens.ttl_seconds_min", "tokens.ttl_seconds_max"),
        ("tokens.grace_seconds_default", graceMax),
    ]

    private mutating func compare(_ lower: String, _ upper: String) {
        guard let least = number(lower), let most = number(upper), least > most else { return }
        // One message a pair, at a key that the file has.
        if given.contains(lower) {
            note(path(lower), "must be at most \(upper), which is \(described(upper, most)); it is \(least)")
        } else {
            note(path(upper), "must be at least \(lower), which is \(described(lower, least)); it is \(most)")
        }
    }

    private mutating func checkCredentialGraces() {
        let most = configuration.tokens.graceSecondsMax
        for (credential, place) in zip(configuration.credentials, credentialPlaces)
        where credential.graceSeconds > most {
            // The key may be left out: the entry is what the file surely has.
            noteMissing(
                place.appending("grace_seconds"), in: place,
                "must be at most \(Self.graceMax), which is \(described(Self.graceMax, most)); "
                    + "it is \(credential.graceSeconds)")
        }
    }

    private mutating func checkCredentialPairs() {
        var seen: [[String]: KeyPathInFile] = [:]
        for (credential, place) in zip(configuration.credentials, credentialPlaces) {
            let pair = [credential.unit, credential.credential]
            if let first = seen[pair] {
                note(place, "names the same unit and credential as \(first)")
            } else {
                seen[pair] = place
            }
        }
    }

    private func number(_ path: String) -> Int? {
        guard let key = ConfigurationKey.all.first(where: { $0.path == path }), case .number(_, let field) = key.value
        else { return nil }
        return configuration[keyPath: field]
    }

    private func described(_ path: String, _ number: Int) -> String {
        given.contains(path) ? "\(number)" : "\(number) by default"
    }

    private func path(_ path: String) -> KeyPathInFile {
        var steps = KeyPathInFile()
        for name in path.split(separator: ".") { steps = steps.appending(String(name)) }
        return steps
    }
}

extension Configuration {
    /// The keys whose new values take effect only at the next start, for a daemon that runs with `self`.
    func keysForNextStart(of new: Configuration) -> [String] {
        ConfigurationKey.all.filter { key in
            guard key.atStart else { return false }
            switch key.value {
            case .number(_, let field): return self[keyPath: field] != new[keyPath: field]
            case .path(_, _, let field): return self[keyPath: field] != new[keyPath: field]
            case .credentialNumber, .credentialText: return false
            }
        }.map(\.path)
    }
}
