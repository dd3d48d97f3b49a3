import Middlewares
import Pipeline
import PipelineTesting
import Synchronization
import Testing

private let ada = UsageAccount.identity(Principal("ada"))
private let grace = UsageAccount.identity(Principal("grace"))

/// A wall clock that shows when the manual clock moves.
private func wallClock(_ clock: ManualClock) -> WallClock {
  WallClock { UnixTime(seconds: Int64(clock.now.nanoseconds / 1_000_000_000)) }
}

/// The numbers of an account, without its times.
private func numbers(_ totals: UsageTotals?) -> UsageChange? {
  totals.map {
    UsageChange(
      requests: $0.requests, connections: $0.connections, refused: $0.refused, failed: $0.failed, up: $0.up,
      down: $0.down)
  }
}

@Suite struct UsageTrackingTests {
  private let store = MemoryUsageStore()
  private let clock = ManualClock()

  private func used(_ account: UsageAccount) -> UsageChange? { numbers(store.totals(of: account)) }
  private var global: UsageChange? { numbers(store.global()) }

  private func harness<C: ChainElement>(
    @ChainBuilder<SOCKS5Exchange> _ chain: () -> C
  ) throws -> ChainHarness<SOCKS5Exchange> where C.Carrier == SOCKS5Exchange, C.Needs: MetByNothing {
    try ChainHarness(.socks5, clock: clock, chain: chain)
  }

