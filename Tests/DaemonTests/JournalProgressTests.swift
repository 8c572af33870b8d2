import Testing
import TokenModel

@testable import scaem_tokend

@Suite("How far the journal has come is known by reading it back")
struct JournalProgressTests {
    private typealias Mark = JournalProgress.Mark

    private static func mark(_ number: Int64, chain: UInt64? = nil) -> Mark {
        Mark(sequence: number, chain: chain ?? UInt64(number))
    }

    private func progress(sending numbers: ClosedRange<Int64>) -> JournalProgress {
        var progress = JournalProgress(sent: 0, confirmed: 0, now: 0)
        for number in numbers { progress.didSend(Self.mark(number)) }
        return progress
    }

    @Test func sentIsNotConfirmed() {
        var progress = progress(sending: 1...5)
        progress.advance(now: 10, isKept: true)
        #expect(progress.sent == 5 && progress.confirmed == 0 && progress.hasPending)
    }

    @Test func confirmedIsAllThatWasReadBackWithoutAHole() {
        var progress = progress(sending: 1...5)
        for number: Int64 in [1, 2, 4, 5] { progress.didRead(Self.mark(number)) }
        progress.advance(now: 10, isKept: true)
        #expect(progress.confirmed == 2)
        progress.didRead(Self.mark(3))
        progress.advance(now: 20, isKept: true)
        #expect(progress.confirmed == 5 && !progress.hasPending)
    }

    @Test func numbersThatTwoRecordsHaveAreFound() {
        let marks = [
            Self.mark(3), Self.mark(5), Self.mark(4, chain: 9), Self.mark(4), Self.mark(3), Self.mark(6, chain: 1),
            Self.mark(4), Self.mark(6),
        ]
        #expect(Set(JournalProgress.differing(marks)) == [4, 6])
        #expect(JournalProgress.differing(Array(marks[0...1])).isEmpty)
    }

    @Test func anotherRecordOfTheSameNumberConfirmsNothing() {
        var progress = progress(sending: 1...3)
        for number: Int64 in 1...3 { progress.didRead(Self.mark(number, chain: number == 2 ? 99 : nil)) }
        progress.advance(now: 10, isKept: true)
        #expect(progress.confirmed == 1 && !progress.isFound(Self.mark(2)))
        progress.didRead(Self.mark(2))
        progress.advance(now: 20, isKept: true)
        #expect(progress.confirmed == 3)
    }

    @Test func numbersThatNoChangeHasAreNoHole() {
        var progress = progress(sending: 1...2)
        progress.didSkip(to: 1_000_002)
        progress.didSend(Self.mark(1_000_003))
        for number: Int64 in [1, 2, 1_000_003] { progress.didRead(Self.mark(number)) }
        progress.advance(now: 10, isKept: true)
        #expect(progress.confirmed == 1_000_003)
        progress.didSkip(to: 2_000_000)
        progress.advance(now: 20, isKept: true)
        #expect(progress.confirmed == 2_000_000 && !progress.hasPending, "nor where no change follows")
    }

