import CMallocCount
import Pipeline
import PipelineTesting
import Synchronization
import Testing

struct ForeignAwaitTests {
  @Test func aForeignAnswerComesBack() async throws {
    let harness = try ChainHarness(.tcp) { Asks { 42 } }
    let run = await harness.start()
    await run.reachedEnd()
    await run.finish(Summary(traffic: Traffic(up: 42)))
    #expect(run.outcome == .served(Summary(traffic: Traffic(up: 42))))
  }

  @Test func aForeignErrorComesBackAsItIs() async throws {
    let harness = try ChainHarness(.tcp) { Asks { throw Broken() } }
    let run = await harness.start()
    #expect(await run.ended() == .failed("Broken()"))
  }

  @Test func theDeadlineEndsAForeignAwaitAndCancelsIt() async throws {
    let cancelled = Signal()
    let exchange = MockTCPExchange()
    let clock = (exchange.runtime as? TestRuntime)?.clock
    exchange.deadline = exchange.now + .seconds(5)
    let mover = Task {
      // Parked waits with a deadline are not sleeps: the test goes on as soon as the foreign task has begun.
      await begun.value
      clock?.advance(by: .seconds(5))
    }
    await #expect(throws: DeadlineExceeded.self) {
      try await exchange.bounded {
        begun.fire()
        await untilCancelled()
        cancelled.fire()
      }
    }
    await mover.value
    await cancelled.fired()
    #expect(cancelled.hasFired)
  }

  private let begun = Begun()
}

/// Something that has happened, for a test to await.
private final class Begun: Sendable {
  private let stream = AsyncStream<Void>.makeStream()
  func fire() { stream.continuation.finish() }
  var value: Void { get async { for await _ in stream.stream {} } }
}

private func untilCancelled() async {
  let (stream, continuation) = AsyncStream<Void>.makeStream()
  await withTaskCancellationHandler {
    for await _ in stream {}
  } onCancel: {
    continuation.finish()
  }
}

extension Signal {
  fileprivate func fired() async {
    let waiter = Begun()
    if add(Told(waiter)) { await waiter.value }
  }
}

private final class Told: SignalWaiter {
  let begun: Begun
  init(_ begun: Begun) { self.begun = begun }
  func signalled() { begun.fire() }
}

private struct Asks: Middleware {
  let answer: @Sendable () async throws -> UInt64
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    exchange.traffic.up = try await exchange.bounded(answer)
    return try await next()
  }
}

struct RememberedIdentityTests {
  private let header: [UInt8] = Array("Basic YS11c2VyLW5hbWUtbG9uZ2VyLXRoYW4tMTUtYnl0ZXM6cHc=".utf8)
  private let state = Order()

  @Test func equalBytesOfTheSameVersionGiveTheIdentityAgain() {
    let exchange = MockHTTPExchange()
    #expect(exchange.rememberedIdentity(Principal.self, for: header.span, by: state, version: 1) == nil)
    exchange.rememberIdentity(Principal("ann"), for: header.span, by: state, version: 1)
    exchange.recycle(id: 2)
    #expect(exchange.rememberedIdentity(Principal.self, for: header.span, by: state, version: 1) == Principal("ann"))
  }

  @Test func otherBytesDoNot() {
    let exchange = MockHTTPExchange()
    exchange.rememberIdentity(Principal("ann"), for: header.span, by: state, version: 1)
    var other = header
    other[other.count - 1] ^= 1
    #expect(exchange.rememberedIdentity(Principal.self, for: other.span, by: state, version: 1) == nil)
    other.removeLast()
    #expect(exchange.rememberedIdentity(Principal.self, for: other.span, by: state, version: 1) == nil)
  }

  @Test func aChangedStateForgets() {
    let exchange = MockHTTPExchange()
    exchange.rememberIdentity(Principal("ann"), for: header.span, by: state, version: 1)
    #expect(exchange.rememberedIdentity(Principal.self, for: header.span, by: state, version: 2) == nil)
    // Not even the old version gives it again: it is gone.
    #expect(exchange.rememberedIdentity(Principal.self, for: header.span, by: state, version: 1) == nil)
  }

  @Test func anotherAuthenticatorDoesNotGiveIt() {
    let exchange = MockHTTPExchange()
    exchange.rememberIdentity(Principal("ann"), for: header.span, by: state, version: 1)
    #expect(exchange.rememberedIdentity(Principal.self, for: header.span, by: Order(), version: 1) == nil)
  }

