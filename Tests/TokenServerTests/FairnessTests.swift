import Synchronization
import Testing
import TokenModel

@testable import TokenServer

struct FairnessTests {
    @Test func uidsTakeTurnsAndTheOldestOfOneComesFirst() {
        var queue = FairQueue<String>()
        for number in 1...4 { queue.append("a\(number)", of: 1) }
        queue.append("b1", of: 2)
        #expect(queue.take() == "a1")
        queue.append("c1", of: 3)
        queue.append("b2", of: 2)
        var order: [String] = []
        while let next = queue.take() { order.append(next) }
        #expect(order == ["b1", "a2", "c1", "b2", "a3", "a4"])
        queue.append("a5", of: 1)
        #expect(queue.take() == "a5")
        #expect(queue.take() == nil)
    }

    @Test func whatIsGivenBackIsNextOfItsUidAndOthersHaveTheirTurn() {
        var queue = FairQueue<String>()
        for number in 1...5 { queue.append("a\(number)", of: 1) }
        queue.append("b1", of: 2)
        let taken = queue.take(4, each: 16)
        #expect(taken == ["a1", "b1", "a2", "a3"])
        for element in taken.dropFirst().reversed() { queue.giveBack(element, of: element.hasPrefix("a") ? 1 : 2) }
        queue.append("c1", of: 3)
        #expect(queue.count == 6)
        #expect(queue.take(10, each: 16) == ["b1", "a2", "c1", "a3", "a4", "a5"])
        #expect(queue.take() == nil)
    }

    @Test func aBatchHoldsSoManyOfEachAndNoMore() {
        var queue = FairQueue<Int>()
        for number in 0..<1_000 { queue.append(number, of: 1) }
        for number in 1_000..<1_003 { queue.append(number, of: 2) }
        #expect(queue.take(100, each: 4) == [0, 1_000, 1, 1_001, 2, 1_002, 3])
        #expect(queue.take(3, each: 16) == [4, 5, 6])
        #expect(queue.count == 993 && queue.uids == 1 && queue.count(of: 1) == 993 && queue.count(of: 2) == 0)
        queue.append(1_003, of: 2)
        var rest: [Int] = []
        while queue.count > 0 { rest += queue.take(512, each: 64) }
        #expect(rest.filter { $0 < 1_000 } == Array(7..<1_000), "each once, in its order")
        #expect(rest.firstIndex(of: 1_003) == 1)
    }

    /// A thousand connections of one user that read do not put a thousand reads before another's.
    @Test func aWorkerDoesAnothersJobAfterTheOneItIsAt() {
        let worker = SerialWorker(name: "fairness")
        let order = Mutex<[UInt32]>([])
        let (started, done) = (Counter(), Counter())
        let gate = Mutex<Void>(())
        gate.withLock { _ in
            worker.submit(for: 1) {
                started.increment()
                gate.withLock { _ in }
            }
            started.wait(for: 1)
            for uid in Array(repeating: UInt32(1), count: 1_000) + [2] {
                worker.submit(for: uid) {
                    order.withLock { $0.append(uid) }
                    done.increment()
                }
            }
        }
        done.wait(for: 1_001)
        #expect(order.withLock { $0.firstIndex(of: 2) } == 1)
    }
}
