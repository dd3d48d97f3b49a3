import Glibc
import Transports

/// What each strategy makes of backends that are slow, flap or pause: a simulation over the very code that serves.
///
///     BalancerSimulator table [SECONDS]      scenarios × strategies: p50, p99, max, spread; exit 1 when a bound does not hold
///     BalancerSimulator plot FILE [SECONDS]  the p99 of each, drawn (SVG)
///     BalancerSimulator cost                 CPU time and allocations of an exchange, by strategy; exit 1 when one allocates
@main struct BalancerSimulator {
  static let strategies: [(name: String, strategy: LoadBalancing)] = [
    ("round robin", .roundRobin), ("weighted round robin", .weightedRoundRobin), ("random", .random),
    ("client hash", .hash(.clientAddress)), ("hash, bounded load 1.25", .hash(.clientAddress, boundedLoad: 1.25)),
    ("least connections", .leastConnections), ("power of two choices", .powerOfTwoChoices), ("peak EWMA", .peakEWMA()),
  ]

  static func main() async throws {
    let arguments = Array(CommandLine.arguments.dropFirst())
    switch (arguments.first, arguments.count) {
    case ("table", 1...2):
      guard let seconds = seconds(arguments.dropFirst().first) else { return usage() }
      let results = run(seconds)
      printTable(results)
      let broken = brokenBounds(results)
      for sentence in broken { print(sentence) }
      exit(broken.isEmpty ? 0 : 1)
    case ("plot", 2...3):
      guard let seconds = seconds(arguments.dropFirst(2).first) else { return usage() }
      Plot.write(run(seconds), to: arguments[1])
    case ("cost", 1): try await Cost.run()
    default: usage()
    }
  }

  private static func seconds(_ text: String?) -> Double? {
    guard let text else { return 60 }
    return Double(text).flatMap { $0 > 0 && $0 <= 3600 ? $0 : nil }
  }

  private static func usage() {
    print(
      "BalancerSimulator table [SECONDS] | plot FILE [SECONDS] | cost; SECONDS are simulated ones, up to 3600, and 60 by default"
    )
    exit(2)
  }

  /// By scenario, in the order of `strategies`.
  private static func run(_ seconds: Double) -> [(scenario: Scenario, results: [Result])] {
    Scenario.all.map { scenario in
      (scenario, strategies.map { Simulation(scenario, $0.strategy, seconds: seconds).run() })
    }
  }

  private static func printTable(_ all: [(scenario: Scenario, results: [Result])]) {
    for (scenario, results) in all {
      print("\n### \(scenario.title)\n")
      print("| strategy | p50 ms | p99 ms | max ms | gave up | busiest backend |")
      print("| --- | --- | --- | --- | --- | --- |")
      for ((name, _), result) in zip(strategies, results) {
        let cells = [
          name, digits(result.p50 * 1000), digits(result.p99 * 1000), digits(result.longest * 1000),
          "\(digits(result.gaveUp * 100)) %", "\(digits(result.spread)) x",
        ]
        print("| " + cells.joined(separator: " | ") + " |")
      }
    }
    print("")
  }

  /// What has to hold whatever the machine: the simulation has no other noise than its seed.
  private static func brokenBounds(_ all: [(scenario: Scenario, results: [Result])]) -> [String] {
    var sentences: [String] = []
    for (scenario, results) in all where scenario.isOneSlow {
      func p99(_ name: String) -> Double {
        for ((candidate, _), result) in zip(strategies, results) where candidate == name { return result.p99 }
        return .infinity
      }
      for name in ["power of two choices", "peak EWMA"] where p99(name) * 3 > p99("round robin") {
        sentences.append("\(scenario.title): the p99 of \(name) is not 3x below that of round robin")
      }
    }
    for (scenario, results) in all where scenario.isEven {
      for ((name, _), result) in zip(strategies, results) where name == "round robin" && result.spread > 1.01 {
        sentences.append("\(scenario.title): round robin does not spread within 1 %")
      }
    }
    return sentences
  }

  /// Three figures that count.
  static func digits(_ value: Double) -> String {
    if value == 0 { return "0" }
    let places = max(0, 2 - Int(log10(abs(value)).rounded(.down)))
    let scale = pow(10.0, Double(places))
    let rounded = (value * scale).rounded() / scale
    return places == 0 ? "\(Int(rounded))" : "\(rounded)"
  }
}
