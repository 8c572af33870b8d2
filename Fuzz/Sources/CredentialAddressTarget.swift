import CLinux
import Glibc

@testable import TokenServer

/// The address of a unit's `LoadCredential=`: what is accepted is exactly what systemd writes, and the kernel's way of
/// handing it over changes nothing.
enum CredentialAddressTarget {
    static func run(_ bytes: UnsafeRawBufferPointer) {
        let address = CredentialAddress(bytes)
        if let address {
            check(bytes.count <= 108 && bytes.first == 0, "an address that no socket can have")
            let text = "/unit/\(address.unit)/\(address.credential)"
            check(bytes.dropFirst().drop { $0 != UInt8(ascii: "/") }.elementsEqual(text.utf8), "read as \(text)")
            check(!address.unit.isEmpty && !address.credential.isEmpty, "an empty name")
            check(text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }, "a byte that no name holds")
        }
        throughTheKernel(bytes, address)
    }

    /// A listening socket at an address that the kernel chose.
    private static let listener: (descriptor: CInt, address: sockaddr_un, length: socklen_t) = {
        let descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        var length = socklen_t(MemoryLayout<sa_family_t>.size)
        check(call(&address, length) { bind(descriptor, $0, $1) } == 0 && listen(descriptor, 16) == 0, "no listener")
        length = socklen_t(MemoryLayout<sockaddr_un>.size)
        check(call(&address, length) { name, _ in getsockname(descriptor, name, &length) } == 0, "no address")
        return (descriptor, address, length)
    }()

    private static func throughTheKernel(_ bytes: UnsafeRawBufferPointer, _ expected: CredentialAddress?) {
        // Only what is abstract: anything else would make a file.
        guard bytes.first == 0, (2...108).contains(bytes.count) else { return }
        let caller = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0)
        defer { close(caller) }
        var own = sockaddr_un()
        own.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &own.sun_path) { $0.copyMemory(from: bytes) }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + bytes.count)
        // Somebody else, another fuzzer, may have this name at the moment.
        guard call(&own, length, { bind(caller, $0, $1) }) == 0 else { return }
        var address = listener.address
        check(call(&address, listener.length) { connect(caller, $0, $1) } == 0, "connect: \(errno)")
        let accepted = accept(listener.descriptor, nil, nil)
        defer { close(accepted) }
        check(CredentialAddress(peerOf: accepted) == expected, "the kernel's address is read differently")
    }

    private static func call(
        _ address: inout sockaddr_un, _ length: socklen_t, _ body: (UnsafeMutablePointer<sockaddr>, socklen_t) -> CInt
    ) -> CInt {
        withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
        }
    }
}
