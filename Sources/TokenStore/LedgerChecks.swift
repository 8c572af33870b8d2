internal import TokenModel

extension SQLiteLedger {
    /// Whether the index in memory says exactly what the tables say, `last_used_at` left aside. For tests: reads
    /// everything, and is only sure of itself while no mutation is under way.
    /// - Returns: the first difference in words, or nil.
    package func differenceOfIndexAndTables() throws -> String? {
        let rows = try LedgerReader.list(
            ListQuery(scope: .all, project: nil, expiresBefore: nil, limit: .max, after: nil),
            walking: .max, pool: pool
        ).rows
        return withIndex { index in
            var owned: [String: Int] = [:]
            for row in rows {
                let application = index.application(row.application)
                guard application != 0 else { return "\(row.application) is not in the index" }
                let slot = index.token(application: application, project: row.project)
                guard slot != 0 else { return "\(row.application) \(row.project) is not in the index" }
                let held = index.stored(slot).held
                guard held.digest == row.held.digest, held.issuedAt == row.held.issuedAt,
                    held.expiresAt == row.held.expiresAt,
                    held.previous.map(\.digest) == row.held.previous.map(\.digest),
                    held.previous.map(\.expiresAt) == row.held.previous.map(\.expiresAt),
                    index.find(held.digest).slot == slot,
                    index.stored(application: application).registrationID == row.registrationID
                else { return "\(row.application) \(row.project) differs" }
                for previous in held.previous {
                    let entry = index.find(previous.digest)
                    guard entry.isPrevious, index.previous[entry.slot].pointee.token == slot else {
                        return "a previous token of \(row.application) \(row.project) is not found"
                    }
                }
                owned[row.application.owner, default: 0] += 1
            }
            for (owner, count) in owned where index.ownedTokens(owner) != count { return "\(owner) owns another count" }
            return index.strayCount(tokens: rows.count, previous: rows.reduce(0) { $0 + $1.held.previous.count })
        }
    }

    /// Whether each audit row that is kept follows from the one before it, by its number and its chain value.
    /// - Returns: how many rows were looked at, and the sequence number of the first that does not follow, or nil.
    public func verifyChain() throws -> (rows: Int64, broken: Int64?) {
        var verifier = ChainVerifier(isOneAudit: true)
        let file = try DatabaseFile(path: databasePath)
        // Marks and rows as of one moment: a cut between the two reads would look like a break.
        try file.reading { try file.forEachAuditEntry { verifier.follow($0) } }
        return (verifier.rows, verifier.problems.first?.sequence)
    }
}

extension TokenIndex {
    /// What the index holds beyond the given numbers, in words, or nil.
    func strayCount(tokens: Int, previous: Int) -> String? {
        if self.tokens.count != tokens { return "\(self.tokens.count) tokens for \(tokens) rows" }
        if self.previous.count != previous { return "\(self.previous.count) previous tokens for \(previous)" }
        if digestCount != tokens + previous { return "\(digestCount) digests for \(tokens + previous)" }
        if pairCount != tokens { return "\(pairCount) pairs for \(tokens)" }
        return nil
    }
}
