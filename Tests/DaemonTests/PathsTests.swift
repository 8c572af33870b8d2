import Testing

@testable import scaem_tokend

@Suite("Paths: options, configuration, systemd's variables, then the built-in places")
struct PathsTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var options = Paths.Options()
        var socket: String?
        var state: String?
        var environment: [String: String] = [:]
        var uid: UInt32 = 1_000
        var expected: (socket: String, state: String)
    }

    static let user = ["XDG_RUNTIME_DIR": "/run/user/1000", "HOME": "/home/a"]
    static let systemd = ["RUNTIME_DIRECTORY": "/run/t", "STATE_DIRECTORY": "/var/lib/t"]

    static let cases = [
        Case(
            testDescription: "root", environment: user, uid: 0,
            expected: ("/run/scaem-tokend/tokend.sock", "/var/lib/scaem-tokend")),
        Case(
            testDescription: "an ordinary user", environment: user,
            expected: ("/run/user/1000/scaem-tokend/tokend.sock", "/home/a/.local/state/scaem-tokend")),
        Case(
            testDescription: "an ordinary user's XDG_STATE_HOME",
            environment: user.merging(["XDG_STATE_HOME": "/s"]) { $1 },
            expected: ("/run/user/1000/scaem-tokend/tokend.sock", "/s/scaem-tokend")),
        Case(
            testDescription: "a relative XDG_STATE_HOME is ignored",
            environment: user.merging(["XDG_STATE_HOME": "s"]) { $1 },
            expected: ("/run/user/1000/scaem-tokend/tokend.sock", "/home/a/.local/state/scaem-tokend")),
        Case(
            testDescription: "systemd, root", environment: systemd, uid: 0,
            expected: ("/run/t/tokend.sock", "/var/lib/t")),
        Case(
            testDescription: "systemd, a user", environment: user.merging(systemd) { $1 },
            expected: ("/run/t/tokend.sock", "/var/lib/t")),
        Case(
            testDescription: "systemd's lists: the folder with our name",
            environment: ["RUNTIME_DIRECTORY": "/run/a:/run/scaem-tokend", "STATE_DIRECTORY": "/s/a:/s/b"],
            expected: ("/run/scaem-tokend/tokend.sock", "/s/a")),
        Case(
            testDescription: "empty variables are none",
            environment: ["RUNTIME_DIRECTORY": "", "STATE_DIRECTORY": ":"],
            uid: 0, expected: ("/run/scaem-tokend/tokend.sock", "/var/lib/scaem-tokend")),
        Case(
            testDescription: "the configuration before systemd", socket: "/c.sock", state: "/c", environment: systemd,
            expected: ("/c.sock", "/c")),
        Case(
            testDescription: "options before the configuration", options: .init(socket: "o.sock", stateDirectory: "/o"),
            socket: "/c.sock", state: "/c", environment: systemd, expected: ("o.sock", "/o")),
    ]

    @Test("table", arguments: cases)
    func table(example: Case) throws {
        var configuration = Configuration()
        configuration.server.socket = example.socket
        configuration.server.stateDirectory = example.state
        let paths = try Paths(
            options: example.options, configuration: configuration, environment: example.environment, uid: example.uid)
        #expect(paths.socket == example.expected.socket)
        #expect(paths.stateDirectory == example.expected.state)
    }

    private func failure(
        _ environment: [String: String], options: Paths.Options = .init()
    ) -> [String] {
        do {
            _ = try Paths(options: options, configuration: Configuration(), environment: environment, uid: 1_000)
            return []
        } catch {
            return error.lines
        }
    }

    @Test("an ordinary user without a session is told what to do, about both places")
    func noSession() {
        for environment in [[:], ["XDG_RUNTIME_DIR": "run", "HOME": "", "XDG_STATE_HOME": ""]] {
            #expect(
                failure(environment) == [
                    "XDG_RUNTIME_DIR does not name a folder, so there is no place for the socket of uid 1000: log in "
                        + "with a session that sets it, or give --socket",
                    "neither XDG_STATE_HOME nor HOME names a folder, so there is no place for the database of uid 1000: "
                        + "give --state-directory",
                ])
        }
    }

    @Test("one place that is missing does not hide the other")
    func apart() throws {
        let socket = try Paths.socket(
            options: .init(), configuration: Configuration(), environment: ["XDG_RUNTIME_DIR": "/r"], uid: 1)
        #expect(socket == "/r/scaem-tokend/tokend.sock")
    }

    @Test("a path that the kernel cannot take is refused, wherever it comes from")
    func long() {
        let folder = "/" + String(repeating: "x", count: 94)
        #expect(failure(["RUNTIME_DIRECTORY": folder, "STATE_DIRECTORY": "/s"]) == [])
        #expect(
            failure(["RUNTIME_DIRECTORY": folder + "x", "STATE_DIRECTORY": "/s"]) == [
                "the socket must be a path of at most 107 bytes; \(folder)x/tokend.sock has 108"
            ])
        #expect(failure([:], options: .init(socket: "", stateDirectory: "")).count == 2)
        #expect(
            failure(["RUNTIME_DIRECTORY": "r", "STATE_DIRECTORY": "/s"]) == [
                "RUNTIME_DIRECTORY must name an absolute path, not \"r\""
            ])
    }
}
