import Middlewares
import Pipeline
import PipelineTesting
import Synchronization
import Testing

/// A store that a test answers for.
private final class Store: TokenStore {
  struct Down: Error {}

  let state = Mutex<(grants: [TokenDigest: TokenGrant], version: UInt64, questions: Int, isDown: Bool)>(
    ([:], 0, 0, false))
  let gate: Signal?

  init(_ tokens: String..., gate: Signal? = nil) {
    self.gate = gate
    for token in tokens {
      state.withLock {
        $0.grants[TokenDigest(of: token)] = TokenGrant(AuthenticatedUser(Principal("user of " + token)))
      }
    }
  }

  var version: UInt64 { state.withLock { $0.version } }
  var questions: Int { state.withLock { $0.questions } }

  func grant(for token: BearerToken) async throws -> TokenGrant? {
    state.withLock { $0.questions += 1 }
    if let gate { await gate.fired() }
    return try state.withLock { state in
      if state.isDown { throw Down() }
      return state.grants[token.digest]
    }
  }
}

extension Signal {
  /// For tests: waits without a runtime.
  fileprivate func fired() async {
    await withCheckedContinuation { continuation in
      if !add(Resuming(continuation)) { continuation.resume() }
    }
  }
}

private final class Resuming: SignalWaiter {
  private let continuation: CheckedContinuation<Void, Never>
  init(_ continuation: CheckedContinuation<Void, Never>) { self.continuation = continuation }
  func signalled() { continuation.resume() }
}

struct TokenStoreTests {
  private func harness(_ auth: BearerAuth) throws -> ChainHarness<HTTPExchange> {
    try ChainHarness(
      Listener(.http, on: ":1") {
        auth
      } to: {
        Handle { try await $0.respond(text: $0.principal?.id ?? "-") }
      })
  }

  private func with(_ token: String, ip: String = "192.0.2.1") -> MockClient {
    client(.get, "/", ip: ip, ["authorization": "Bearer " + token])
  }

  private func status(_ harness: ChainHarness<HTTPExchange>, _ client: MockClient) async -> Int? {
    let run = await harness.start(client)
    await run.ended()
    return run.response?.status
  }

  @Test func anAnswerIsRememberedForAWhile() async throws {
    let store = Store("a")
    let harness = try harness(BearerAuth(store: store, remembering: .seconds(30)))
    for _ in 0..<3 { #expect(await status(harness, with("a")) == 200) }
    #expect(store.questions == 1)
    harness.clock.advance(by: .seconds(30))
    #expect(await status(harness, with("a")) == 200)
    #expect(store.questions == 2)
  }

  @Test func aNewVersionMakesAllAnswersWorthless() async throws {
    let store = Store("a")
    let harness = try harness(BearerAuth(store: store))
    #expect(await status(harness, with("a")) == 200)
    store.state.withLock { state in
      state.grants = [:]
      state.version += 1
    }
    #expect(await status(harness, with("a")) == 401)
  }

  @Test func requestsWithOneTokenShareOneQuestion() async throws {
    let gate = Signal()
    let store = Store("a", gate: gate)
    let harness = try harness(BearerAuth(store: store))
    var runs: [ExchangeRun] = []
    for _ in 0..<20 { runs.append(await harness.start(with("a"))) }
    gate.fire()
    for run in runs {
      await run.ended()
      #expect(run.response?.status == 200)
    }
    #expect(store.questions == 1)
  }

  @Test func aStoreThatIsDownLetsNobodyPassAndBlamesNobody() async throws {
    let store = Store("a")
    store.state.withLock { $0.isDown = true }
    let harness = try harness(BearerAuth(store: store, limits: LoginLimits(failuresPerUser: 1, failuresPerAddress: 1)))
    for _ in 0..<3 { #expect(await status(harness, with("a")) == 503) }
    store.state.withLock { $0.isDown = false }
    #expect(await status(harness, with("a")) == 200)
  }

  @Test func unknownTokensAreCountedAndTheStoreIsLeftInPeace() async throws {
    let store = Store("a")
    let harness = try harness(BearerAuth(store: store, limits: LoginLimits(failuresPerAddress: 3)))
    for i in 0..<3 { #expect(await status(harness, with("x\(i)")) == 401) }
    #expect(await status(harness, with("x9")) == 429)
    #expect(store.questions == 3)
    #expect(await status(harness, with("a", ip: "192.0.2.2")) == 200)
  }

  @Test func aClientThatGoesAwayTakesNobodyWithIt() async throws {
    let gate = Signal()
    let store = Store("a", gate: gate)
    let harness = try harness(BearerAuth(store: store))
    let first = await harness.start(with("a"))
    let second = await harness.start(with("a"))
    await first.cut()
    gate.fire()
    #expect(await first.ended() == .refused(.clientGone))
    await second.ended()
    #expect(second.response?.status == 200)
  }

  @Test func theDeadlineAboveEndsTheQuestion() async throws {
    let gate = Signal()
    let store = Store("a", gate: gate)
    let harness = try ChainHarness(.http) {
      Timeout(.seconds(1))
      BearerAuth(store: store)
    }
    let run = await harness.start(with("a"))
    #expect(run.outcome == .waiting)
    harness.clock.advance(by: .seconds(1))
    #expect(await run.ended() == .refused(.deadlineExceeded))
    #expect(run.response?.status == 504)
    gate.fire()
  }

  @Test func aTimeThatIsNotAllowedIsRefusedWhenTheAppIsBuilt() {
    #expect(
      problems { BearerAuth(store: Store(), remembering: .zero) }
        == ["bearer-auth: remembering is 0.0 seconds: 1 second to 1 hour is allowed"])
  }
}
