import Glibc
import Logging
import Synchronization
import Systemd
import Testing

@testable import scaem_tokend

@Suite struct JournalLogTests {
    private func record(_ message: Logger.Message, _ metadata: Logger.Metadata) -> [String] {
        JournalLog.record(
            LogEvent(
                level: .warning, message: message, metadata: metadata, source: nil, file: "M/F.swift",
                function: "f()", line: 7)
        ).map { String(decoding: $0, as: UTF8.self) }
    }

    @Test func aRecordHasItsFields() {
        let fields = record("a constant", ["some key": "v", "reason": "why", MessageID.key: "abc"])
        #expect(
            fields == [
                "MESSAGE=a constant: why", "PRIORITY=4", "SYSLOG_IDENTIFIER=scaem-tokend", "CODE_FILE=M/F.swift",
                "CODE_LINE=7", "CODE_FUNC=f()", "MESSAGE_ID=abc", "SCAEM_REASON=why", "SCAEM_SOME_KEY=v",
            ])
    }

    @Test func aValueCannotForgeAField() {
        let fields = record("m", ["name": "x\nMESSAGE=forged", "a=b\nc": "1", "_UID": "0"])
        #expect(fields.filter { $0.hasPrefix("MESSAGE=") } == ["MESSAGE=m"])
        #expect(fields.contains("SCAEM_NAME=x\nMESSAGE=forged"))
        #expect(fields.contains("SCAEM_A_B_C=1"))
        #expect(fields.contains("SCAEM__UID=0"))
    }

    @Test func aLongValueIsCut() {
        let fields = record("m", ["long": "\(String(repeating: "x", count: 100_000))"])
        #expect(fields.allSatisfy { $0.utf8.count < 5_000 })
    }

    @Test func everyIDIsOneOfItsOwn() {
        let ids = MessageID.allCases.map(\.rawValue)
        #expect(Set(ids).count == ids.count)
        #expect(ids.allSatisfy { $0.count == 32 && $0.allSatisfy(\.isHexDigit) })
    }

    /// A journald that takes nothing until it is let go, then everything.
    private final class Frozen: Sendable {
        let gate = PipeGate()
        let taken = Mutex<[[String]]>([])

        func send(_ fields: [[UInt8]]) -> CInt {
            gate.pass()
            taken.withLock { $0.append(fields.map { String(decoding: $0, as: UTF8.self) }) }
            return 0
        }
    }

    /// A pipe: open for everybody once something was written.
    private final class PipeGate: Sendable {
        private let ends: [CInt]

        init() {
            var ends: [CInt] = [0, 0]
            pipe(&ends)
            self.ends = ends
        }

        func pass() {
            var waiting = pollfd(fd: ends[0], events: Int16(POLLIN), revents: 0)
            poll(&waiting, 1, -1)
        }

        func open() { _ = write(ends[1], "x", 1) }
    }

    @Test func aJournalThatStandsStillBlocksNobodyAndDropsAreCounted() {
        let frozen = Frozen()
        let writer = JournalWriter(send: { frozen.send($0) })
        let submitted = 3 * JournalWriter.capacity
        for number in 0..<submitted { writer.submit([Array("N=\(number)".utf8)]) }
        #expect(!writer.flush(milliseconds: 50), "it says that not all is out, and does not wait")
        frozen.gate.open()
        #expect(writer.flush(milliseconds: 10_000))
        // The count comes with the record after the gap.
        writer.submit([Array("N=last".utf8)])
        #expect(writer.flush(milliseconds: 10_000))
        let taken = frozen.taken.withLock { $0 }
        let dropped = taken.flatMap { $0 }.compactMap { field in
            field.hasPrefix("SCAEM_DROPPED=") ? Int(field.dropFirst("SCAEM_DROPPED=".count)) : nil
        }
        let numbers = taken.flatMap { $0 }.filter { $0.hasPrefix("N=") }
        #expect(dropped.reduce(0, +) + numbers.count == submitted + 1)
        #expect(numbers.count >= JournalWriter.capacity && numbers.count <= 2 * JournalWriter.capacity + 1)
        #expect(taken.contains { $0.contains("MESSAGE_ID=\(MessageID.recordsDropped.rawValue)") })
        #expect(numbers == numbers.filter { $0 != "N=last" } + ["N=last"], "in order")
    }

    @Test func whatJournaldRefusesIsCountedUntilItTakesAgain() {
        let isAway = Atomic<Bool>(true)
        let fields = Mutex<[String]>([])
        let writer = JournalWriter(send: { record in
            if isAway.load(ordering: .acquiring) { return -2 }
            fields.withLock { $0 += record.map { String(decoding: $0, as: UTF8.self) } }
            return 0
        })
        for _ in 0..<5 { writer.submit([Array("N=lost".utf8)]) }
        #expect(writer.flush(milliseconds: 10_000))
        isAway.store(false, ordering: .releasing)
        writer.submit([Array("N=here".utf8)])
        #expect(writer.flush(milliseconds: 10_000))
        let all = fields.withLock { $0 }
        #expect(all.contains("N=here") && !all.contains("N=lost"))
        #expect(all.contains("SCAEM_DROPPED=5"))
    }
}
