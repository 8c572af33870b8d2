import Testing
import TokenModel

@Suite struct InstantTests {
    @Test(arguments: [
        ("1970-01-01T00:00:00.000Z", Int64(0)), ("2025-05-24T18:18:22.265Z", 1_748_110_702_265),
        ("2000-02-29T23:59:59.999Z", 951_868_799_999), ("2024-12-31T00:00:00.001Z", 1_735_603_200_001),
        ("2100-03-01T00:00:00.000Z", 4_107_542_400_000), ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
    ])
    func isWrittenAndReadTheSameWay(_ text: String, _ milliseconds: Int64) {
        #expect(Instant(milliseconds: milliseconds).description == text)
        #expect(Instant(text: text.utf8)?.milliseconds == milliseconds)
    }

    @Test(arguments: [
        "", "2025-05-24T18:18:22.265", "2025-05-24T18:18:22Z", "2025-05-24 18:18:22.265Z", "2025-05-24T18:18:22.265z",
        "2025-02-29T00:00:00.000Z", "2100-02-29T00:00:00.000Z", "2025-00-10T00:00:00.000Z", "2025-13-10T00:00:00.000Z",
        "2025-04-31T00:00:00.000Z", "2025-04-00T00:00:00.000Z", "2025-04-01T24:00:00.000Z", "2025-04-01T00:60:00.000Z",
        "2016-12-31T23:59:60.000Z", "1969-12-31T23:59:59.999Z", "2025-05-24T18:18:22,265Z", "+025-05-24T18:18:22.265Z",
        "2025-05-24T18:18:22.265Z ", "２025-05-24T18:18:22.265Z",
    ])
    func readsNothingElse(_ text: String) {
        #expect(Instant(text: text.utf8) == nil)
    }

    @Test func everyDayOfFourHundredYearsComesBack() {
        for day in Int64(0)..<146_097 {
            let instant = Instant(milliseconds: day * 86_400_000 + 1)
            #expect(Instant(text: instant.description.utf8) == instant)
        }
    }

    @Test func isClampedWhereItCannotBeWritten() {
        #expect(Instant(milliseconds: -1).description == "1970-01-01T00:00:00.000Z")
        #expect(Instant(milliseconds: .max).description == "9999-12-31T23:59:59.999Z")
    }

    @Test func secondsAreRoundedDown() {
        #expect(
            [-1_001, -1_000, -1, 0, 999, 1_000].map { Instant(milliseconds: $0).seconds } == [-2, -1, -1, 0, 0, 1])
        #expect(Instant(milliseconds: 5).adding(seconds: 60).milliseconds == 60_005)
    }
}
