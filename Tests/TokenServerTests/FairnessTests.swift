import Synchronization
import Testing

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
