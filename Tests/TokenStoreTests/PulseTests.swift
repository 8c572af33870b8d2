import Glibc
import Testing
import TokenModel

@testable import TokenStore

@Suite struct PulseTests {
    @Test func anIdleWriterAnswers() throws {
        let test = try TestLedger()
        #expect(test.ledger.writerState() == WriterState(hasAnswered: true, inDiskMilliseconds: nil))
        for _ in 0..<100 {
            test.ledger.askWriter()
            // It is woken: long before its own next look at things, which is tens of seconds away.
            #expect(test.answersSoon())
        }
    }

    @Test func itsTimeInTheDiskIsTold() throws {
        let clock = ManualClock()
        let pulse = WriterPulse()
        pulse.inDisk(clock) {
            clock.advance(seconds: 3)
            #expect(pulse.state(clock).inDiskMilliseconds == 3_000)
            pulse.ask()
            #expect(!pulse.state(clock).hasAnswered)
            // What ends first does not hide the other.
            pulse.inSync(clock) { #expect(pulse.state(clock).inDiskMilliseconds == 3_000) }
            #expect(pulse.state(clock).inDiskMilliseconds == 3_000)
        }
        pulse.inSync(clock) {
            pulse.inDisk(clock) {}
            clock.advance(seconds: 2)
            #expect(pulse.state(clock).inDiskMilliseconds == 2_000)
        }
        #expect(pulse.state(clock).inDiskMilliseconds == nil)
        #expect(pulse.isAsked)
        pulse.answer()
        #expect(pulse.state(clock).hasAnswered && !pulse.isAsked)
    }
}

extension TestLedger {
    /// The answer has no event of its own: looked for, within bounds.
    fileprivate func answersSoon() -> Bool {
        for _ in 0..<5_000 {
            if ledger.writerState().hasAnswered { return true }
            usleep(1_000)
        }
        return false
    }
}
