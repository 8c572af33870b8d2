import Testing

@testable import TokenStore

@Suite struct UsedMarksTests {
    @Test(arguments: [1, 7, 64, 100])
    func highSlotsGetTheirTurnWhileLowOnesAreMarkedAgain(_ limit: Int) {
        let marks = UsedMarks()
        for slot in UInt32(1)...300 { marks.mark(slot) }
        var seen: Set<UInt32> = []
        var calls = 0
        var isComplete = false
        while !isComplete && calls <= 300 {
            let taken = marks.take(limit)
            seen.formUnion(taken.slots)
            isComplete = taken.isComplete
            calls += 1
            for slot in UInt32(1)...128 { marks.mark(slot) }
        }
        #expect(isComplete, "the round never ends")
        #expect(seen == Set(1...300))
        let second = marks.take(1_000)
        #expect(second.slots == Array(1...128) && second.isComplete, "the next round begins at the first slot")
        #expect(marks.count == 0)
    }

    @Test func aRoundThatFailedBeginsAnew() {
        let marks = UsedMarks()
        for slot in UInt32(1)...10 { marks.mark(slot) }
        let failed = marks.take(4)
        #expect(failed.slots == [1, 2, 3, 4] && !failed.isComplete)
        failed.slots.forEach { marks.mark($0) }
        marks.startOver()
        #expect(marks.take(100).slots == Array(1...10))
    }
}
