import Pipeline
import PipelineTesting
import Synchronization
import Testing

@testable import Middlewares

@Suite struct RateLimitTests {
  @Test func refusesAsATokenBucketDoes() async throws {
    let harness = try ChainHarness(.http) { RateLimit(.perSecond(2, burst: 3), per: .clientAddress) }
    for _ in 0..<3 { #expect(await harness.run() == .served()) }
    let refused = await harness.start()
    #expect(refused.outcome == .refused(.rateLimited))
    #expect(refused.rejection?.detail == "2 per second, burst 3, per client-address")
    #expect(refused.response?.status == 429)
    #expect(refused.response?.fields["ratelimit"] == "\"client-address\";r=0;t=1")
    harness.clock.advance(by: .milliseconds(500))
    #expect(await harness.run() == .served())
  }

  @Test func aCostThatNeverFitsNamesNoTime() async throws {
    let harness = try ChainHarness(.http) { RateLimit(.perSecond(2), per: .global, cost: 3) }
    let refused = await harness.start()
    #expect(refused.response?.status == 429)
    #expect(refused.response?.fields["retry-after"] == nil)
  }

  // MARK: Waiting

  @Test func waitsUntilThereIsATokenInTheOrderOfArrival() async throws {
    let harness = try ChainHarness(.tcp, shards: 2) {
      RateLimit(.perSecond(1), per: .global, when: .wait(max: .seconds(10)))
    }
    #expect(await harness.run() == .served())
    let waiting = [await harness.start(on: 1), await harness.start(on: 0), await harness.start(on: 1)]
    #expect(waiting.allSatisfy { $0.outcome == .waiting && $0.calls == 0 })
    for index in 0..<3 {
      harness.clock.advance(by: .milliseconds(999))
      #expect(!waiting[index].isAtEnd)
      harness.clock.advance(by: .milliseconds(1))
      await waiting[index].settle()
      #expect(waiting.map(\.isAtEnd) == (0..<3).map { $0 <= index })
    }
    for run in waiting { await run.finish() }
  }

  @Test func aNewcomerDoesNotOvertakeThoseWhoWait() async throws {
    let harness = try ChainHarness(.tcp) {
      RateLimit(
        .perSecond(1, burst: 2), per: .global, when: .wait(max: .seconds(10)), cost: .each { $0.id == 3 ? 1 : 2 })
    }
    #expect(await harness.run() == .served())
    let dear = await harness.start()
    harness.clock.advance(by: .seconds(1))
    // One token is there, which would do for the newcomer.
    let cheap = await harness.start()
    #expect(!dear.isAtEnd && !cheap.isAtEnd)
    harness.clock.advance(by: .seconds(1))
    await dear.settle()
    #expect(dear.isAtEnd && !cheap.isAtEnd)
    harness.clock.advance(by: .seconds(1))
    await cheap.settle()
    #expect(cheap.isAtEnd)
    await dear.finish()
    await cheap.finish()
  }

  @Test func refusesAtOnceWhatWouldWaitTooLong() async throws {
    let harness = try ChainHarness(.http) {
      RateLimit(.perMinute(1), per: .global, when: .wait(max: .seconds(2)))
    }
    #expect(await harness.run() == .served())
    let refused = await harness.start()
    #expect(refused.response?.status == 429)
    #expect(refused.response?.fields["retry-after"] == "60")
  }

  @Test func aPlaceInTheLineThatComesTooLateIsRefused() async throws {
    let harness = try ChainHarness(.tcp) {
      RateLimit(.perSecond(1), per: .global, when: .wait(max: .milliseconds(1500)))
    }
    #expect(await harness.run() == .served())
    let first = await harness.start()
    let second = await harness.start()
    harness.clock.advance(by: .seconds(1))
    await first.settle()
    #expect(first.isAtEnd)
    // The next token is half a second too late.
    #expect(second.outcome == .refused(.rateLimited))
    await first.finish()
  }

  @Test func theLineIsBounded() async throws {
    let harness = try ChainHarness(.socks5) {
      NamedByClient()
      RateLimit(.perSecond(1), per: .identity, when: .wait(max: .seconds(60), queue: 2))
    }
    let ada = MockClient(user: "ada")
    #expect(await harness.run(ada) == .served())
    let waiting = [await harness.start(ada), await harness.start(ada)]
    #expect(await harness.run(ada) == .refused(.rateLimited))
    #expect(await harness.run(MockClient(user: "eve")) == .served())
    harness.clock.advance(by: .seconds(1))
    await waiting[0].settle()
    #expect(waiting[0].isAtEnd)
    harness.clock.advance(by: .seconds(1))
    await waiting[1].settle()
    for run in waiting { await run.finish() }
  }

  @Test func aClientThatGoesAwayLeavesTheLineAndTakesNothing() async throws {
    let harness = try ChainHarness(.tcp) {
      RateLimit(.perSecond(1), per: .global, when: .wait(max: .seconds(60)))
    }
    #expect(await harness.run() == .served())
    let first = await harness.start()
    let second = await harness.start()
    let third = await harness.start()
    await first.cut(.clientGone)
    await second.cut(.clientGone)
    #expect(first.outcome == .refused(.clientGone) && second.outcome == .refused(.clientGone))
    harness.clock.advance(by: .seconds(1))
    await third.settle()
    #expect(third.isAtEnd)
    await third.finish()
    harness.clock.advance(by: .seconds(1))
    #expect(await harness.run() == .served())
  }

  @Test func aNearerDeadlineAboveEndsTheWaitAsItsOwn() async throws {
    let harness = try ChainHarness(.tcp) {
      Timeout(.milliseconds(500))
      RateLimit(.perSecond(1), per: .global, when: .wait(max: .seconds(60)))
    }
    #expect(await harness.run() == .served())
    let waiting = await harness.start()
    harness.clock.advance(by: .milliseconds(500))
    #expect(waiting.outcome == .refused(.deadlineExceeded))
  }

  // MARK: Costs

  @Test func anExchangeTakesWhatItCosts() async throws {
    let harness = try ChainHarness(.http) {
      RateLimit(
        .perHour(10), per: .global, cost: .each { ($0 as? HTTPExchange)?.request.method == .post ? 5 : 0 },
        headers: .always)
    }
    for _ in 0..<20 { #expect(await harness.run(MockClient(method: .get)) == .served()) }
    #expect(await harness.run(MockClient(method: .post)) == .served())
    #expect(await harness.run(MockClient(method: .post)) == .served())
    #expect(await harness.run(MockClient(method: .post)) == .refused(.rateLimited))
  }

  @Test func whatWasReservedTooMuchIsGivenBackHoweverTheExchangeEnds() async throws {
    let harness = try ChainHarness(.tcp) {
      RateLimit(.perHour(10), per: .global, cost: .settled(estimate: 10) { _ in 2 })
    }
    let served = await harness.start()
    #expect(await harness.run() == .refused(.rateLimited))
    await served.finish()
    // 8 are left: the estimate no longer fits.
    #expect(await harness.run() == .refused(.rateLimited))
    let failing = try ChainHarness(.tcp) {
      RateLimit(.perHour(10), per: .global, cost: .settled(estimate: 4) { _ in 0 })
    }
    for _ in 0..<5 {
      let failed = await failing.start()
      await failed.fail(Rejection(.connectionRefused))
      let gone = await failing.start()
      await gone.cut(.clientGone)
      #expect(gone.outcome == .refused(.clientGone))
    }
    let two = [await failing.start(), await failing.start()]
    #expect(two.allSatisfy { $0.isAtEnd })
    #expect(await failing.run() == .refused(.rateLimited))
    for run in two { await run.finish() }
  }

  @Test func whatCostMoreIsChargedOnceAndPaidBeforeTheNext() async throws {
    let harness = try ChainHarness(.tcp) { RateLimit(.perSecond(10), per: .global, cost: .bytes(estimate: 1)) }
    let run = await harness.start()
    await run.move(up: 15, down: 10)
    await run.finish(Summary(traffic: Traffic(up: 15, down: 10)))
    // 25 of 10 were used: 15 are owed, and with the next one's own 1 that is 1.6 s.
    #expect(await harness.run() == .refused(.rateLimited))
    harness.clock.advance(by: .milliseconds(1500))
    #expect(await harness.run() == .refused(.rateLimited))
    harness.clock.advance(by: .milliseconds(100))
    #expect(await harness.run() == .served())
  }

  @Test func aResponseNamesItsCost() async throws {
    let harness = try ChainHarness(.http) {
      RateLimit(.perHour(10), per: .global, cost: .responseField("x-cost", estimate: 1)).named("outer")
      RateLimit(.perHour(100), per: .global, cost: .responseField("x-cost", estimate: 1)).named("inner")
    }
    let run = await harness.send { exchange in
      guard let exchange = exchange as? HTTPExchange else { return Summary() }
      return try await exchange.respond(200) { $0.fields.set("x-cost", "9") }
    }
    #expect(run.response?.status == 200)
    // Without the field the estimate holds.
    #expect(await harness.run() == .served())
    #expect(await harness.run() == .refused(.rateLimited))
  }

  @Test func aCostFromAResponseIsRefusedWhereThereIsNone() {
    let found = complaints {
      _ = try ChainHarness(.socks5) {
        RateLimit(.perHour(1), per: .global, cost: .responseField("x-cost", estimate: 1))
        RateLimit(.perHour(1), per: .global, when: .wait(max: .zero, queue: 0), cost: -1).named("b")
      }
    }
    #expect(
      found == [
        "rate-limit: its cost is read from the field x-cost of a response, which only HTTP has: use .settled",
        "rate-limit \"b\": a wait of 0.0 seconds: it must be more than 0 seconds",
        "rate-limit \"b\": a queue of 0: 1 to 100,000 are allowed",
        "rate-limit \"b\": a cost of -1: 0 to 1,000,000,000 tokens are allowed",
      ])
  }

  // MARK: Stores

  @Test func aSharedStoreNeedsKeysThatMeanTheSameEverywhere() {
    let found = complaints {
      _ = try ChainHarness(.socks5) {
        RateLimit(per: .clientAddress, store: ScriptedStore()).named("address")
        RateLimit(per: .destination, store: ScriptedStore())
      }
    }
    #expect(
      found == [
        "rate-limit: other processes would not find the balances of a limit per destination: give the store a secret for "
          + "its keys"
      ])
  }

