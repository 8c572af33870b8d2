import TokenModel
import TokenRPC

/// How a method is worked on. Its handler reads the params first, then sees whether the caller may.
enum Work: Sendable {
    /// Answered from the index, several at once where they come together; gives the digest that is looked up.
    case lookup(@Sendable (inout ParamsReader) throws -> TokenDigest)
    /// Answered at once, from memory.
    case immediate(@Sendable (MethodContext, inout ParamsReader, ByteWriter) throws -> Void)
    /// Decided and written by the writer thread.
    case mutation(@Sendable (MethodContext, inout ParamsReader) throws -> Command)
    /// Done on the thread for what blocks; `room` is how many bytes its result may have.
    case blocking(@Sendable (MethodContext, inout ParamsReader, _ room: Int) throws -> BlockingWork)

    /// Whether it is to be done for a caller, too, who has hung up.
    var changesSomething: Bool {
        if case .mutation = self { true } else { false }
    }
}

/// A piece of work for the thread that may block.
typealias BlockingWork = @Sendable () -> BlockingOutcome

/// What a blocking read ended in.
enum BlockingOutcome: Sendable {
    /// The result's JSON.
    case result([UInt8])
    case failure(MethodFailure)
    /// A watch begins after this sequence number; nil for "from now on".
    case watch(since: Int64?)

    /// What it gives.
    var bytes: Int {
        if case .result(let bytes) = self { bytes.count } else { 0 }
    }
}

/// What a handler works with.
struct MethodContext {
    let loop: EventLoop
    let connection: Connection

    var services: EventLoop.Services { loop.services }

    /// Who asks. Not needed by a method that everybody may call, which is answered also while NSS is silent.
    /// - Throws: `MethodFailure` busy, where NSS could not say.
    var caller: Caller {
        get throws {
            guard let caller = connection.caller else { throw MethodFailure.callerUnknown }
            return caller
        }
    }
}

/// One row of the table of methods.
struct MethodRow: Sendable {
    let method: Method
    let work: Work

    /// Every method there is, in the order of `Method`, so that a row is found by its number.
    static let table: [MethodRow] = [
        MethodRow(method: .register, work: .mutation(MethodHandlers.register)),
        MethodRow(method: .generate, work: .mutation(MethodHandlers.generate)),
        MethodRow(method: .rotate, work: .mutation(MethodHandlers.rotate)),
        MethodRow(method: .introspect, work: .lookup(MethodHandlers.introspect)),
        MethodRow(method: .revoke, work: .mutation(MethodHandlers.revoke)),
        MethodRow(method: .unregister, work: .mutation(MethodHandlers.unregister)),
        MethodRow(method: .list, work: .blocking(MethodHandlers.list)),
        MethodRow(method: .watch, work: .blocking(MethodHandlers.watch)),
        MethodRow(method: .whoami, work: .immediate(MethodHandlers.whoami)),
        MethodRow(method: .status, work: .blocking(MethodHandlers.status)),
        MethodRow(method: .reload, work: .blocking(MethodHandlers.reload)),
        MethodRow(method: .ping, work: .immediate(MethodHandlers.ping)),
    ]
}
