import Testing
import TokenModel

@testable import TokenStore

extension SQLiteLedger {
    func expectIndexEqualsTable(sourceLocation: SourceLocation = #_sourceLocation) throws {
        let difference = try differenceOfIndexAndTables()
        #expect(difference == nil, sourceLocation: sourceLocation)
    }

    /// Rows of the chain, all of which follow.
    func countedChainRows() throws -> Int64 {
        let (rows, broken) = try verifyChain()
        #expect(broken == nil)
        return rows
    }
}
