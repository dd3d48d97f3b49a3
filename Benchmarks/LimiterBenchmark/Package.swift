// swift-tools-version: 6.2
import PackageDescription

// A package of its own, so that the default build of Sluice has no benchmark in it.
let package = Package(
  name: "limiter-benchmark",
  dependencies: [.package(name: "sluice", path: "../..")],
  targets: [
    .target(name: "CMallocCount"),
    .executableTarget(
      name: "LimiterBenchmark",
      dependencies: [
        "CMallocCount",
        .product(name: "Middlewares", package: "sluice"),
        .product(name: "Pipeline", package: "sluice"),
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
