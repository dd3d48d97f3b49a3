public import Pipeline

/// Relays every exchange to one of several backends, and knows which of them are well.
///
/// ```swift
/// Upstreams(.leastConnections, health: .http("/health", every: .seconds(10)), named: "web") {
///   Backend("10.0.0.1:9001", weight: 2)
///   Backend("10.0.0.2:9001", maxConnections: 200, queue: 50)
/// }
/// ```
/// Works on every transport. What a SOCKS5 client asks for is read and answered, but does not decide. No address rule is
/// applied: the operator's own word is the rule. Each attempt of a `Retry` above goes to a backend that this exchange has not
/// tried, while one is left.
///
/// A client is refused with what its backend ended in (`connectionRefused`, `upstreamReset`, …), with `overloaded` (HTTP 503
/// with `retry-after`) where no backend may be used, or each has all the connections that it takes.
///
/// An exchange costs a choice (see ``LoadBalancing``), three atomic counts and one short lock; it allocates nothing until a try
/// fails.
public struct Upstreams: Destination, SettlingDestination {
  /// How it stands, and what the operator does to it.
  public let group: UpstreamGroup
  public let name: String?
  private let backends: [Backend]
  @usableFromInline let discovery: Discovery?

  /// - Parameters:
  ///   - strategy: how one is chosen.
  ///   - health: asks the backends from time to time; `nil`: nobody asks.
  ///   - passive: takes out who fails exchanges.
  ///   - panic: what is done when too few are healthy.
  ///   - slowStart: a backend that comes back, or is added, gets a part of its weight that grows from a tenth to all of it in
  ///     this time; 0: all at once. Strategies that hash do not heed it: it would move their keys twice.
  ///   - hedge: asks a second backend, too, when the first takes long; HTTP only.
  ///   - source: where the list comes from; `nil`: it is the one that is written down, which else serves until the source says
  ///     something.
  ///   - name: for logs and metrics, and so that a reload finds what belongs together; where there are several groups each
  ///     needs one.
  ///   - backends: one or more; none is allowed where there is a source.
  public init(
    _ strategy: LoadBalancing = .roundRobin, health: HealthCheck? = nil, passive: PassiveHealth = .standard,
    panic: PanicRule = .whenNoneIsHealthy, slowStart: Duration = .zero, hedge: Hedging? = nil,
    from source: BackendSource? = nil, named name: String? = nil, @BackendBuilder _ backends: () -> [Backend]
  ) {
    self.init(
      strategy, health: health, passive: passive, panic: panic, slowStart: slowStart, hedge: hedge, from: source,
      named: name, backends: backends())
  }

  /// The same with a list that was made elsewhere: settings, a program.
  public init(
    _ strategy: LoadBalancing = .roundRobin, health: HealthCheck? = nil, passive: PassiveHealth = .standard,
    panic: PanicRule = .whenNoneIsHealthy, slowStart: Duration = .zero, hedge: Hedging? = nil,
    from source: BackendSource? = nil, named name: String? = nil, backends: [Backend] = []
  ) {
    self.init(
      UpstreamGroup.Configuration(
        strategy: strategy, health: health, passive: passive, panic: panic, slowStart: slowStart, hedging: hedge),
      from: source, named: name, backends, clock: { Loop.preciseNow })
  }

  init(
    _ configuration: UpstreamGroup.Configuration, from source: BackendSource? = nil, named name: String?,
    _ backends: [Backend], clock: @escaping @Sendable () -> Instant
  ) {
    self.name = name
    discovery = source.map(Discovery.init)
    self.backends = backends
    group = UpstreamGroup(name ?? "upstreams", configuration, backends, clock: clock)
  }

  public var parameters: [Parameter] {
    let configuration = group.configuration
    var parameters: [Parameter] = []
    if let discovery { parameters.append(Parameter("from", "\(discovery.source)")) }
    if !backends.isEmpty { parameters.append(Parameter("to", backends.map(\.name).joined(separator: ", "))) }
    parameters.append(Parameter("strategy", configuration.strategy.description))
    if let health = configuration.health {
      parameters.append(Parameter("health", "\(health.label) every \(health.interval)"))
    }
    if let hedging = configuration.hedging { parameters.append(Parameter("hedge", "\(hedging)")) }
    if configuration.slowStart > .zero { parameters.append(Parameter("slow start", "\(configuration.slowStart)")) }
    return parameters
  }

  public var state: AnyObject? { group }

  public func validate(into problems: inout Problems) {
    if backends.isEmpty, discovery == nil { problems.refuse("it has no backend: name one or more") }
    for problem in discovery?.source.problems ?? [] { problems.refuse(problem) }
    for problem in Backend.problems(with: backends) { problems.refuse(problem) }
    let configuration = group.configuration
    configuration.strategy.validate(into: &problems)
    for problem in configuration.health?.problems ?? [] { problems.refuse(problem) }
    for problem in configuration.passive.problems { problems.refuse(problem) }
    if let problem = configuration.panic.problem { problems.refuse(problem) }
    if let hedging = configuration.hedging {
      for problem in hedging.problems { problems.refuse(problem) }
      if problems.transport == "tcp" || problems.transport == "socks5" {
        problems.refuse("a hedge is for HTTP requests: of a tunnel nothing can be asked twice")
      }
      if case .sticky = configuration.strategy.kind {
        problems.refuse(
          "a hedge would go to another backend than the one that the client's cookie names: leave one out")
      }
    }
    if configuration.slowStart < .zero {
      problems.refuse("a slow start of \(configuration.slowStart): 0 seconds or more is allowed")
    }
    if case .turns(weighted: false) = configuration.strategy.kind, Set(backends.map(\.weight)).count > 1 {
      problems.note("\(group.name): round robin does not heed weights: write .weightedRoundRobin")
    }
  }

  /// Those that are still in the list keep their connections, counts and health. The old group is left as it is: a reload that
  /// fails later has changed nothing.
  public mutating func adopt(from old: Upstreams) {
    // What a source has found serves on until the new one says something.
    group.inherit(from: old.group, keepingAll: discovery != nil)
  }

  public func run(_ services: any BackgroundServices) async throws {
    guard let discovery else { return try await group.run(services) }
    let group = group
    try await withThrowingDiscardingTaskGroup { tasks in
      tasks.addTask { try await group.run(services) }
      tasks.addTask { try await discovery.run(services, for: group) }
    }
  }

  // Inlined into the chain: a layer less.
  @inlinable public func serve(_ exchange: Exchange) async throws -> Summary {
    try await group.serve(exchange, foundBy: discovery)
  }
}
