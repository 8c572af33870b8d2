import Testing

@testable import TokenStore

struct EndedQueueTests {
    /// The same as an array, over many blocks: grown, used up and grown again.
    @Test func itGivesBackWhatItTookInOrder() {
        let seed = UInt64.random(in: 0 ... .max)
        print("itGivesBackWhatItTookInOrder: seed \(seed)")
        var random = SeededGenerator(seed: seed)
        var ours = EndedQueue()
        var appended: UInt64 = 0
        var removed: UInt64 = 0
        for _ in 0..<6 {
            for _ in 0..<Int.random(in: 1...20_000, using: &random) {
                ours.append(EndedTokens.Ended(fingerprint: appended, seconds: Int64(appended) + 1))
                appended += 1
            }
            // Sometimes all of them.
            let gone = min(Int.random(in: 1...25_000, using: &random), ours.count)
            for _ in 0..<gone {
                #expect(ours.oldest?.fingerprint == removed && ours.oldest?.seconds == Int64(removed) + 1)
                ours.removeOldest()
                removed += 1
            }
            #expect(ours.count == Int(appended - removed))
            var kept: [UInt64] = []
            ours.forEach { kept.append($0.fingerprint) }
            #expect(kept == Array(removed..<appended))
        }
        while ours.count > 0 { ours.removeOldest() }
        #expect(ours.oldest == nil)
    }
}
