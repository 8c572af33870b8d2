import Glibc
import Synchronization
import Testing
import TokenModel

@testable import TokenServer

/// To whom a connection is charged whose uid alone vouches for nobody.
struct AccountTests {
    private func bench(perUser: Int, _ directory: ScriptedDirectory = ScriptedDirectory()) throws -> LoopBench {
        var settings = ServerSettings()
        settings.connectionsPerUser = perUser
        return try LoopBench(settings: settings, directory: directory)
    }

    /// With the room of those who have no name as well, one named user would keep all others of such numbers out.
    @Test func whoHasANameHasOnlyItsOwnRoom() throws {
        let bench = try bench(perUser: 2)
        let mine = try (0..<2).map { _ in try bench.connect(uid: 1_200_001) }
        #expect(mine.allSatisfy { !$0.0.isClosed && $0.0.account == 1_200_001 })
        let (third, caller) = try bench.connect(uid: 1_200_001)
        #expect(third.isClosed)
        #expect(caller.arrived().contains(#""id":null,"error":{"code":-32006"#))
        let (other, _) = try bench.connect(uid: 1_200_002)
        #expect(!other.isClosed && other.account == 1_200_002)
    }

    /// Users of a directory have numbers of the same range as subordinate ones, of which one user may hold as many as there is
    /// room for.
    @Test func whoHasANameGetsInWhereThoseWithoutHaveTakenAll() throws {
        let bench = try bench(perUser: 2, ScriptedDirectory(nameless: 100_000..<200_000))
        let held = try (0..<2).map { try bench.connect(uid: 100_000 + $0) }
        #expect(held.allSatisfy { !$0.0.isClosed })
        let (third, said) = try bench.connect(uid: 100_002)
        #expect(third.isClosed)
        #expect(said.arrived().contains(#""id":null,"error":{"code":-32006"#))
        let credentials = PeerCredentials(pid: 1, uid: 1_200_001, gid: 1, groups: [])
        let accounting = bench.loop.services.accounting
        #expect(accounting.admitConnection(uid: credentials.firstAccount, isPrivileged: false))
        accounting.releaseConnection(uid: credentials.firstAccount)
        let (named, _) = try bench.connect(uid: 1_200_001)
        #expect(!named.isClosed && named.account == 1_200_001)
    }

    /// While NSS fails, those who wait for it take no room of others.
    @Test func whoCannotBeNamedIsChargedAsOneWithoutAName() throws {
        let directory = ScriptedDirectory()
        directory.failing.withLock { $0 = true }
        let bench = try bench(perUser: 2, directory)
        let held = try (0..<2).map { try bench.connect(uid: 100_000 + $0) }
        #expect(held.allSatisfy { !$0.0.isClosed && $0.0.account == PeerCredentials.delegatedAccount })
        #expect(try bench.connect(uid: 100_002).0.isClosed)
        directory.failing.withLock { $0 = false }
        let (named, _) = try bench.connect(uid: 1_200_001)
        #expect(!named.isClosed && named.account == 1_200_001)
    }

    /// A number that systemd gives anew may be another service's by the time that the directory answers again, and a
    /// connection can have been handed on: it is told to come again, and closed.
    @Test(arguments: [(1_000, true), (1_200_001, true), (61_200, false)])
    func whoCouldNotBeNamedIsAskedForAgain(uid: UInt32, isAskedAgain: Bool) throws {
        let directory = ScriptedDirectory()
        directory.failing.withLock { $0 = true }
        let bench = try LoopBench(directory: directory)
        let (first, caller) = try bench.connect(uid: uid)
        directory.failing.withLock { $0 = false }
        if isAskedAgain { caller.send(#"{"jsonrpc":"2.0","id":1,"method":"whoami"}"# + "\n") }
        var said = ""
        bench.turn {
            said += caller.arrived()
            return said.contains("\n")
        }
        #expect(said.contains(isAskedAgain ? #""principal":"tester""# : #""id":null,"error":{"code":-32006"#))
        #expect(first.isClosed == !isAskedAgain)
        let (second, _) = try bench.connect(uid: uid)
        #expect(second.caller?.principal.text == "tester")
    }

    /// Whoever comes again and again while NSS hangs is not remembered for each time.
    @Test func whoWaitsForANameIsBounded() {
        let directory = ScriptedDirectory()
        let names = NameService(directory: directory)
        let answers = Mutex((named: 0, refused: 0))
        directory.gate.withLock { _ in
            for _ in 0..<Bounds.waitingForName + 10 {
                names.look(up: 1_000, for: 1_000) { identity in
                    answers.withLock { if identity == nil { $0.refused += 1 } else { $0.named += 1 } }
                }
            }
            #expect(answers.withLock { $0.refused } == 10)
        }
        let end = MonotonicClock.milliseconds + 20_000
        while answers.withLock({ $0.named }) < Bounds.waitingForName, MonotonicClock.milliseconds < end {
            sched_yield()
        }
        #expect(answers.withLock { $0.named } == Bounds.waitingForName)
    }

    /// Such a number may be another's a moment after its process has ended.
    @Test(arguments: [(1_000, true), (60_000, true), (61_184, false), (65_519, false), (65_520, true), (524_288, true)])
    func aNumberThatIsGivenAnewIsNotRemembered(uid: UInt32, isRemembered: Bool) async {
        let names = NameService(directory: ScriptedDirectory())
        // Before: a busy machine may come back to this only when what was heard is old.
        let asked = MonotonicClock.milliseconds
        let identity = await withCheckedContinuation { said in
            names.look(up: uid, for: uid) { said.resume(returning: $0) }
        }
        #expect(identity?.userName == "tester")
        #expect((names.known(uid, now: asked) != nil) == isRemembered)
    }
}