  @Test func aLimitThatWasSetForOneKeyHolds() async throws {
    let store = MemoryLimitStore(.perHour(1), algorithm: .tokenBucket)
    let harness = try ChainHarness(.tcp) { RateLimit(per: .global, store: store) }
    try store.set(.global, tokens: 3, interval: .seconds(3600), now: harness.clock.now)
    for _ in 0..<3 { #expect(await harness.run() == .served()) }
    #expect(await harness.run() == .refused(.rateLimited))
  }

  @Test func aStoreThatCannotSayIsAnOverload() async throws {
    let store = ScriptedStore()
    let harness = try ChainHarness(.http) { RateLimit(.perHour(1), per: .global, store: store) }
    store.fails.store(true, ordering: .relaxed)
    let refused = await harness.start()
    #expect(refused.response?.status == 503)
    #expect(refused.rejection?.detail == "the limit store is not available: gone")
    store.fails.store(false, ordering: .relaxed)
    #expect(await harness.run() == .served())
  }

  @Test func anExchangeThatIsHeldBackGoesOnLater() async throws {
    let store = ScriptedStore(delay: .seconds(2))
    let harness = try ChainHarness(.tcp) { RateLimit(.perHour(1), per: .global, store: store) }
    let held = await harness.start()
    #expect(!held.isAtEnd)
    harness.clock.advance(by: .seconds(2))
    await held.settle()
    #expect(held.isAtEnd)
    await held.finish()
    let gone = await harness.start()
    await gone.cut(.clientGone)
    #expect(gone.outcome == .refused(.clientGone))
    #expect(store.refunded.load(ordering: .relaxed) == 1)
  }

  @Test func limitsThatShareAStoreShareTheBalances() async throws {
    let store = MemoryLimitStore(.perHour(2), algorithm: .tokenBucket)
    let one = try ChainHarness(.tcp) { RateLimit(.perHour(2), per: .clientAddress, store: store) }
    let two = try ChainHarness(.tcp) { RateLimit(.perHour(2), per: .clientAddress, store: store) }
    #expect(await one.run() == .served())
    #expect(await two.run() == .served())
    #expect(await one.run() == .refused(.rateLimited))
  }

  // MARK: Shadow and reload

  @Test func inShadowItDecidesAndLetsPass() async throws {
    let noted = ShadowNotes()
    let harness = try ChainHarness(.tcp) {
      RateLimit(.perHour(1), per: .global).shadow { noted.note($0.detail) }
    }
    for _ in 0..<3 { #expect(await harness.run() == .served()) }
    #expect(noted.notes.count == 2)
  }

  @Test func aReloadKeepsBalancesAndThoseWhoWait() async throws {
    let old = try ChainHarness(.tcp) { RateLimit(.perSecond(1), per: .global, when: .wait(max: .seconds(9))) }
    #expect(await old.run() == .served())
    let waiting = await old.start()
    let new = try ChainHarness(.tcp, clock: old.clock, replacing: old.service.placement) {
      RateLimit(.perSecond(1), per: .global, when: .wait(max: .seconds(9)))
    }
    let newcomer = await new.start()
    #expect(!newcomer.isAtEnd)
    old.clock.advance(by: .seconds(1))
    await waiting.settle()
    await newcomer.settle()
    #expect(waiting.isAtEnd && !newcomer.isAtEnd)
    old.clock.advance(by: .seconds(1))
    await newcomer.settle()
    #expect(newcomer.isAtEnd)
    await waiting.finish()
    await newcomer.finish()
  }

  @Test func aReloadWithAnotherRateNeverRefills() async throws {
    let old = try ChainHarness(.tcp) { RateLimit(.perHour(2), per: .global) }
    for _ in 0..<2 { #expect(await old.run() == .served()) }
    let new = try ChainHarness(.tcp, clock: old.clock, replacing: old.service.placement) {
      RateLimit(.perHour(20), per: .global)
    }
    #expect(await new.run() == .refused(.rateLimited))
  }
}

/// A store in another place: asked with a wait, told what to say.
private final class ScriptedStore: LimitStore {
  let rate = Rate.perHour(1)
  let fails = Atomic<Bool>(false)
  let refunded = Atomic<Int>(0)
  private let delay: Duration

  init(delay: Duration = .zero) { self.delay = delay }

  func take(_ key: LimitKey, cost: Int, rate: Rate?, now: @autoclosure () -> Instant) async throws -> LimitDecision {
    await Task.yield()
    if fails.load(ordering: .relaxed) { throw LimitStoreError.unavailable("gone") }
    return LimitDecision(isAllowed: true, limit: 1, remaining: 0, reset: .seconds(1), delay: delay)
  }
  func peek(_ key: LimitKey, rate: Rate?, now: @autoclosure () -> Instant) async throws -> LimitDecision {
    .uncounted(isAllowed: true)
  }
  func set(_ key: LimitKey, tokens: Int, interval: Duration, now: @autoclosure () -> Instant) async throws {}
  func refund(_ key: LimitKey, cost: Int, rate: Rate?, now: @autoclosure () -> Instant) async throws {
    refunded.add(cost, ordering: .relaxed)
  }
  func close() async {}
  func run(_ services: any BackgroundServices) async throws {}
}
