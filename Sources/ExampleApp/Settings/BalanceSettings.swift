import Transports

/// How a single-purpose proxy spreads its clients over several upstreams, and who tells it which of them are well.
struct BalanceSettings {
  static let flags: [Flag] = [
    .value("balance", names, "how one of several upstreams is chosen", default: "round-robin"),
    .value(
      "health", "tcp|/PATH",
      "asks each upstream from time to time: by a connection, or by GET of a path (default: it is judged by what clients find)"
    ),
    .value("health-every", "TIME", "from one question to the next", default: "10s"),
    .value("health-timeout", "TIME", "for an answer", default: "5s"),
    .value("health-rise", "COUNT", "answers in a row that bring an upstream back", default: "2"),
    .value("health-fall", "COUNT", "failures in a row that take it out", default: "3"),
  ]

  private static let strategies: [(name: String, strategy: LoadBalancing)] = [
    ("round-robin", .roundRobin), ("least-connections", .leastConnections), ("random", .random),
    ("two-choices", .powerOfTwoChoices), ("peak-ewma", .peakEWMA()), ("client-hash", .clientAddressHash),
  ]
  private static let names = strategies.map(\.name).joined(separator: "|")

  private let strategy: LoadBalancing
  private let health: HealthCheck?

  init(_ flags: ParsedFlags) throws {
    let strategy = try flags.parsed("balance", allowed: Self.strategies.map(\.name).joined(separator: ", ")) { name in
      Self.strategies.first { $0.name == name }?.strategy
    }
    self.strategy = strategy ?? .roundRobin
    let every = try flags.time("health-every")
    let timeout = try flags.time("health-timeout")
    let counts = try ["health-rise", "health-fall"].map { name in
      try flags.parsed(name, allowed: "1 to 100") { readInt($0, in: 1...100) } ?? 2
    }
    health = try flags.parsed("health", allowed: "tcp, or a path: /health") { text in
      if text == "tcp" { return .tcp(every: every, timeout: timeout, rise: counts[0], fall: counts[1]) }
      guard text.hasPrefix("/") else { return nil }
      return .http(text, every: every, timeout: timeout, rise: counts[0], fall: counts[1])
    }
    if health == nil {
      for name in ["health-every", "health-timeout", "health-rise", "health-fall"] where flags.has(name) {
        throw SettingsError("--\(name) needs --health tcp|/PATH")
      }
    }
  }

  func upstreams(_ addresses: [String], _ proxyProtocol: ProxyProtocolSettings) -> Upstreams {
    Upstreams(
      strategy, health: health, backends: addresses.map { Backend($0, proxyProtocol: proxyProtocol.version) })
  }
}
