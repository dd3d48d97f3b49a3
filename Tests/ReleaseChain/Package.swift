// swift-tools-version: 6.2
import PackageDescription

// A user's package whose only purpose is to be optimised: long, mixed chains once crashed the compiler's optimiser.
let package = Package(
  name: "ReleaseChain",
  dependencies: [.package(name: "sluice", path: "../..")],
  targets: [
    .executableTarget(
      name: "ReleaseChain", dependencies: [.product(name: "Pipeline", package: "sluice")],
      swiftSettings: [.enableUpcomingFeature("NonisolatedNonsendingByDefault")])
  ]
)
