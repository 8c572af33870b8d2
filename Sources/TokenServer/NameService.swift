import CLinux
import Glibc
import Synchronization
import TokenModel

/// Where names of users and groups come from: NSS, or a test's own.
public protocol UserDirectory: Sendable {
    /// The name of a user, or nil where there is no such user.
    /// - Throws: `LookupFailure` where nobody could say.
    func userName(_ uid: UInt32) throws(LookupFailure) -> String?
    /// The number of a group, or nil where there is no such group.
    /// - Throws: `LookupFailure` where nobody could say.
    func groupID(_ name: String) throws(LookupFailure) -> UInt32?
}

/// NSS could not say whether there is such a user or group: not the same as "there is none".
public struct LookupFailure: Error, Sendable {
    /// As getpwuid_r(3) or getgrnam_r(3) returned it.
    public let errno: CInt

    /// Names the reason.
    public init(errno: CInt) { self.errno = errno }
}

/// getpwuid_r(3) and getgrnam_r(3). They may ask a server on the network and block: not for an event loop.
public struct SystemUserDirectory: UserDirectory {
    /// A group with many members needs room; this is for some 100,000 of them.
    private static let largestBufferBytes = 1 << 21

    /// The system's own.
    public init() {}

    /// getpwuid_r(3).
    public func userName(_ uid: UInt32) throws(LookupFailure) -> String? {
        try Self.withGrowingBuffer { buffer, size in
            var entry = passwd()
            var found: UnsafeMutablePointer<passwd>?
            let result = getpwuid_r(uid, &entry, buffer, size, &found)
            return (result, found.map { String(cString: $0.pointee.pw_name) })
        }
    }

    /// getgrnam_r(3).
    public func groupID(_ name: String) throws(LookupFailure) -> UInt32? {
        try Self.withGrowingBuffer { buffer, size in
            var entry = group()
            var found: UnsafeMutablePointer<group>?
            let result = getgrnam_r(name, &entry, buffer, size, &found)
            return (result, found.map { $0.pointee.gr_gid })
        }
    }

    private static func withGrowingBuffer<Value>(
        _ look: (UnsafeMutablePointer<CChar>, Int) -> (CInt, Value?)
    ) throws(LookupFailure) -> Value? {
        var size = 4_096
        while true {
            let buffer = UnsafeMutablePointer<CChar>.allocate(capacity: size)
            defer { buffer.deallocate() }
            let (result, value) = look(buffer, size)
            if result == 0 { return value }
            guard result == ERANGE, size < largestBufferBytes else { throw LookupFailure(errno: result) }
            size *= 4
        }
    }
}

/// What NSS says of a peer: the user's name, and which numbers the groups have that mean something here.
struct Identity: Sendable {
    let userName: String?
    let administrators: UInt32?
    let verifiers: UInt32?
}

/// Names, looked up on threads of its own and believed for a few seconds. A uid is asked for once at a time, so that one
/// that NSS does not answer for takes one thread, and the others are asked for meanwhile.
final class NameService: Sendable {
    private struct Remembered<Value: Sendable>: Sendable {
        let value: Value
        let until: Int64
    }

    private struct Memory: Sendable {
        var users: [UInt32: Remembered<String?>] = [:]
        var groups: Remembered<(administrators: UInt32?, verifiers: UInt32?)>?
    }

    private let directory: any UserDirectory
    private let worker = SerialWorker(name: "names", threads: Bounds.nameThreads)
    /// Who waits for each uid that is being asked for.
    private let waiting = Mutex<[UInt32: [@Sendable (Identity?) -> Void]]>([:])
    private let memory = Mutex(Memory())

    init(directory: any UserDirectory) {
        self.directory = directory
    }

    /// What is known without asking, or nil.
    func known(_ uid: UInt32, now: Int64) -> Identity? {
        memory.withLock { memory in
            guard let user = memory.users[uid], now < user.until, let groups = memory.groups, now < groups.until else {
                return nil
            }
            return Identity(
                userName: user.value, administrators: groups.value.administrators, verifiers: groups.value.verifiers)
        }
    }

    /// The group of administrators as last heard, however long ago: good enough to keep a place free, not to decide.
    var lastHeardAdministrators: UInt32? {
        memory.withLock { $0.groups?.value.administrators }
    }

    /// Asks on a thread of its own, in the turn of `account`; `answer` gets nil where nobody could say.
    func look(up uid: UInt32, for account: UInt32, _ answer: @escaping @Sendable (Identity?) -> Void) {
        // What was asked before may be of the one whose number it was before.
        if Principal.isRecycled(uid: uid) {
            return worker.submit(for: account) { [self] in answer(ask(uid)) }
        }
        // A burst of connects of one user asks once.
        let before = waiting.withLock { waiting in
            let before = waiting[uid]?.count ?? 0
            if before < Bounds.waitingForName { waiting[uid, default: []].append(answer) }
            return before
        }
        guard before < Bounds.waitingForName else { return answer(nil) }
        guard before == 0 else { return }
        worker.submit(for: account) { [self] in
            let identity = ask(uid)
            for answer in waiting.withLock({ $0.removeValue(forKey: uid) ?? [] }) { answer(identity) }
        }
    }

    private func ask(_ uid: UInt32) -> Identity? {
        do {
            let identity = Identity(
                userName: try directory.userName(uid),
                administrators: try directory.groupID("scaem-admin"),
                verifiers: try directory.groupID("scaem-verifier"))
            let until = MonotonicClock.milliseconds + Bounds.nameLifetimeMilliseconds
            memory.withLock { memory in
                if memory.users.count >= Bounds.rememberedNames { memory.users.removeAll(keepingCapacity: true) }
                if !Principal.isRecycled(uid: uid) {
                    memory.users[uid] = Remembered(value: identity.userName, until: until)
                }
                memory.groups = Remembered(value: (identity.administrators, identity.verifiers), until: until)
            }
            return identity
        } catch {
            return nil
        }
    }
}