  @Test func countsAnExchangeForWhoItTurnsOutToBe() async throws {
    let above = try harness {
      UsageTracking(store)
      NamedByClient()
    }
    let below = try harness {
      NamedByClient()
      UsageTracking(store)
    }
    for harness in [above, below] {
      #expect(
        await harness.run(MockClient(user: "ada")) { _ in Summary(traffic: Traffic(up: 10, down: 200)) }
          == .served(Summary(traffic: Traffic(up: 10, down: 200))))
    }
    #expect(used(ada) == UsageChange(requests: 2, connections: 2, up: 20, down: 400))
    #expect(global == used(ada))
    #expect(store.accounts().count == 1)
  }

  @Test func whoPassesWithoutALoginIsAnonymous() async throws {
    let harness = try harness { UsageTracking(store) }
    #expect(await harness.run() == .served())
    #expect(used(.anonymous) == UsageChange(requests: 1, connections: 1))
  }

  @Test func theIdentityNamedAnonymousIsTheSameAccount() async throws {
    let harness = try harness {
      UsageTracking(store)
      AnonymousAuth()
    }
    #expect(await harness.run() == .served())
    #expect(used(.anonymous) == UsageChange(requests: 1, connections: 1))
    #expect(store.accounts().count == 1)
  }

  @Test func whoIsTurnedAwayBeforeALoginIsUnauthenticated() async throws {
    let harness = try harness {
      UsageTracking(store)
      TokenBucket(.perHour(1), per: .global)
      NamedByClient()
    }
    #expect(await harness.run() == .refused(.credentialsRequired))
    #expect(await harness.run(MockClient(user: "ada")) == .refused(.rateLimited))
    #expect(used(.unauthenticated) == UsageChange(requests: 2, connections: 2, refused: 2))
    #expect(used(ada) == nil)
  }

  @Test func whoIsRefusedAfterALoginIsKnown() async throws {
    let harness = try harness {
      UsageTracking(store)
      NamedByClient()
      TokenBucket(.perHour(1), per: .identity)
    }
    #expect(await harness.run(MockClient(user: "ada")) == .served())
    #expect(await harness.run(MockClient(user: "ada")) == .refused(.rateLimited))
    #expect(used(ada) == UsageChange(requests: 2, connections: 2, refused: 1))
  }

  @Test func whatTheUpstreamOrTheClientBrokeIsFailedAndNotRefused() async throws {
    let harness = try harness {
      NamedByClient()
      UsageTracking(store)
    }
    let client = MockClient(user: "ada")
    _ = await harness.run(client) { _ in throw Rejection(.connectionRefused) }
    _ = await harness.run(client) { _ in throw Rejection(.clientGone) }
    let cut = await harness.start(client)
    await cut.move(up: 5, down: 7)
    await cut.cut(.draining)
    #expect(used(ada) == UsageChange(requests: 3, connections: 3, failed: 3, up: 5, down: 7))
  }

  @Test func countsOnceWhereARetryAboveRunsItAgain() async throws {
    let harness = try harness {
      NamedByClient()
      Retry(attempts: 3, backoff: .none)
      UsageTracking(store)
    }
    let run = await harness.start(MockClient(user: "ada"))
    await run.fail(Rejection(.connectionRefused))
    await run.fail(Rejection(.connectTimeout))
    await run.move(up: 3, down: 4)
    await run.finish(Summary(traffic: Traffic(up: 3, down: 4)))
    #expect(used(ada) == UsageChange(requests: 1, connections: 1, up: 3, down: 4))
  }

  @Test func countsOnceWhereARetryBelowRunsAndTheLastErrorHolds() async throws {
    let harness = try harness {
      UsageTracking(store)
      NamedByClient()
      Retry(attempts: 2, backoff: .none)
    }
    let run = await harness.start(MockClient(user: "ada"))
    await run.fail(Rejection(.connectionRefused))
    await run.fail(Rejection(.connectionRefused))
    #expect(used(ada) == UsageChange(requests: 1, connections: 1, failed: 1))
    #expect(global == used(ada))
  }

  @Test func countsOnceHoweverOftenItStandsInTheChain() async throws {
    let tracking = UsageTracking(store)
    let harness = try harness {
      tracking
      Retry(attempts: 2, backoff: .none)
      UsageTracking(store)
      NamedByClient()
      tracking
    }
    let run = await harness.start(MockClient(user: "ada"))
    await run.fail(Rejection(.connectionRefused))
    await run.move(up: 1, down: 2)
    await run.finish()
    #expect(used(ada) == UsageChange(requests: 1, connections: 1, up: 1, down: 2))
    #expect(global == used(ada))
  }

  @Test func twoStoresEachCountTheExchange() async throws {
    let other = MemoryUsageStore()
    let third = MemoryUsageStore()
    let harness = try harness {
      UsageTracking(store)
      UsageTracking(other)
      UsageTracking(third)
    }
    #expect(await harness.run() == .served())
    for store in [store, other, third] {
      #expect(numbers(store.totals(of: .anonymous)) == UsageChange(requests: 1, connections: 1))
    }
  }

  @Test func aLiveTunnelIsRecordedAtEveryTick() async throws {
    let harness = try harness {
      UsageTracking(store)
      NamedByClient()
    }
    let run = await harness.start(MockClient(user: "ada"))
    await run.move(up: 100, down: 1000)
    #expect(used(ada) == UsageChange(requests: 1, connections: 1, up: 100, down: 1000))
    await run.move(up: 1, down: 1)
    #expect(used(ada) == UsageChange(requests: 1, connections: 1, up: 101, down: 1001))
    await run.finish(Summary(traffic: Traffic(up: 101, down: 1001)))
    #expect(used(ada) == UsageChange(requests: 1, connections: 1, up: 101, down: 1001))
  }

  @Test func bytesLandOnTheIdentityThatBecomesKnownLater() async throws {
    let harness = try harness { UsageTracking(store) }
    let run = await harness.start()
    await run.move(up: 10, down: 20)
    #expect(used(.anonymous) == UsageChange(requests: 1, connections: 1, up: 10, down: 20))
    await run.perform { $0.principal = Principal("grace") }
    await run.move(up: 1, down: 2)
    #expect(used(grace) == UsageChange(requests: 1, connections: 1, up: 11, down: 22))
    await run.perform { $0.principal = Principal("ada") }
    await run.finish()
    #expect(used(ada) == UsageChange(requests: 1, connections: 1, up: 11, down: 22))
    #expect(used(grace) == nil)
    #expect(used(.anonymous) == nil)
    #expect(global == used(ada))
  }

  @Test func aKeptConnectionCountsOnceAndItsRequestsEach() async throws {
    let exchange = MockHTTPExchange()
    let tracking = UsageTracking(store)
    exchange.principal = Principal("ada")
    _ = try await tracking.handle(exchange) { Summary(traffic: Traffic(up: 5, down: 6)) }
    for id in 2...3 as ClosedRange<UInt64> {
      exchange.recycle(id: id)
      exchange.principal = Principal("grace")
      _ = try await tracking.handle(exchange) { Summary(traffic: Traffic(up: 1, down: 1)) }
    }
    #expect(used(ada) == UsageChange(requests: 1, connections: 1, up: 5, down: 6))
    #expect(used(grace) == UsageChange(requests: 2, connections: 0, up: 2, down: 2))
  }

  @Test func remembersWhenAnIdentityWasFirstAndLastSeen() async throws {
    let store = MemoryUsageStore(clock: wallClock(clock))
    let harness = try harness {
      NamedByClient()
      UsageTracking(store)
    }
    _ = await harness.run(MockClient(user: "ada"))
    clock.advance(by: .seconds(9))
    _ = await harness.run(MockClient(user: "grace"))
    let run = await harness.start(MockClient(user: "ada"))
    clock.advance(by: .seconds(5))
    await run.finish()
    #expect(store.totals(of: ada)?.firstSeen == UnixTime(seconds: 1))
    #expect(store.totals(of: ada)?.lastSeen == UnixTime(seconds: 15))
    #expect(store.totals(of: grace)?.lastSeen == UnixTime(seconds: 10))
    #expect(store.global()?.firstSeen == UnixTime(seconds: 1))
    #expect(store.global()?.lastSeen == UnixTime(seconds: 15))
  }

  @Test func aReloadKeepsUsageThatIsHeldInMemoryOfItsOwn() async throws {
    let first = UsageTracking()
    let old = try harness { first }
    _ = await old.run()
    let second = UsageTracking()
    let new = try ChainHarness(.socks5, clock: clock, replacing: old.service.placement) { second }
    _ = await new.run()
    #expect(first.store.global()?.requests == 2)
  }

  @Test func everyExchangeOfAMixedCrowdIsCountedOnce() async throws {
    let harness = try harness {
      Retry(attempts: 3, backoff: .none)
      UsageTracking(store)
      TokenBucket(.perSecond(400), per: .clientAddress)
      NamedByClient()
      UsageTracking(store)
      ConcurrencyLimit(3, per: .identity)
    }
    var random = SeededRandom(seed: 11)
    var open: [ExchangeRun] = []
    for _ in 0..<1000 {
      let user = ["ada", "grace", nil][Int(random.next() % 3)]
      open.append(await harness.start(MockClient(user: user)))
      if random.next() % 2 == 0, let run = open.filter(\.isAtEnd).randomElement(using: &random) {
        switch random.next() % 5 {
        case 0: await run.fail(Rejection(.connectionRefused))
        case 1: await run.fail(CancellationError())
        case 2: await run.cut(.clientGone)
        case 3: await run.move(up: 1, down: 2)
        default: await run.finish(Summary(traffic: Traffic(up: 3, down: 4)))
        }
      }
      if random.next() % 10 == 0 { clock.advance(by: .milliseconds(20)) }
    }
    for run in open { await run.cut(.draining) }
    let all = store.accounts().values
    #expect(global?.requests == 1000)
    #expect(all.map(\.requests).reduce(0, +) == 1000)
    #expect(all.map(\.connections).reduce(0, +) == 1000)
    let refusedOrFailed = open.count { if case .served = $0.outcome { false } else { true } }
    #expect(all.map { $0.refused + $0.failed }.reduce(0, +) == refusedOrFailed)
    #expect(store.accounts().values.allSatisfy { $0.refused >= 0 && $0.failed >= 0 && $0.up >= 0 })
  }
}

