import Pipeline
import PipelineTesting
import Synchronization

@testable import Transports

/// A group of backends without a network: exchanges on a manual clock, and what each backend does.
final class GroupWorld {
  /// What a backend does with an exchange.
  enum Behaviour: Sendable {
    case answers(Int, after: Duration = .zero)
    case fails(Rejection)
    /// Answers, and then breaks off.
    case cuts
    case stays(Signal)
    /// Answers, and lives on while the world does what it has to do ``GroupWorld/meanwhile``.
    case tunnels
  }

  let runtime: TestRuntime
  let upstreams: Upstreams
  /// What happens while a tunnel is open: once.
  var meanwhile: (() async throws -> Void)?
  private let behaviours = Mutex<[String: Behaviour]>([:])
  private let servedBy = Mutex<[String]>([])

  var group: UpstreamGroup { upstreams.group }
  var clock: ManualClock { runtime.clock }
  /// The addresses of the backends that were tried, in order.
  var tried: [String] { servedBy.withLock { $0 } }

  init(
    _ strategy: LoadBalancing = .roundRobin, health: HealthCheck? = nil, passive: PassiveHealth = .standard,
    panic: PanicRule = .whenNoneIsHealthy, slowStart: Duration = .zero, hedge: Hedging? = nil,
    to backends: [Backend]
  ) {
    let runtime = TestRuntime()
    self.runtime = runtime
    let clock = runtime.clock
    upstreams = Upstreams(
      UpstreamGroup.Configuration(
        strategy: strategy, health: health, passive: passive, panic: panic, slowStart: slowStart, hedging: hedge),
      named: "web", backends, clock: { clock.now })
  }

  /// From now on the backend at this port does so; at first each answers 200.
  func port(_ port: Int, _ behaviour: Behaviour) {
    behaviours.withLock { $0["127.0.0.1:\(port)"] = behaviour }
  }

  static func backends(_ count: Int) -> [Backend] { (1...count).map { Backend("127.0.0.1:\($0)") } }

  func exchange(ip: String = "192.0.2.1", _ fields: KeyValuePairs<HeaderName, String> = [:]) -> ScriptedExchange {
    var client = MockClient(ip: ip)
    for (name, value) in fields { client.request.fields.add(name, value) }
    let exchange = ScriptedExchange(
      id: 1, client: client.address,
      listener: ListenerInfo(name: "http", transport: "http", address: .ip(.loopbackV4, port: 1)),
      runtime: TestRuntime(clock: clock, seed: UInt64(tried.count) + 1), request: client.request)
    exchange.world = self
    return exchange
  }

  /// Serves one exchange; the port of the backend that served it.
  @discardableResult func serve(_ exchange: ScriptedExchange? = nil) async throws -> Int {
    let exchange = exchange ?? self.exchange()
    _ = try await upstreams.serve(exchange)
    return exchange.port
  }

  /// Serves one exchange, and says how it was refused.
  func refusal(_ exchange: ScriptedExchange? = nil) async -> Rejection? {
    do {
      try await serve(exchange)
      return nil
    } catch {
      return Rejection(error)
    }
  }

  func state(_ port: Int) -> BackendState? {
    group.report().backends.first { $0.address == "127.0.0.1:\(port)" }?.state
  }

  fileprivate func behaviour(_ address: String) -> Behaviour {
    servedBy.withLock { $0.append(address) }
    return behaviours.withLock { $0[address] } ?? .answers(200)
  }
}

/// A request whose upstream is a script.
final class ScriptedExchange: HTTPExchange {
  fileprivate var world: GroupWorld?
  /// Of the backend that was tried last.
  private(set) var port = 0

  override func forward(to destination: ApprovedDestination, over link: UpstreamLink) async throws -> Summary {
    guard let world, case .ip(_, let port)? = destination.addresses.first else { return Summary() }
    self.port = Int(port)
    switch world.behaviour("127.0.0.1:\(port)") {
    case .answers(let status, let delay):
      world.clock.advance(by: delay)
      upstreamStatus = status
      noteUpstreamAnswer(at: now)
      isCommitted = true
      return Summary()
    case .fails(let rejection): throw rejection
    case .cuts:
      upstreamStatus = 200
      noteUpstreamAnswer(at: now)
      isCommitted = true
      throw Rejection(.upstreamReset)
    case .stays(let signal):
      upstreamStatus = 200
      noteUpstreamAnswer(at: now)
      try await runtime.wait(for: signal)
      isCommitted = true
      return Summary()
    case .tunnels:
      upstreamStatus = 200
      noteUpstreamAnswer(at: now)
      isCommitted = true
      let body = world.meanwhile
      world.meanwhile = nil
      try await body?()
      return Summary()
    }
  }
}