  @Test func anExpiredAnswerIsForgotten() {
    let clock = ManualClock()
    let exchange = MockHTTPExchange(runtime: TestRuntime(clock: clock))
    exchange.rememberIdentity(
      Principal("ann"), for: header.span, by: state, version: 1, until: clock.now + .seconds(10))
    clock.advance(by: .seconds(9))
    #expect(exchange.rememberedIdentity(Principal.self, for: header.span, by: state, version: 1) != nil)
    clock.advance(by: .seconds(1))
    #expect(exchange.rememberedIdentity(Principal.self, for: header.span, by: state, version: 1) == nil)
  }
}

struct AllocationTests {
  private static let isCounted = malloc_is_counted() != 0
  /// Unoptimised code allocates where optimised code does not; `ChainBenchmark --check` holds the release build to 0.
  private static let isOptimised = isCounted && !_isDebugAssertConfiguration()

  /// Allocations of one pass after the first ones.
  private func mallocs(_ body: () async throws -> Void) async rethrows -> UInt {
    for _ in 0..<3 { try await body() }
    let before = malloc_count_of_this_thread()
    try await body()
    return malloc_count_of_this_thread() - before
  }

  /// On the heap: an optimiser that sees it made would keep it on the stack.
  @inline(never) private static func anOrder() -> Order { Order() }

  @Test(.enabled(if: isCounted)) func theCounterCounts() async {
    #expect(await mallocs { _ = withExtendedLifetime(Self.anOrder()) { $0.ids.count } } > 0)
  }

  @Test(.enabled(if: isCounted)) func aWarmPassThroughFiveElementsAllocatesNothing() async throws {
    let service = try Service(
      Listener(.socks5, on: ":1") {
        Pass(); PlainAuth(); PerUserPass(); BreakIfAsked(); Pass()
      } to: {
        Served()
      }, shards: 1)
    let exchange = MockSOCKS5Exchange()
    let count = try await mallocs {
      exchange.recycle(id: 1)
      _ = try await service.serve(exchange)
    }
    #expect(count == 0)
  }

  @Test(.enabled(if: isOptimised)) func aWarmHTTPPassWithAResponsePhaseAllocatesNothing() async throws {
    let service = try Service(
      Listener(.http, on: ":1") {
        SetHeader("x-served-by", "sluice")
        Pass()
        SetHeader("x-inner", "1")
      } to: {
        Route("/a", methods: [.post], to: { Commits() })
        Route("/users/:id") {
          Pass()
        } to: {
          Commits()
        }
      }, shards: 1)
    let exchange = Unwritten(
      id: 1, client: MockHTTPExchange().client, listener: MockHTTPExchange().listener, runtime: TestRuntime(),
      request: HTTPRequestHead(method: .get, target: "/users/7/x"))
    let count = try await mallocs {
      exchange.recycle(id: 1)
      _ = try await service.serve(exchange)
    }
    #expect(count == 0)
  }

  @Test(.enabled(if: isOptimised)) func aKeyOnAKeptConnectionAllocatesOnce() async {
    let exchange = MockTCPExchange()
    let count = await mallocs {
      exchange.recycle(id: 1)
      exchange[Number.self] = exchange[Number.self] + 1
    }
    #expect(count == 0)
    #expect(exchange[Number.self] == 1)
  }

  @Test(.enabled(if: isOptimised)) func aRememberedIdentityCostsNothing() async {
    let header: [UInt8] = Array("Basic YS11c2VyLW5hbWUtbG9uZ2VyLXRoYW4tMTUtYnl0ZXM6cHc=".utf8)
    let exchange = MockHTTPExchange()
    let state = Order()
    exchange.rememberIdentity(Principal("a-user-name-longer-than-15-bytes"), for: header.span, by: state, version: 1)
    var found = 0
    let count = await mallocs {
      if exchange.rememberedIdentity(Principal.self, for: header.span, by: state, version: 1) != nil { found += 1 }
    }
    #expect(count == 0)
    #expect(found == 4)
  }
}

private struct Number: ExchangeKey {
  static var defaultValue: Int { 0 }
}

private struct PlainAuth: Authenticator {
  func authenticate(_ exchange: Exchange) async throws -> Principal { Principal("ann") }
}

private struct PerUserPass: IdentityMiddleware {
  typealias Needs = SomeIdentity
  func handle(_ exchange: Exchange, identity: Principal, next: Next) async throws -> Summary { try await next() }
}

private struct BreakIfAsked: Middleware {
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    let summary = try await next()
    if exchange.attempt > 1 { throw Broken() }
    return summary
  }
}

private final class Unwritten: HTTPExchange {}

private struct Commits: Destination {
  func serve(_ exchange: HTTPExchange) async throws -> Summary {
    try await exchange.commit { $0.fields.set("content-type", "text/plain") }
    return Summary()
  }
}
