import Testing
import TokenModel

@testable import scaem_tokend

@Suite struct WatchdogTests {
    private static let idle = WriterState(hasAnswered: true, inDiskMilliseconds: nil)
    private static func inDisk(_ milliseconds: Int64) -> WriterState {
        WriterState(hasAnswered: false, inDiskMilliseconds: milliseconds)
    }

    @Test func itIsFedWhileAllAnswer() {
        var rule = WatchdogRule()
        for _ in 0..<3 {
            #expect(rule.look(loops: [("a", true), ("b", true)], writer: Self.idle) == .init())
        }
    }

    @Test(arguments: [0, 1]) func oneLoopThatDoesNotAnswerIsEnough(stuck: Int) {
        var rule = WatchdogRule()
        let loops = [("a", stuck != 0), ("b", stuck != 1)]
        #expect(rule.look(loops: loops, writer: Self.idle) == .init(mayFeed: false))
        let name = loops[stuck].0
        #expect(rule.look(loops: loops, writer: Self.idle) == .init(mayFeed: false, newlyStuck: [name]))
        #expect(rule.look(loops: loops, writer: Self.idle) == .init(mayFeed: false), "it is named once")
        #expect(rule.look(loops: [("a", true), ("b", true)], writer: Self.idle) == .init())
    }

    @Test func aWriterOutsideTheDiskHasToAnswer() {
        var rule = WatchdogRule()
        let stuck = WriterState(hasAnswered: false, inDiskMilliseconds: nil)
        #expect(rule.look(loops: [("a", true)], writer: stuck) == .init(mayFeed: false))
        #expect(rule.look(loops: [("a", true)], writer: stuck) == .init(mayFeed: false, newlyStuck: ["writer"]))
    }

    @Test func aWriterInTheDiskIsSlowUpToTheBound() {
        var rule = WatchdogRule()
        #expect(rule.look(loops: [], writer: Self.inDisk(1)) == .init(), "nothing to speak of")
        #expect(
            rule.look(loops: [], writer: Self.inDisk(1_000)) == .init(isNewlySlow: true, diskMilliseconds: 1_000))
        #expect(rule.look(loops: [], writer: Self.inDisk(299_999)) == .init(diskMilliseconds: 299_999))
        #expect(
            rule.look(loops: [], writer: Self.inDisk(300_000)) == .init(mayFeed: false, diskMilliseconds: 300_000))
        #expect(!rule.look(loops: [], writer: Self.inDisk(.max)).mayFeed)
        #expect(rule.look(loops: [], writer: Self.idle) == .init())
    }

    @Test func aSlowDiskDoesNotHideAStuckLoop() {
        var rule = WatchdogRule()
        #expect(!rule.look(loops: [("a", false)], writer: Self.inDisk(2_000)).mayFeed)
    }

    @Test func theStatusSaysWhatIsWrongFirst() {
        let text = { (storage: String?, disk: Int64?, reload: String?) in
            StatusLine.text(
                connections: 3, applications: 2, tokens: 5, storageProblem: storage, diskMilliseconds: disk,
                reloadProblem: reload)
        }
        let counts = "Serving 3 connections; 5 tokens of 2 applications."
        #expect(text(nil, nil, nil) == counts)
        #expect(text("It is full.", nil, nil) == "No change is taken: It is full. \(counts)")
        #expect(text("It is full.", 2_500, nil).hasPrefix("Changes wait for the disk since 2 s, "))
        #expect(text(nil, nil, "c.toml:1: no").hasPrefix("The configuration stays as it was (c.toml:1: no). "))
    }
}
