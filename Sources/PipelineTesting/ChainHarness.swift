public import Pipeline
import Synchronization

/// A chain under test: placed, validated and counted like in an app, with a manual clock, and with an end that the test
/// plays by hand.
///
/// ```swift
/// let harness = try ChainHarness(.socks5) { TokenBucket(.perSecond(1), per: .clientAddress) }
/// #expect(await harness.run() == .served())
/// #expect(await harness.run() == .refused(.rateLimited))
/// harness.clock.advance(by: .seconds(1))
/// #expect(await harness.run() == .served())
/// ```
///
/// Exchanges run on the test's own thread, on a ``ManualLoop``: when a call of the harness returns, every exchange has ended
/// or waits for something that the test decides.
public final class ChainHarness<Carrier: TransportExchange>: Sendable {
  public let clock: ManualClock
  public let loop = ManualLoop()
  public let network = MockNetwork()
  /// What the chain logged.
  public let log = LogRecorder()
  /// The placed chain.
  public let service: any Serving<Carrier>

  private let listener: ListenerInfo
  private let seed: UInt64
  private let runs = Mutex<[ExchangeRun]>([])

  /// A chain whose end is played by hand.
  ///
  /// - Parameters:
  ///   - shards: loops that the chain is counted for; `run(on:)` and `start(on:)` choose one.
  ///   - seed: decides every random number.
  /// - Throws: ``ConfigurationError`` when the chain does not validate.
  public convenience init<C: ChainElement>(
    _ transport: TransportKind<Carrier>, clock: ManualClock = ManualClock(), seed: UInt64 = 1, shards: Int = 1,
    options: ListenerOptions = ListenerOptions(), replacing old: Placement? = nil,
    @ChainBuilder<Carrier> chain: () -> C
  ) throws where C.Carrier == Carrier, C.Needs: MetByNothing {
    let program = Then(chain(), DestinationBuilder<Carrier>.buildExpression(HandDrivenEnd()))
    let listener = Listener<Carrier, Then<C, End<Carrier, HandDrivenEnd>>>(
      transport, "127.0.0.1:1", nil, program,
      { ready in
        { exchange in try await ready.program.pass(exchange, C.Needs.value) { _ in throw Rejection(.noRoute) } }
      },
      { ready, head, exchange in try ready.program.respond(&head, on: exchange) })
    try self.init(
      listener.options { $0 = options }, clock: clock, seed: seed, shards: shards, replacing: old)
  }

  /// A whole listener, with its own destinations.
  public init<Program: ChainElement>(
    _ listener: Listener<Carrier, Program>, clock: ManualClock = ManualClock(), seed: UInt64 = 1, shards: Int = 1,
    replacing old: Placement? = nil
  ) throws where Program.Carrier == Carrier, Program.Needs: MetByNothing {
    service = try Service(listener, shards: shards, replacing: old)
    self.clock = clock
    self.seed = seed
    self.listener = ListenerInfo(
      name: listener.name, transport: Carrier.transport,
      address: SocketAddress(listener.address) ?? .ip(.loopbackV4, port: 1), options: listener.options)
    clock.attach(loop)
  }

  /// Sends one client through the chain and serves it at once.
  ///
  /// - Parameter end: what the destination does. Default: nothing, and it is served.
  /// - Returns: how it ended; `.waiting` when it waits for the clock or for something else that the test decides.
  @discardableResult public func run(
    _ client: MockClient = MockClient(), on shard: Int = 0,
    end: @escaping @Sendable (Exchange) async throws -> Summary = { Summary(traffic: $0.traffic) }
  ) async -> Outcome {
    let run = begin(client, shard, end)
    await loop.settle()
    return run.outcome
  }

  /// As ``run(_:on:end:)``, for a test that looks at the response.
  public func send(
    _ client: MockClient = MockClient(), on shard: Int = 0, end: @escaping @Sendable (Exchange) async throws -> Summary
  ) async -> ExchangeRun {
    let run = begin(client, shard, end)
    await loop.settle()
    return run
  }

  /// Sends one client through the chain. When it reaches the end, the test decides: ``ExchangeRun/finish(_:)``,
  /// ``ExchangeRun/fail(_:)``.
  public func start(_ client: MockClient = MockClient(), on shard: Int = 0) async -> ExchangeRun {
    let run = begin(client, shard, nil)
    await loop.settle()
    return run
  }

  /// Cuts what still runs (as a drain does) and waits until it has ended.
  public func shutDown() async {
    for run in runs.withLock({ $0 }) { run.control.cut(.draining) }
    await loop.settle()
  }

  func begin(
    _ client: MockClient, _ shard: Int, _ end: (@Sendable (Exchange) async throws -> Summary)?
  ) -> ExchangeRun {
    let run = runs.withLock { runs in
      let run = ExchangeRun(id: UInt64(runs.count + 1), loop: loop, end: end)
      runs.append(run)
      return run
    }
    loop.start { [self] in
      let runtime = TestRuntime(
        clock: clock, loop: loop, network: network, seed: seed &+ run.id, shard: shard, log: log,
        control: run.control)
      let exchange = mockExchange(of: Carrier.self, id: run.id, client: client, listener: listener, runtime: runtime)
      exchange[CurrentRun.self] = run
      do {
        let summary = try await service.serve(exchange)
        run.ended(.served(summary), exchange)
      } catch {
        if let http = exchange as? HTTPExchange, !http.isCommitted {
          do {
            try await http.refuse(error)
          } catch {
            run.ended(Outcome(error), exchange, rejection: error as? Rejection)
            return
          }
        }
        run.ended(Outcome(error), exchange, rejection: error as? Rejection)
      }
    }
    return run
  }
}

/// The exchange that stands for a transport in tests.
private func mockExchange<Carrier: TransportExchange>(
  of type: Carrier.Type, id: UInt64, client: MockClient, listener: ListenerInfo, runtime: TestRuntime
) -> Carrier {
  let candidates: [any MockExchange.Type] = [MockTCPExchange.self, MockSOCKS5Exchange.self, MockHTTPExchange.self]
  for candidate in candidates where candidate is Carrier.Type {
    let exchange = candidate.init(id: id, client: client, listener: listener, runtime: runtime, stream: nil)
    if let exchange = exchange as? Carrier { return exchange }
  }
  preconditionFailure("no mock exchange is a \(type)")
}

struct CurrentRun: ExchangeKey {
  static var defaultValue: ExchangeRun? { nil }
}

/// The destination of a harness: what it does, the test says.
public struct HandDrivenEnd: Destination {
  public static var label: String { "test" }

  init() {}

  public func serve(_ exchange: Exchange) async throws -> Summary {
    guard let run = exchange[CurrentRun.self] else { preconditionFailure("no harness has started this exchange") }
    return try await run.serve(exchange)
  }
}
