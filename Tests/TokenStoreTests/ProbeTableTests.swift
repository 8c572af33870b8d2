import Testing

@testable import TokenStore

struct ProbeTableTests {
    /// The same as Swift's own set, through growth, runs that wrap round, and removals.
    @Test func itHoldsWhatASetHolds() {
        let seed = UInt64.random(in: 0 ... .max)
        print("ProbeTableTests.itHoldsWhatASetHolds: seed \(seed)")
        var random = SeededGenerator(seed: seed)
        // Few shards and few homes in them, the last one too, so that runs are long.
        let hashes = (0..<1_000).map { _ in
            UInt64.random(in: 0..<4, using: &random) << 62 | (Bool.random(using: &random) ? 0xFF << 46 : 0)
                | UInt64.random(in: 0..<64, using: &random)
        }
        let hashOf = { (entry: UInt32) in hashes[Int(entry) - 1] }
        let ours = ProbeTable()
        var theirs = Set<UInt32>()
        for _ in 0..<20_000 {
            let entry = UInt32.random(in: 1...1_000, using: &random)
            let isThere = theirs.contains(entry)
            #expect(ours.find(hashOf(entry)) { $0 == entry } == (isThere ? entry : 0))
            if isThere {
                ours.remove(entry, hash: hashOf(entry), hashOf: hashOf)
                theirs.remove(entry)
            } else {
                ours.insert(entry, hash: hashOf(entry), hashOf: hashOf)
                theirs.insert(entry)
            }
        }
        #expect(ours.count == theirs.count)
        for entry in UInt32(1)...1_000 {
            #expect(ours.find(hashOf(entry)) { $0 == entry } == (theirs.contains(entry) ? entry : 0))
        }
    }

    /// Who inserts has the index's lock: nobody may wait while all that is there moves.
    @Test func growthMovesLittleAtOnce() {
        var random = SeededGenerator(seed: 1)
        let hashes = (0..<200_000).map { _ in UInt64.random(in: 0 ... .max, using: &random) }
        let table = ProbeTable()
        var mostMoved = 0
        var moved = 0
        for (place, hash) in hashes.enumerated() {
            moved = 0
            table.insert(UInt32(place + 1), hash: hash) { entry in
                moved += 1
                return hashes[Int(entry) - 1]
            }
            if place > 10_000 { mostMoved = max(mostMoved, moved * 100 / place) }
        }
        #expect(table.count == hashes.count)
        #expect(mostMoved < 1, "\(mostMoved) percent of the entries moved at once")
    }

    /// A start knows how many there will be.
    @Test func whatRoomWasMadeForMovesNothing() {
        var random = SeededGenerator(seed: 1)
        let table = ProbeTable()
        table.reserve(200_000)
        for entry in UInt32(1)...200_000 {
            table.insert(entry, hash: .random(in: 0 ... .max, using: &random)) { _ in
                Issue.record("\(entry) moved what was there")
                return 0
            }
        }
        #expect(table.count == 200_000)
    }
}
