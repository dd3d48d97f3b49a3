// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

let package = Package(
  name: "sluice",
  products: [
    .library(name: "Pipeline", targets: ["Pipeline"]),
    .library(name: "PipelineTesting", targets: ["PipelineTesting"]),
    .library(name: "Middlewares", targets: ["Middlewares"]),
    .library(name: "ScryptPasswords", targets: ["ScryptPasswords"]),
    .library(name: "JWTAuthentication", targets: ["JWTAuthentication"]),
    .library(name: "RedisStores", targets: ["RedisStores"]),
    .library(name: "SQLiteLedger", targets: ["SQLiteLedger"]),
    .library(name: "PostgreSQLLedger", targets: ["PostgreSQLLedger"]),
    .library(name: "LedgerTesting", targets: ["LedgerTesting"]),
    .library(name: "Transports", targets: ["Transports"]),
    .executable(name: "ExampleApp", targets: ["ExampleApp"]),
  ],
  traits: [
    .trait(name: "PostgreSQL", description: "A ledger in PostgreSQL, through libpq (target PostgreSQLLedger).")
  ],
  targets: [
    // The typed chain. Knows no socket, no file, no clock of its own, and needs no C library.
    .target(name: "Pipeline", swiftSettings: settings),
    .target(name: "PipelineTesting", dependencies: ["Pipeline"], swiftSettings: settings),
    .target(name: "Middlewares", dependencies: ["Pipeline"], swiftSettings: settings),
    // scrypt and HMAC through OpenSSL: apart, so that who uses the other middlewares needs no C library.
    .systemLibrary(name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
    .target(name: "ScryptPasswords", dependencies: ["Pipeline", "Middlewares", "COpenSSL"], swiftSettings: settings),
    // JSON Web Tokens: signatures through OpenSSL.
    .target(name: "JWTAuthentication", dependencies: ["Pipeline", "Middlewares", "COpenSSL"], swiftSettings: settings),
    // A Redis client, and limits that several processes share through it. Needs no library; the engine gives it its sockets.
    .target(name: "RedisStores", dependencies: ["Pipeline", "Middlewares"], swiftSettings: settings),
    // Usage and quotas in a file, through SQLite.
    .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
    .target(name: "SQLiteLedger", dependencies: ["Pipeline", "Middlewares", "CSQLite"], swiftSettings: settings),
    // The same in PostgreSQL, through libpq: empty without the trait, and then nothing of libpq is needed.
    .systemLibrary(name: "CPostgreSQL", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
    .target(
      name: "PostgreSQLLedger",
      dependencies: [
        "Pipeline", "Middlewares", .target(name: "CPostgreSQL", condition: .when(traits: ["PostgreSQL"])),
      ],
      swiftSettings: settings),
    // What every ledger must do, as checks, and one in memory that fails as it is told.
    .target(
      name: "LedgerTesting", dependencies: ["Pipeline", "Middlewares"], path: "Tests/Support/LedgerTesting",
      swiftSettings: settings),
    // What Glibc's module does not declare: epoll, splice, accept4, ...
    .target(name: "CShim"),
    .target(name: "Transports", dependencies: ["Pipeline", "CShim"], swiftSettings: settings),
    // Settings files, through libyaml: for the program alone.
    .systemLibrary(name: "CYAML", pkgConfig: "yaml-0.1", providers: [.apt(["libyaml-dev"])]),
    .executableTarget(
      name: "ExampleApp",
      dependencies: [
        "Pipeline", "Middlewares", "RedisStores", "SQLiteLedger", "PostgreSQLLedger", "ScryptPasswords",
        "JWTAuthentication", "Transports", "CYAML",
      ],
      swiftSettings: settings),
    // For tests only: a process that writes to a ledger until it is killed.
    .executableTarget(
      name: "LedgerChild", dependencies: ["Pipeline", "Middlewares", "SQLiteLedger", "LedgerTesting"],
      path: "Tests/Support/LedgerChild", swiftSettings: settings),
    // For tests only: counts allocations; asks the compiler about wrong programs.
    .target(name: "CMallocCount", path: "Tests/Support/CMallocCount"),
    .target(name: "CompilerChecks", path: "Tests/Support/CompilerChecks", swiftSettings: settings),
    // For tests only: servers that others wrote.
    .target(name: "RealPrograms", path: "Tests/Support/RealPrograms", swiftSettings: settings),
    .testTarget(
      name: "PipelineTests", dependencies: ["Pipeline", "PipelineTesting", "CMallocCount", "CompilerChecks"],
      swiftSettings: settings),
    .testTarget(
      name: "MiddlewaresTests",
      dependencies: ["Pipeline", "PipelineTesting", "Middlewares", "LedgerTesting", "CMallocCount", "CompilerChecks"],
      swiftSettings: settings),
    .testTarget(
      name: "SQLiteLedgerTests",
      dependencies: [
        "Pipeline", "PipelineTesting", "Middlewares", "SQLiteLedger", "CSQLite", "LedgerTesting", "LedgerChild",
      ],
      swiftSettings: settings),
    .testTarget(
      name: "ScryptPasswordsTests",
      dependencies: ["Pipeline", "PipelineTesting", "Middlewares", "ScryptPasswords", "CMallocCount"],
      swiftSettings: settings),
    .testTarget(
      name: "JWTAuthenticationTests",
      dependencies: ["Pipeline", "PipelineTesting", "Middlewares", "JWTAuthentication", "COpenSSL", "CMallocCount"],
      swiftSettings: settings),
    .testTarget(
      name: "RedisStoresTests",
      dependencies: [
        "Pipeline", "PipelineTesting", "Middlewares", "RedisStores", "Transports", "CMallocCount", "RealPrograms",
      ],
      swiftSettings: settings),
    .testTarget(
      name: "TransportsTests",
      dependencies: [
        "Pipeline", "PipelineTesting", "Middlewares", "JWTAuthentication", "Transports", "CShim", "CMallocCount",
        "CompilerChecks", "RealPrograms",
      ],
      swiftSettings: settings),
    .testTarget(
      name: "ExampleAppTests",
      dependencies: [
        "ExampleApp", "JWTAuthentication", "LedgerTesting", "Pipeline", "Middlewares", "ScryptPasswords", "Transports",
      ],
      swiftSettings: settings),
  ]
)