@Suite struct MemoryUsageStoreTests {
  private let time = UnixTime(seconds: 1)

  @Test func identitiesBeyondTheBoundAreCountedTogether() {
    let store = MemoryUsageStore(maxAccounts: 10)
    for number in 0..<50 {
      store.record(UsageChange(requests: 1, up: 2), for: .identity(Principal("user\(number)")), at: time)
    }
    store.record(UsageChange(requests: 1), for: .anonymous, at: time)
    #expect(store.accounts().count == 12)
    #expect(store.totals(of: .others)?.requests == 40)
    #expect(store.totals(of: .anonymous)?.requests == 1)
    #expect(store.global()?.requests == 51)
    #expect(store.global()?.up == 100)
  }

  @Test func anAccountWhoseUsageWasTakenBackMakesRoom() {
    let store = MemoryUsageStore(maxAccounts: 1)
    store.record(UsageChange(requests: 1), for: .identity(Principal("a")), at: time)
    store.record(UsageChange(requests: -1), for: .identity(Principal("a")), at: time)
    store.record(UsageChange(requests: 1), for: .identity(Principal("b")), at: time)
    #expect(store.accounts().keys.map(\.description) == ["b"])
  }

  @Test func manyThreadsLoseNothing() async {
    let store = MemoryUsageStore()
    await withTaskGroup(of: Void.self) { group in
      for worker in 0..<4 {
        group.addTask {
          for number in 0..<5000 {
            store.record(
              UsageChange(requests: 1, up: 3), for: .identity(Principal("user\((number + worker) % 7)")),
              at: UnixTime(seconds: Int64(number)))
          }
        }
      }
    }
    #expect(store.global()?.requests == 20_000)
    #expect(store.global()?.up == 60_000)
    #expect(store.accounts().values.map(\.requests).reduce(0, +) == 20_000)
    #expect(store.global()?.firstSeen == UnixTime(seconds: 0))
    #expect(store.global()?.lastSeen == UnixTime(seconds: 4999))
  }
}
