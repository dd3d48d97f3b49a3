// swift-tools-version: 6.2
import PackageDescription

// A package outside of Sluice: in yours, replace the path by the address of the repository.
let settings: [SwiftSetting] = [
  // Async functions of this package that take an exchange stay on the exchange's loop.
  .enableUpcomingFeature("NonisolatedNonsendingByDefault")
]

let package = Package(
  name: "OwnMiddleware",
  dependencies: [.package(name: "sluice", path: "../..")],
  targets: [
    .target(
      name: "Badge", dependencies: [.product(name: "Pipeline", package: "sluice")], swiftSettings: settings),
    .executableTarget(
      name: "Gateway",
      dependencies: [
        "Badge",
        .product(name: "Pipeline", package: "sluice"),
        .product(name: "Middlewares", package: "sluice"),
        .product(name: "Transports", package: "sluice"),
      ], swiftSettings: settings),
    .testTarget(
      name: "BadgeTests",
      dependencies: [
        "Badge",
        .product(name: "Pipeline", package: "sluice"),
        .product(name: "PipelineTesting", package: "sluice"),
      ], swiftSettings: settings),
  ]
)
