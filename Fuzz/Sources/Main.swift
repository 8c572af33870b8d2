import CFuzzer
import Glibc

/// One program with every target: `Fuzz --target=NAME`, then what libFuzzer takes (`-help=1`). scripts/fuzz builds and
/// runs it.
///
/// A target takes any bytes and returns; what must never happen it says with `check`, which ends the process, so that
/// libFuzzer keeps the bytes.
@main
enum Fuzz {
    fileprivate typealias Target = @Sendable (UnsafeRawBufferPointer) -> Void

    private static let targets: [(name: String, run: Target)] = [
        ("json", JSONTarget.run),
        ("json-foundation", JSONFoundationTarget.run),
        ("lines", LinesTarget.run),
        ("requests", RequestsTarget.run),
        ("configuration", ConfigurationTarget.run),
        ("credential-address", CredentialAddressTarget.run),
    ]

    /// The chosen one. Set once, before libFuzzer begins.
    nonisolated(unsafe) fileprivate static var run: Target = { _ in }

    static func main() {
        // libFuzzer leaves alone what begins with two dashes, and hands it on to the processes that it starts.
        let name = CommandLine.arguments.dropFirst().first?.split(separator: "=").last.map(String.init)
        guard let target = targets.first(where: { $0.name == name }) else {
            print("usage: Fuzz --target=\(targets.map(\.name).joined(separator: "|")) [LIBFUZZER'S ARGUMENTS]")
            exit(64)
        }
        run = target.run
        var count = CommandLine.argc
        var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv
        exit(LLVMFuzzerRunDriver(&count, &arguments, testOneInput))
    }
}

/// libFuzzer's own main, which the linker brings along and nobody calls, knows the test by this name.
@_cdecl("LLVMFuzzerTestOneInput")
func testOneInput(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    Fuzz.run(UnsafeRawBufferPointer(start: bytes, count: count))
    return 0
}

/// Ends the process with a sentence where something does not hold that must.
func check(_ condition: Bool, _ sentence: @autoclosure () -> String) {
    guard !condition else { return }
    let line = Array("fuzz: \(sentence())\n".utf8)
    _ = write(STDERR_FILENO, line, line.count)
    abort()
}

/// Bytes as a sentence can show them.
func shown(_ bytes: some Sequence<UInt8>) -> String {
    bytes.reduce(into: "") { text, byte in
        text += (0x20..<0x7F).contains(byte) ? String(UnicodeScalar(byte)) : "\\x\(String(byte, radix: 16))"
    }
}
