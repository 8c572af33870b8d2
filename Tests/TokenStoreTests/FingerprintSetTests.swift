import Testing

@testable import TokenStore

struct FingerprintSetTests {
    /// The same as Swift's own set, through growth, collisions and removals.
    @Test func itHoldsWhatASetHolds() {
        let seed = UInt64.random(in: 0 ... .max)
        print("itHoldsWhatASetHolds: seed \(seed)")
        var random = SeededGenerator(seed: seed)
        var ours = FingerprintSet()
        var theirs = Set<UInt64>()
        for _ in 0..<20_000 {
            // Few homes, so that runs are long.
            let high = UInt64.random(in: 0..<64, using: &random)
            let fingerprint = high << 32 | UInt64.random(in: 1..<64, using: &random)
            if Bool.random(using: &random) {
                #expect(ours.insert(fingerprint) == theirs.insert(fingerprint).inserted, "\(fingerprint)")
            } else {
                ours.remove(fingerprint)
                theirs.remove(fingerprint)
            }
        }
        #expect(ours.count == theirs.count)
        let all = (UInt64(0)..<64).flatMap { high in (UInt64(0)..<64).map { high << 32 | $0 } }
        #expect(all.filter { ours.contains($0) } == all.filter { theirs.contains($0) })
        #expect(!ours.insert(0) && !ours.contains(0))
    }
}
