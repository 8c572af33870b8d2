import Testing

@testable import scaem_tokend

@Suite("How far the journal has come is known by reading it back")
struct JournalProgressTests {
    private func progress(sending numbers: ClosedRange<Int64>, found: Set<Int64> = []) -> JournalProgress {
        var progress = JournalProgress(sent: 0, confirmed: 0, found: found, now: 0)
        for number in numbers { progress.didSend(number) }
        return progress
    }

    @Test func sentIsNotConfirmed() {
        var progress = progress(sending: 1...5)
        progress.advance(now: 10)
        #expect(progress.sent == 5 && progress.confirmed == 0 && progress.hasPending)
    }

    @Test func confirmedIsAllThatWasReadBackWithoutAHole() {
        var progress = progress(sending: 1...5)
        for number: Int64 in [1, 2, 4, 5] { progress.didRead(number) }
        progress.advance(now: 10)
        #expect(progress.confirmed == 2)
        progress.didRead(3)
        progress.advance(now: 20)
        #expect(progress.confirmed == 5 && !progress.hasPending)
    }

    @Test func aNumberThatNoChangeHasIsNoHole() {
        var progress = progress(sending: 1...2)
        progress.didSend(1_000_003)
        for number: Int64 in [1, 2, 1_000_003] { progress.didRead(number) }
        progress.advance(now: 10)
        #expect(progress.confirmed == 1_000_003)
    }

    @Test func whatDoesNotArriveIsSentAgainEverMoreSeldom() {
        var progress = progress(sending: 1...5)
        for number: Int64 in [1, 2, 4] { progress.didRead(number) }
        progress.advance(now: 10)
        var wait = JournalProgress.resendMilliseconds
        var now: Int64 = 10
        for _ in 0..<3 {
            let tooEarly = progress.shouldResend(now: now + wait - 1)
            #expect(!tooEarly)
            now += wait
            let resends = progress.shouldResend(now: now)
            #expect(resends && progress.sent == 2)
            #expect(progress.isFound(4) && !progress.isFound(3), "what is there is not sent again")
            for number: Int64 in 3...5 { progress.didSend(number) }
            progress.advance(now: now)
            wait *= 2
        }
    }

    @Test func syncedLagsBehindConfirmed() {
        var progress = progress(sending: 1...5)
        for number: Int64 in 1...5 { progress.didRead(number) }
        progress.advance(now: 1_000)
        #expect(progress.confirmed == 5 && progress.synced == 0)
        progress.advance(now: 1_000 + JournalProgress.syncedAfterMilliseconds - 1)
        #expect(progress.synced == 0)
        progress.advance(now: 1_000 + JournalProgress.syncedAfterMilliseconds)
        #expect(progress.synced == 5)
    }

    @Test func aStartGoesOnWhereTheJournalEnds() {
        var progress = progress(sending: 1...5, found: [1, 2, 3])
        progress.advance(now: 10)
        #expect(progress.confirmed == 3)
    }
}
