import CLinux
import Glibc
import TokenModel
import TokenRPC

/// What a uid had of the loop's turn, over all its connections.
final class UserTurn {
    var round: UInt64 = 0
    /// That were taken.
    var lines = 0
    /// Those that share it.
    var connections = 0
    /// A page of the audit is on its way for one of them, so that a turn of the loop brings one at most.
    var isReplaying = false
    /// Those whose page comes after that one.
    var waitingForPage: [Connection] = []
}

/// One caller's connection. Owned by one event loop and touched only on its thread.
final class Connection {
    /// Whether the name behind the uid is known. Until then nothing is read.
    enum Naming {
        case looking
        case known(Caller)
        /// NSS could not say; asked again with the next bytes that come.
        case failed
    }

    /// A mutation in the writer's queue, whose answer is due at this place.
    struct DueAnswer {
        let position: UInt64
        /// The request's id as it was sent, or nil for a notification.
        let id: [UInt8]?

        /// What it will take to answer.
        var bytes: Int { id.map { $0.count + Bounds.mutationAnswerBytes } ?? 0 }
    }

    let id: UInt64
    let descriptor: CInt
    let credentials: PeerCredentials
    /// Whom it is charged to, and whose turns it shares: a uid, or that of many.
    var account: UInt32
    var naming = Naming.looking
    /// NSS was asked and has not answered yet, however long ago.
    var isAwaitingName = false
    /// Of the process that connected; its pid alone until it was looked at.
    var process: PeerProcess
    /// Its uid's, shared with the uid's other connections of the loop.
    var turn = UserTurn()

    var input = InputBuffer()
    var scanner = LineScanner()
    /// When it is closed unless the line that was begun ends, or the last answers are read, by then; in
    /// CLOCK_MONOTONIC's milliseconds.
    var deadline: Int64?
    /// The next line cannot be taken before an answer is made or read; nothing more is read meanwhile.
    var isBlocked = false
    /// It is blocked until the caller reads, not until an answer is made: whoever sends goes on with it.
    var waitsForRoom = false
    /// The caller sends no more.
    var inputEnded = false

    /// Answers that are not sent yet; nil while there are none, as it is for most connections most of the time.
    var output: ByteWriter?
    var sentBytes = 0
    /// What waits in `output` holds a token, and is wiped when it was sent.
    var outputHoldsSecret = false
    /// Nobody reads the answers any more; they are thrown away, what was asked is still done.
    var outputBroken = false

    /// Mutations in flight, in their order.
    private var due: [DueAnswer] = []
    private var firstDue = 0
    private var dueBytes = 0
    /// A number of its own: each request asks for it, and a list that is changed in place is checked for exclusive access.
    private(set) var mutationsInFlight = 0
    var nextPosition: UInt64 = 0
    /// A `list`, `status` or `watch` on the worker thread: its request's id, or nil inside for a notification.
    var blockingRead: BlockingRead?
    /// The batch that is being worked on.
    var batch: Batch?
    var watch: Watch?

    /// `introspect` requests of this turn that are not answered yet.
    var waitingLookups = 0

    /// Closed as soon as what it is owed was sent.
    var isClosing = false
    var isClosed = false
    /// Marked while a delivery is worked on, so that its answers leave in one write.
    var isTouched = false
    /// Among those whose stored lines wait for a turn of their uid.
    var isPostponed = false
    var interest: UInt32 = 0
    var isRegistered = false
    var peerHungUp = false

    struct BlockingRead {
        let id: [UInt8]?
    }

    init(id: UInt64, descriptor: CInt, credentials: PeerCredentials, account: UInt32) {
        self.id = id
        self.descriptor = descriptor
        self.credentials = credentials
        self.account = account
        process = PeerProcess(pid: credentials.pid)
    }

    var caller: Caller? {
        if case .known(let caller) = naming { caller } else { nil }
    }

    /// No answer can reach the caller any more.
    var isDeaf: Bool { peerHungUp || outputBroken }

    /// Nothing that was taken waits for its answer to be made, so that the next may be written.
    var isIdle: Bool { mutationsInFlight == 0 && blockingRead == nil }

    var backlogBytes: Int { (output?.count ?? 0) - sentBytes }

    /// What the caller has not read yet, with the answers that its mutations in flight will have: an id may be as long as
    /// a line, so their number alone bounds nothing.
    var owedBytes: Int { backlogBytes + dueBytes }

    /// What is held for this caller beyond what every connection may; charged to its uid.
    var held: HeldBytes?

    func addDue(_ answer: DueAnswer) {
        due.append(answer)
        mutationsInFlight += 1
        dueBytes += answer.bytes
    }

    /// Takes the first due answer off.
    func takeDue(_ position: UInt64) -> DueAnswer {
        let first = due[firstDue]
        precondition(first.position == position, "answers come in the order of the requests")
        firstDue += 1
        mutationsInFlight -= 1
        dueBytes -= first.bytes
        if firstDue == due.count {
            due.removeAll(keepingCapacity: true)
            firstDue = 0
        }
        return first
    }
}
