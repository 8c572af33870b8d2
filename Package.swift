// swift-tools-version: 6.2
import PackageDescription

// Who may import whom stands here, and nowhere else: a target sees only what it lists. `make check` builds with
// `--explicit-target-dependency-import-check error`, and Tests/Contract/test_structure.py holds transitive imports.

let strict: [SwiftSetting] = [
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

// libcrypto's shared object, so that the distribution's updates of it reach the daemon.
let crypto: [LinkerSetting] = [.linkedLibrary("crypto")]

let package = Package(
    name: "scaem-tokend",
    products: [
        .executable(name: "scaem-tokend", targets: ["scaem-tokend"]),
        .executable(name: "scaem-token", targets: ["scaem-token"]),
        .library(name: "ScaemTokenClient", targets: ["ScaemTokenClient"]),
    ],
    dependencies: [
        .package(url: "https://github.com/groue/GRDB.swift", exact: "7.10.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
        .package(url: "https://github.com/LebJe/TOMLKit", exact: "0.6.0"),
    ],
    targets: [
        .systemLibrary(name: "CLinux"),
        .systemLibrary(name: "COpenSSL"),
        .systemLibrary(name: "CSQLite", providers: [.apt(["libsqlite3-dev"])]),
        .systemLibrary(name: "CSystemd", pkgConfig: "libsystemd", providers: [.apt(["libsystemd-dev"])]),

        .target(name: "TokenModel", dependencies: ["COpenSSL"], swiftSettings: strict),
        .target(name: "TokenRPC", dependencies: ["TokenModel"], swiftSettings: strict),
        .target(
            name: "TokenStore",
            dependencies: [
                "TokenModel", "CLinux", "CSQLite", .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "GRDBSQLite", package: "GRDB.swift"),
            ],
            swiftSettings: strict),
        .target(name: "Systemd", dependencies: ["CSystemd", "CLinux"], swiftSettings: strict),
        .target(
            name: "TokenServer",
            dependencies: [
                "TokenModel", "TokenRPC", "Systemd", "CLinux", .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict),
        .target(
            name: "ScaemTokenClient", dependencies: ["TokenModel", "TokenRPC", "CLinux"], swiftSettings: strict),
        .executableTarget(
            name: "scaem-tokend",
            dependencies: [
                "TokenModel", "TokenRPC", "TokenStore", "TokenServer", "ScaemTokenClient", "Systemd", "CLinux",
                "TOMLKit",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict,
            linkerSettings: crypto),
        .executableTarget(
            name: "scaem-token",
            dependencies: ["ScaemTokenClient", "TokenModel", "TokenRPC", "CLinux"],
            swiftSettings: strict,
            // libcrypto's archive, not its shared object: the client must start in a millisecond and need libc alone.
            linkerSettings: [.linkedLibrary(":libcrypto.a")]),

        .testTarget(
            name: "TokenModelTests", dependencies: ["TokenModel"], swiftSettings: strict, linkerSettings: crypto),
        .testTarget(
            name: "TokenRPCTests", dependencies: ["TokenRPC", "TokenModel"], swiftSettings: strict,
            linkerSettings: crypto),
        .testTarget(
            name: "TokenStoreTests",
            dependencies: [
                "TokenStore", "TokenModel", "CLinux", .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "GRDBSQLite", package: "GRDB.swift"),
            ],
            swiftSettings: strict, linkerSettings: crypto),
        .testTarget(
            name: "TokenServerTests",
            dependencies: [
                "TokenServer", "TokenModel", "TokenRPC", "CLinux", .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict, linkerSettings: crypto),
        .testTarget(
            name: "ScaemTokenClientTests", dependencies: ["ScaemTokenClient", "TokenModel", "TokenRPC", "CLinux"],
            swiftSettings: strict, linkerSettings: crypto),
        .testTarget(
            name: "ScaemTokenTests",
            dependencies: ["scaem-token", "ScaemTokenClient", "TokenModel", "TokenRPC", "CLinux"],
            swiftSettings: strict, linkerSettings: crypto),
        .testTarget(
            name: "DaemonTests",
            dependencies: [
                "scaem-tokend", "TokenModel", "Systemd", .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict, linkerSettings: crypto),
    ]
)

// The fuzzers, only where scripts/fuzz asks for them: they need a compiler flag that nothing else may be built with.
// They compile the reader of the configuration themselves (Fuzz/Sources/Configuration is a link), so that they need
// neither the daemon nor its database.
if Context.environment["SCAEM_FUZZ"] != nil {
    package.targets += [
        .systemLibrary(name: "CFuzzer", path: "Fuzz/CFuzzer"),
        .executableTarget(
            name: "Fuzz",
            dependencies: [
                "CFuzzer", "TokenModel", "TokenRPC", "TokenServer", "CLinux", "TOMLKit",
                .product(name: "Logging", package: "swift-log"),
            ],
            path: "Fuzz/Sources", swiftSettings: strict, linkerSettings: crypto + [.unsafeFlags(["-use-ld=lld"])]),
    ]
}