    @Test func whatDoesNotArriveIsSentAgainEverMoreSeldom() {
        var progress = progress(sending: 1...5)
        for number: Int64 in [1, 2, 4] { progress.didRead(Self.mark(number)) }
        progress.advance(now: 10, isKept: true)
        var wait = JournalProgress.resendMilliseconds
        var now: Int64 = 10
        for _ in 0..<3 {
            let tooEarly = progress.shouldResend(now: now + wait - 1)
            #expect(!tooEarly)
            now += wait
            let resends = progress.shouldResend(now: now)
            #expect(resends && progress.sent == 2)
            #expect(
                progress.isFound(Self.mark(4)) && !progress.isFound(Self.mark(3)), "what is there is not sent again")
            for number: Int64 in 3...5 { progress.didSend(Self.mark(number)) }
            progress.advance(now: now, isKept: true)
            wait *= 2
        }
    }

    @Test func syncedLagsBehindConfirmed() {
        var progress = progress(sending: 1...5)
        for number: Int64 in 1...5 { progress.didRead(Self.mark(number)) }
        progress.advance(now: 1_000, isKept: true)
        #expect(progress.confirmed == 5 && progress.synced == 0)
        progress.advance(now: 1_000 + JournalProgress.syncedAfterMilliseconds - 1, isKept: true)
        #expect(progress.synced == 0)
        progress.advance(now: 1_000 + JournalProgress.syncedAfterMilliseconds, isKept: true)
        #expect(progress.synced == 5)
    }

    @Test func nothingIsSyncedInMemory() {
        var progress = progress(sending: 1...5)
        for number: Int64 in 1...5 { progress.didRead(Self.mark(number)) }
        progress.advance(now: 1_000, isKept: true)
        // Only then it is seen that the journal is one in memory.
        for minute: Int64 in 1...30 { progress.advance(now: 1_000 + minute * 60_000, isKept: false) }
        #expect(progress.confirmed == 5 && progress.synced == 0)
        progress.advance(now: 3_600_000, isKept: true)
        progress.advance(now: 3_600_000 + JournalProgress.syncedAfterMilliseconds, isKept: true)
        #expect(progress.synced == 5, "it is kept since an hour and ten minutes")
    }

    @Test func aStartSendsWhatIsNotFound() {
        var progress = JournalProgress(sent: 5, confirmed: 1, now: 0)
        for number: Int64 in [2, 3, 5] { progress.didRead(Self.mark(number)) }
        progress.startOver()
        #expect(progress.sent == 1)
        #expect((2...5).filter { !progress.isFound(Self.mark($0)) } == [4])
        for number: Int64 in 2...5 { progress.didSend(Self.mark(number)) }
        progress.advance(now: 10, isKept: true)
        #expect(progress.confirmed == 3)
    }

    // MARK: The lag

    @Test func aStormIsWarnedOfAsItGrows() {
        var rule = JournalLagRule()
        let many = JournalLagRule.recordsMax
        #expect(rule.look(last: 10, confirmed: 10, now: 0) == nil)
        #expect(rule.look(last: many, confirmed: 10, now: 10_000) == nil)
        #expect(rule.look(last: 2 * many, confirmed: 20, now: 20_000) == .warn(2 * many - 20))
        #expect(rule.look(last: 3 * many, confirmed: 30, now: 30_000) == nil, "not again before it has doubled")
        #expect(rule.look(last: 5 * many, confirmed: 40, now: 40_000) == .warn(5 * many - 40))
        #expect(rule.look(last: 5 * many, confirmed: 5 * many, now: 50_000) == .caughtUp)
        #expect(rule.look(last: 5 * many, confirmed: 5 * many, now: 60_000) == nil)
    }

    @Test func aJournalThatStandsStillIsWarnedOfForOneRecord() {
        var rule = JournalLagRule()
        #expect(rule.look(last: 5, confirmed: 4, now: 0) == nil)
        #expect(rule.look(last: 5, confirmed: 4, now: JournalLagRule.stillMilliseconds - 1) == nil)
        #expect(rule.look(last: 6, confirmed: 4, now: JournalLagRule.stillMilliseconds) == .warn(2))
        #expect(rule.look(last: 6, confirmed: 4, now: 2 * JournalLagRule.stillMilliseconds) == nil)
        #expect(rule.look(last: 6, confirmed: 6, now: 3 * JournalLagRule.stillMilliseconds) == .caughtUp)
        #expect(rule.look(last: 7, confirmed: 6, now: 3 * JournalLagRule.stillMilliseconds + 1) == nil)
    }

    @Test func theStatusSaysWhatIsWrongWithTheJournal() {
        var journal = JournalStatus(state: .ok, sent: 9, confirmed: 9, synced: 0)
        #expect(StatusLine.text(journal, behind: 9) == nil)
        #expect(StatusLine.text(journal, behind: 12) == "The journal is 3 changes behind.")
        journal.state = .volatile
        #expect(StatusLine.text(journal, behind: 9)?.contains("in memory only") == true)
        journal.state = .absent
        #expect(StatusLine.text(journal, behind: 10)?.contains("no journald") == true)
        journal.state = .unreadable
        journal.confirmed = 0
        #expect(StatusLine.text(journal, behind: 9) == "The journal cannot be read back.")
        journal.lacking = 10...12
        #expect(StatusLine.text(journal, behind: 9)?.contains("it lacks changes 10 to 12") == true)
    }
}
