import Foundation
import Glibc
import Synchronization

/// A daemon that answers each line by a script, one connection after the other.
final class ScriptedDaemon: Sendable {
    /// What happens with the next request.
    enum Step: Sendable {
        /// `{"jsonrpc":"2.0","id":ID,` and this and `}`.
        case answer(String)
        /// As it is, line ends included; `ID` stands for the request's.
        case raw(String)
        /// Nothing, and the connection ends.
        case close
        /// An answer, and the connection ends.
        case answerAndClose(String)
        /// Nothing.
        case silence
    }

    let path: String
    private let listener: Int32
    private let state: Mutex<State>
    private let ended = DispatchSemaphore(value: 0)

    private struct State {
        var steps: [Step]
        var requests: [String] = []
        var connections = 0
    }

    init(_ steps: [Step]) {
        path = "/tmp/scaemclient-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        state = Mutex(State(steps: steps))
        listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        precondition(bound == 0 && listen(listener, 8) == 0, "a socket in /tmp")
        Thread.detachNewThread { [self] in serve() }
    }

    /// Waits until one more connection is closed on this side.
    func waitForEndOfConnection() { ended.wait() }

    func stop() {
        shutdown(listener, Int32(SHUT_RDWR))
        unlink(path)
    }

    var requests: [String] { state.withLock { $0.requests } }
    var connections: Int { state.withLock { $0.connections } }

    private func serve() {
        while true {
            let connection = accept(listener, nil, nil)
            guard connection >= 0 else { break }
            state.withLock { $0.connections += 1 }
            guard let file = fdopen(connection, "r+") else { break }
            while let line = Self.line(file), answer(line, connection) {}
            fclose(file)
            ended.signal()
        }
        close(listener)
    }

    private static func line(_ file: UnsafeMutablePointer<FILE>) -> String? {
        var memory: UnsafeMutablePointer<CChar>?
        var size = 0
        defer { free(memory) }
        guard getline(&memory, &size, file) > 0, let memory else { return nil }
        return String(cString: memory)
    }

    /// Whether the connection goes on.
    private func answer(_ line: String, _ connection: Int32) -> Bool {
        let step = state.withLock { state -> Step in
            state.requests.append(line)
            return state.steps.isEmpty ? .close : state.steps.removeFirst()
        }
        let id = line.split(separator: ",").first { $0.hasPrefix("\"id\":") }?.dropFirst(5) ?? "null"
        func send(_ text: String) {
            var rest = Array(text.utf8)[...]
            while !rest.isEmpty {
                let count = rest.withUnsafeBytes {
                    Glibc.send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
                }
                guard count > 0 else { return }
                rest = rest.dropFirst(count)
            }
        }
        switch step {
        case .answer(let text): send("{\"jsonrpc\":\"2.0\",\"id\":\(id),\(text)}\n")
        case .raw(let text): send(text.replacingOccurrences(of: "ID", with: id))
        case .close: return false
        case .answerAndClose(let text):
            send("{\"jsonrpc\":\"2.0\",\"id\":\(id),\(text)}\n")
            return false
        case .silence: break
        }
        return true
    }
}
