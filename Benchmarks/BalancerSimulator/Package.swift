// swift-tools-version: 6.2
import PackageDescription

// A package of its own, so that the default build of Sluice has no simulation in it.
let package = Package(
  name: "balancer-simulator",
  dependencies: [.package(name: "sluice", path: "../..")],
  targets: [
    .target(name: "CMallocCount"),
    .executableTarget(
      name: "BalancerSimulator",
      dependencies: [
        "CMallocCount",
        .product(name: "Pipeline", package: "sluice"),
        .product(name: "PipelineTesting", package: "sluice"),
        .product(name: "Transports", package: "sluice"),
      ],
      swiftSettings: [
        .swiftLanguageMode(.v6),
        .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
      ]),
  ]
)
