import Synchronization

/// An event loop as whoever watches over it sees it: a question goes through its inbox and is answered between two of its
/// events.
public final class WatchedLoop: Sendable {
    /// As its thread is called.
    public let name: String
    private let inbox: LoopInbox
    private let isOpen = Atomic<Bool>(false)

    init(name: String, inbox: LoopInbox) {
        self.name = name
        self.inbox = inbox
    }

    /// Asks, unless an earlier question is still open: a loop that stands still collects no letters.
    public func ask() {
        guard isOpen.compareExchange(expected: false, desired: true, ordering: .acquiringAndReleasing).exchanged else {
            return
        }
        inbox.put(.answer(self))
    }

    /// Whether no question is open.
    public var hasAnswered: Bool { !isOpen.load(ordering: .acquiring) }

    /// Called by the loop.
    func answer() { isOpen.store(false, ordering: .releasing) }
}
