// swift-tools-version: 6.2
import PackageDescription

// Apart, so that the default build and its tests need no libpq: the trait is switched on here alone.
let package = Package(
  name: "postgresql-tests",
  dependencies: [.package(name: "sluice", path: "../..", traits: ["PostgreSQL"])],
  targets: [
    .testTarget(
      name: "PostgreSQLLedgerTests",
      dependencies: [
        .product(name: "Pipeline", package: "sluice"), .product(name: "Middlewares", package: "sluice"),
        .product(name: "PostgreSQLLedger", package: "sluice"), .product(name: "LedgerTesting", package: "sluice"),
      ],
      swiftSettings: [
        .swiftLanguageMode(.v6),
        .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
      ])
  ]
)
