import TokenModel

@testable import TokenRPC
@testable import TokenServer

/// Every method's params: the first byte chooses method and caller, the rest is the value of `params`.
///
/// Whatever that is, there is one answer; nothing that the caller may not have, or that is out of bounds, reaches the
/// ledger; and what is refused does not reach it at all.
enum RequestsTarget {
    // A fault here is a fault of the machine: there is no descriptor left.
    nonisolated(unsafe) private static let loop = try? SteppedLoop()
    nonisolated(unsafe) private static let reader = JSONReader()

    static func run(_ bytes: UnsafeRawBufferPointer) {
        guard let loop else { return check(false, "no event loop") }
        guard let choice = bytes.first, bytes.count < 60_000 else { return }
        let method = Method.allCases[Int(choice & 0x0F) % Method.allCases.count]
        let who = Who.allCases[Int(choice >> 4 & 0x03)]
        var line = Array(#"{"jsonrpc":"2.0","id":1,"method":"\#(method.name)","params":"#.utf8)
        line += bytes.dropFirst().map { $0 == UInt8(ascii: "\n") ? UInt8(ascii: " ") : $0 }
        line += Array("}\n".utf8)
        let answers = loop.converse([line], as: who)
        let asked = loop.ledger.takeAsked()
        checkAnswer(answers, isWatch: method == .watch, hasAsked: !asked.commands.isEmpty || !asked.queries.isEmpty)
        for command in asked.commands { checkCommand(command, who) }
        for query in asked.queries { checkQuery(query, who) }
    }

    private static func checkAnswer(_ answers: [UInt8], isWatch: Bool, hasAsked: Bool) {
        let lines = answers.split(separator: UInt8(ascii: "\n"))
        // A watch that begins in the past brings what happened since.
        check(isWatch ? !lines.isEmpty : lines.count == 1, "\(lines.count) answers: \(shown(answers))")
        lines.first?.withUnsafeBytes { line in
            check(reader.read(line) == .document, "an answer that is no document: \(shown(line))")
            let result = reader.member("result", of: 0)
            let error = reader.member("error", of: 0)
            check((result < 0) != (error < 0), "both a result and an error, or neither: \(shown(line))")
            let id = reader.member("id", of: 0)
            let isOurs = id >= 0 && (reader.kind(id) == .null || reader.plainInteger(id) == 1)
            check(isOurs, "whose answer is \(shown(line))")
            guard error >= 0 else { return }
            let code = reader.plainInteger(reader.member("code", of: error)).flatMap { ErrorCode(rawValue: Int($0)) }
            let reason = reader.member("reason", of: reader.member("data", of: error))
            check(code != nil && reason >= 0, "an error without code or reason: \(shown(line))")
            switch code {
            case .internalError: check(false, "an internal error: \(shown(line))")
            case .parseError, .invalidRequest, .methodNotFound, .invalidParams, .permissionDenied, .busy:
                check(!hasAsked, "refused, and yet it was asked of the ledger: \(shown(line))")
            default: break
            }
        }
    }

    private static func checkCommand(_ command: Command, _ who: Who) {
        switch command {
        case .register(let application, _, let ttl), .generate(let application, _, let ttl):
            check(mayActOn(application, who) && TokenLimits.ttlSeconds.contains(ttl), "\(who) got \(command)")
        case .rotate(let application, _, let ttl, let grace):
            check(mayActOn(application, who) && TokenLimits.ttlSeconds.contains(ttl), "\(who) got \(command)")
            check(TokenLimits.graceSeconds.contains(grace), "\(who) got \(command)")
        case .revoke(let application, _), .unregister(let application):
            check(mayActOn(application, who), "\(who) got \(command)")
        case .revokeProject: check(who == .root, "\(who) got \(command)")
        case .revokeToken: break
        }
    }

    private static func checkQuery(_ query: ListQuery, _ who: Who) {
        // One row more than is shown, to know whether there is a next page.
        check((2...1_001).contains(query.limit), "a page of \(query.limit)")
        switch query.scope {
        case .all: check(who == .root, "\(who) sees all")
        case .owner(let principal): check(principal == who.principal && who != .nobody, "\(who) sees \(principal)")
        case .application(let application): check(mayActOn(application, who), "\(who) sees \(application)")
        }
    }

    /// By the contract's words, not by the server's code.
    private static func mayActOn(_ application: ApplicationName, _ who: Who) -> Bool {
        switch who {
        case .root: true
        case .alice: isOf("alice", application)
        case .verifier: isOf("bob", application)
        case .nobody: false
        }
    }

    private static func isOf(_ owner: String, _ application: ApplicationName) -> Bool {
        application.text == owner || application.text.hasPrefix(owner + "/") && application.text != owner + "/"
    }
}
