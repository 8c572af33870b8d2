import CLinux
import Glibc
import Synchronization
import TokenModel
import TokenRPC

/// What other threads have for an event loop.
enum LoopMessage: Sendable {
    /// A connection that was accepted, charged and is now this loop's.
    case adopt(descriptor: CInt, credentials: PeerCredentials, account: UInt32, id: UInt64)
    /// What the system says of the process that connected.
    case described(connection: UInt64, PeerProcess)
    /// What NSS said of a connection's peer; nil where it could not say.
    case identified(connection: UInt64, Identity?)
    /// The outcomes of mutations, some of them perhaps of this loop's connections, and what watchers are to see.
    case delivered(Delivery)
    /// A blocking read has ended; what it gives is charged for as long as this message is there.
    case finished(connection: UInt64, BlockingOutcome, HeldBytes?)
    /// A watcher that catches up gets its next page.
    case replayed(connection: UInt64, uid: UInt32, ReplayPage)
    /// Other settings from now on.
    case configure(ServerSettings)
    /// Whoever watches over the loop asks whether it still goes round.
    case answer(WatchedLoop)
    /// Say that the loop runs.
    case greet
    /// Accept no more callers.
    case stopListening
    /// End with what was asked.
    case drain(deadline: Int64)
}

/// A loop's letter box: any thread puts in, the loop takes all at once. The eventfd(2) wakes it, once for however many.
final class LoopInbox: Sendable {
    let descriptor: CInt
    private let messages = Mutex<[LoopMessage]>([])

    init() throws(SystemCallFailure) {
        descriptor = eventfd(0, CInt(EFD_CLOEXEC | EFD_NONBLOCK))
        guard descriptor >= 0 else { throw SystemCallFailure("eventfd") }
    }

    func put(_ message: LoopMessage) {
        let wasEmpty = messages.withLock { messages in
            messages.append(message)
            return messages.count == 1
        }
        guard wasEmpty else { return }
        var one: UInt64 = 1
        // It can fail only where the counter is at its end, and then the loop is awake already.
        _ = write(descriptor, &one, 8)
    }

    func takeAll() -> [LoopMessage] {
        var counter: UInt64 = 0
        _ = read(descriptor, &counter, 8)
        return messages.withLock { messages in
            let taken = messages
            messages = []
            return taken
        }
    }
}

/// A system call that the server cannot do without has failed.
public struct SystemCallFailure: Error, CustomStringConvertible, Sendable {
    /// The call, and on what.
    public let operation: String
    /// As errno(3) had it.
    public let code: CInt

    /// Notes errno as it is now.
    public init(_ operation: String) {
        self.operation = operation
        self.code = errno
    }

    /// The call and errno's sentence.
    public var description: String { "\(operation): \(String(cString: strerror(code)))" }
}
