import Pipeline
import PipelineTesting
import Testing

@testable import Middlewares

private let ada = UsageAccount.identity(Principal("ada"))
private let grace = UsageAccount.identity(Principal("grace"))

/// A wall clock that shows 2026-03-10T10:00:00Z where the manual clock is at its beginning.
func calendarClock(_ clock: ManualClock) -> WallClock {
  WallClock {
    let passed = clock.now.nanoseconds - 1_000_000_000
    return UnixTime(
      seconds: 1_773_136_800 + Int64(passed / 1_000_000_000), nanoseconds: Int32(passed % 1_000_000_000))
  }
}

@Suite struct UsageQuotaTests {
  private let clock = ManualClock()
  private let store: QuotaStore

  init() { store = QuotaStore(clock: calendarClock(clock)) }

  private func harness<C: ChainElement>(
    @ChainBuilder<SOCKS5Exchange> _ chain: () -> C
  ) throws -> ChainHarness<SOCKS5Exchange> where C.Carrier == SOCKS5Exchange, C.Needs: MetByNothing {
    try ChainHarness(.socks5, clock: clock, chain: chain)
  }

  private func used(_ name: String, _ account: UsageAccount = ada) -> Int? {
    store.report(of: account)?.quotas.first { $0.name == name }?.used
  }

  private let client = MockClient(user: "ada")

  @Test func anAccountIsBlockedUntilItsWindowEnds() async throws {
    let harness = try harness {
      NamedByClient()
      UsageQuota(.requests(3, per: .hour), per: .identity, in: store)
    }
    for _ in 0..<3 { #expect(await harness.run(client) == .served()) }
    let refused = await harness.start(client)
    #expect(refused.outcome == .refused(.quotaExhausted))
    #expect(refused.rejection?.retryAfter == .seconds(3600))
    #expect(refused.rejection?.detail == "quota requests/hour: used up")
    #expect(await harness.run(MockClient(user: "grace")) == .served())
    clock.advance(by: .seconds(3599))
    #expect(await harness.run(client) == .refused(.quotaExhausted))
    clock.advance(by: .seconds(1))
    #expect(await harness.run(client) == .served())
    #expect(used("requests/hour") == 1)
  }

  @Test func whatNeverReachedAnUpstreamIsGivenBack() async throws {
    let harness = try harness {
      NamedByClient()
      UsageQuota(.requests(3, per: .forever), per: .identity, in: store)
    }
    _ = await harness.run(client) { _ in throw Rejection(.forbidden) }
    _ = await harness.run(client) { exchange in
      exchange.upstreamAddress = .ip(.loopbackV4, port: 9)
      throw Rejection(.connectionRefused)
    }
    let gone = await harness.start(client)
    await gone.cut(.clientGone)
    #expect(used("requests/ever") == 0)
    _ = await harness.run(client) { exchange in
      exchange.upstreamAddress = .ip(.loopbackV4, port: 9)
      throw Rejection(.upstreamReset)
    }
    #expect(used("requests/ever") == 1)
    let cut = await harness.start(client)
    await cut.move(up: 1)
    await cut.cut(.draining)
    #expect(used("requests/ever") == 2)
    let running = await harness.start(client)
    #expect(await harness.run(client) == .refused(.quotaExhausted))
    // It fails before it has begun: the next one may.
    await running.fail(Rejection(.connectTimeout))
    #expect(await harness.run(client) == .served())
    #expect(await harness.run(client) == .refused(.quotaExhausted))
  }

  @Test func aRetryCountsOnceAndSoDoesAQuotaThatStandsTwice() async throws {
    let quota = UsageQuota(.requests(10, per: .day), per: .identity, in: store)
    let harness = try harness {
      NamedByClient()
      quota
      Retry(attempts: 3, backoff: .none)
      quota
    }
    let run = await harness.start(client)
    await run.fail(Rejection(.connectionRefused))
    await run.perform { $0.upstreamAddress = .ip(.loopbackV4, port: 9) }
    await run.fail(Rejection(.upstreamReset))
    await run.finish()
    #expect(run.calls == 3)
    #expect(used("requests/day") == 1)
    let below = try self.harness {
      NamedByClient()
      Retry(attempts: 3, backoff: .none)
      quota
    }
    let second = await below.start(client)
    await second.perform { $0.upstreamAddress = .ip(.loopbackV4, port: 9) }
    await second.fail(Rejection(.upstreamReset))
    await second.fail(Rejection(.connectTimeout))
    await second.finish()
    #expect(used("requests/day") == 2)
  }

  @Test func connectionsAtOnceAreGivenBackOnEveryPath() async throws {
    let harness = try harness {
      NamedByClient()
      UsageQuota(.concurrentConnections(2), per: .identity, in: store)
    }
    let first = await harness.start(client)
    let second = await harness.start(client)
    #expect(await harness.run(client) == .refused(.quotaExhausted))
    #expect(await harness.run(MockClient(user: "grace")) == .served())
    await first.finish()
    #expect(used("connections") == 1)
    let third = await harness.start(client)
    #expect(await harness.run(client) == .refused(.quotaExhausted))
    await second.cut(.draining)
    await third.fail(Rejection(.connectionRefused))
    #expect(used("connections") == 0)
  }

  @Test func timeEndsALiveTunnelWhenItIsUsedUp() async throws {
    let harness = try harness {
      NamedByClient()
      UsageQuota(.time(.seconds(10), per: .day), per: .identity, in: store)
    }
    let run = await harness.send(client) { exchange in
      let (near, far) = MemoryStream.pair(window: 1 << 16)
      defer { far.close() }
      try far.write([1])
      let upstream = try await exchange.runtime.connect(to: .unixSocket("/echo"), timeout: .seconds(1))
      return try await exchange.runtime.relay(client: near, upstream: upstream, for: exchange)
    }
    clock.advance(by: .milliseconds(9_900))
    #expect(run.outcome == .waiting)
    clock.advance(by: .milliseconds(200))
    #expect(run.outcome == .refused(.quotaExhausted))
    #expect(used("time/day") == 10_000)
    #expect(await harness.run(client) == .refused(.quotaExhausted))
    clock.advance(by: .seconds(86_400))
    #expect(await harness.run(client) == .served())
  }

  @Test func closeExistingEndsWhatIsOpenWhenSomebodyWantsMore() async throws {
    let harness = try harness {
      NamedByClient()
      UsageQuota(.requests(2, per: .day), per: .identity, onExhausted: .closeExisting, in: store)
    }
    let first = await harness.start(client)
    let second = await harness.start(client)
    await first.move(up: 1)
    #expect(first.outcome == .waiting)
    #expect(await harness.run(client) == .refused(.quotaExhausted))
    await first.move(up: 1)
    #expect(first.outcome == .refused(.quotaExhausted))
    await second.move(up: 1)
    #expect(second.outcome == .refused(.quotaExhausted))
  }

  @Test func whoHasSomethingLeftAgainIsNotEndedForWhatWasBefore() async throws {
    let harness = try harness {
      NamedByClient()
      UsageQuota(.requests(1, per: .day), per: .identity, plans: ["gold": 10], onExhausted: .closeExisting, in: store)
    }
    #expect(await harness.run(client) == .served())
    #expect(await harness.run(client) == .refused(.quotaExhausted))
    store.setPlan("gold", of: ada)
    let second = await harness.start(client)
    await second.move(up: 1)
    await second.finish()
    #expect(second.outcome == .served())
  }

  @Test func aConnectionTooManyEndsNoneOfTheOthers() async throws {
    let harness = try harness {
      NamedByClient()
      UsageQuota(.concurrentConnections(1), per: .identity, onExhausted: .closeExisting, in: store)
    }
    let first = await harness.start(client)
    #expect(await harness.run(client) == .refused(.quotaExhausted))
    await first.move(up: 1)
    await first.finish()
    #expect(first.outcome == .served())
  }

  @Test func aResetLeavesOpenConnectionsCountedAndTakesNoLateRefund() async throws {
    let harness = try harness {
      NamedByClient()
      UsageQuota(.concurrentConnections(2), per: .identity, in: store)
      UsageQuota(.requests(2, per: .day), per: .identity, in: store)
    }
    let first = await harness.start(client)
    try await store.reset(ada)
    #expect(used("connections") == 1)
    let second = await harness.start(client)
    #expect(await harness.run(client) == .refused(.quotaExhausted))
    #expect(used("requests/day") == 1)
    // Counted before the reset: what it gives back is not second's.
    await first.fail(Rejection(.connectionRefused))
    #expect(used("requests/day") == 1)
    #expect(used("connections") == 1)
    await second.finish()
    #expect(used("connections") == 0)
  }

  @Test func refuseLeavesWhatIsOpenAlone() async throws {
    let harness = try harness {
      NamedByClient()
      UsageQuota(.requests(1, per: .day), per: .identity, in: store)
    }
    let first = await harness.start(client)
    #expect(await harness.run(client) == .refused(.quotaExhausted))
    await first.move(up: 1 << 20)
    await first.finish()
    #expect(first.outcome == .served())
  }

  @Test func anOperatorBlocksUnblocksAndResets() async throws {
    let harness = try harness {
      NamedByClient()
      UsageQuota(.requests(2, per: .forever), per: .identity, in: store)
    }
    let open = await harness.start(client)
    store.block(ada)
    #expect(await harness.run(client) == .refused(.forbidden))
    await open.move(up: 1)
    #expect(open.outcome == .refused(.forbidden))
    #expect(store.report(of: ada)?.isBlocked == true)
    store.unblock(ada)
    #expect(await harness.run(client) == .served())
    #expect(await harness.run(client) == .refused(.quotaExhausted))
    try await store.reset(ada)
    #expect(await harness.run(client) == .served())
    #expect(used("requests/ever") == 1)
    store.block(grace)
    #expect(await harness.run(MockClient(user: "grace")) == .refused(.forbidden))
  }

  @Test func aPlanChangesTheLimitAtOnce() async throws {
    let harness = try harness {
      NamedByClient()
      UsageQuota(
        .requests(1, per: .day), per: .identity, plans: ["silver": 2, "gold": .unlimited],
        overrides: [.identity("grace"): 3], in: store)
    }
    #expect(await harness.run(client) == .served())
    #expect(await harness.run(client) == .refused(.quotaExhausted))
    store.setPlan("silver", of: ada)
    #expect(await harness.run(client) == .served())
    #expect(await harness.run(client) == .refused(.quotaExhausted))
    store.setPlan("gold", of: ada)
    for _ in 0..<10 { #expect(await harness.run(client) == .served()) }
    store.setPlan("nobody has said what this is", of: ada)
    #expect(await harness.run(client) == .refused(.quotaExhausted))
    #expect(store.plans == ["gold", "silver"])
    for _ in 0..<3 { #expect(await harness.run(MockClient(user: "grace")) == .served()) }
    #expect(await harness.run(MockClient(user: "grace")) == .refused(.quotaExhausted))
    store.setPlan("silver", of: grace)
    #expect(store.report(of: grace)?.plan == "silver")
    #expect(store.report(of: grace)?.quotas.first?.limit == 2)
  }

  @Test func anUnlimitedQuotaCountsRefusesTheBlockedAndLimitsWhoHasAPlan() async throws {
    let quota = UsageQuota(.requests(0, per: .day).unlimited, per: .identity, plans: ["trial": 1], in: store)
    #expect(quota.parameters.contains(Parameter("limit", "unlimited")))
    let harness = try harness {
      NamedByClient()
      quota
    }
    for _ in 0..<5 { #expect(await harness.run(client) == .served()) }
    #expect(used("requests/day") == 5)
    #expect(store.report(of: ada)?.quotas.first?.limit == nil)
    store.block(ada)
    #expect(await harness.run(client) == .refused(.forbidden))
    store.unblock(ada)
    store.setPlan("trial", of: ada)
    #expect(await harness.run(client) == .refused(.quotaExhausted))
  }

  @Test func theLogHasOneLineForAWarningAndOneForTheEnd() async throws {
    let harness = try harness {
      NamedByClient()
      UsageQuota(.requests(10, per: .hour), per: .identity, warnAt: 0.5, in: store)
    }
    for _ in 0..<4 { _ = await harness.run(client) }
    #expect(harness.log.lines.isEmpty)
    for _ in 0..<10 { _ = await harness.run(client) }
    #expect(
      harness.log.lines.map(\.message) == [
        "quota requests/hour: ada has used 5 of 10 requests",
        "quota requests/hour: ada has used up 10 requests: refuse",
      ])
    clock.advance(by: .seconds(3600))
    for _ in 0..<12 { _ = await harness.run(client) }
    #expect(harness.log.lines.count == 4)
  }

  @Test func anHTTPClientIsToldWhenToComeBack() async throws {
    let harness = try ChainHarness(.http, clock: clock) {
      NamedByClient()
      UsageQuota(.requests(1, per: .hour), per: .identity, headers: .always, in: store)
    }
    clock.advance(by: .seconds(600))
    let served = await harness.send(client) { try await ($0 as! MockHTTPExchange).relay(200) }
    #expect(served.response?.fields["ratelimit"] == "\"requests/hour\";r=0;t=3000")
    let refused = await harness.start(client)
    #expect(refused.response?.status == 429)
    #expect(refused.response?.fields["retry-after"] == "3000")
    #expect(refused.response?.fields["ratelimit-policy"] == "\"requests/hour\";q=1;w=3600")
    #expect(refused.response?.fields["ratelimit"] == "\"requests/hour\";r=0;t=3000")
  }

  @Test func whoHasNotLoggedInIsAnAccountWhereTheKeySaysSo() async throws {
    let harness = try harness { UsageQuota(.requests(1, per: .day), per: .optionalIdentity(), in: store) }
    #expect(await harness.run() == .served())
    #expect(await harness.run() == .refused(.quotaExhausted))
    #expect(used("requests/day", .anonymous) == 1)
  }

  @Test func inShadowItCountsAndRefusesNobody() async throws {
    let notes = Counted()
    let harness = try harness {
      NamedByClient()
      UsageQuota(.requests(1, per: .day), per: .identity, in: store).shadow { rejection in
        if rejection.kind == .quotaExhausted { notes.add() }
      }
    }
    for _ in 0..<3 { #expect(await harness.run(client) == .served()) }
    #expect(notes.count == 2)
  }

  @Test func anAccountForWhichThereIsNoRoomIsRefused() async throws {
    let small = QuotaStore(maxAccounts: 2, clock: calendarClock(clock))
    let harness = try harness {
      NamedByClient()
      UsageQuota(.requests(5, per: .hour), per: .identity, in: small)
    }
    #expect(await harness.run(client) == .served())
    #expect(await harness.run(MockClient(user: "grace")) == .served())
    #expect(await harness.run(MockClient(user: "joan")) == .refused(.overloaded))
    // Whose window has ended makes room.
    clock.advance(by: .seconds(3600))
    #expect(await harness.run(MockClient(user: "joan")) == .served())
    #expect(small.accountCount <= 2)
  }

  @Test func aReloadKeepsWhatIsCountedInMemoryOfItsOwn() async throws {
    let first = UsageQuota(.requests(2, per: .day), per: .identity)
    let old = try harness {
      NamedByClient()
      first
    }
    _ = await old.run(client)
    let second = UsageQuota(.requests(3, per: .day), per: .identity)
    let new = try ChainHarness(.socks5, clock: clock, replacing: old.service.placement) {
      NamedByClient()
      second
    }
    #expect(await new.run(client) == .served())
    #expect(await new.run(client) == .served())
    #expect(await new.run(client) == .refused(.quotaExhausted))
  }

  @Test func theLedgerGetsWhatWasUsedAndARestartGoesOn() async throws {
    let writer = LedgerWriter(NoLedger())
    let store = QuotaStore(writer: writer, clock: calendarClock(clock))
    writer.ready.fire()
    let harness = try harness {
      NamedByClient()
      UsageQuota(.requests(5, per: .day), per: .identity, in: store)
      UsageQuota(.concurrentConnections(5), per: .identity, in: store)
    }
    for _ in 0..<3 { _ = await harness.run(client) }
    store.setPlan("gold", of: ada)
    store.block(grace)
    var batch = LedgerBatch(writer: writer.id, sequence: 1)
    while store.collect(into: &batch, limit: 1) {}
    #expect(batch.counters.map(\.name) == ["requests/day"])
    #expect(batch.counters.map(\.used) == [3])
    #expect(batch.counters.map(\.end) == [UnixTime(seconds: 1_773_187_200)])
    #expect(Set(batch.states.map(\.account)) == [ada, grace])

    let second = QuotaStore(clock: calendarClock(clock))
    let after = try self.harness {
      NamedByClient()
      UsageQuota(.requests(5, per: .day), per: .identity, in: second)
    }
    for counter in batch.counters { second.restore(.counter(counter)) }
    for state in batch.states { second.restore(.state(state)) }
    #expect(second.report(of: ada)?.plan == "gold")
    #expect(await after.run(MockClient(user: "grace")) == .refused(.forbidden))
    for _ in 0..<2 { #expect(await after.run(client) == .served()) }
    #expect(await after.run(client) == .refused(.quotaExhausted))
    // A reset says how much has to go.
    try await store.reset(ada)
    batch = LedgerBatch(writer: writer.id, sequence: 2)
    _ = store.collect(into: &batch, limit: 100)
    #expect(batch.counters.map(\.used) == [-3])
  }

  @Test func nobodyIsCountedBeforeTheLedgerHasSaidWhatItKnows() async throws {
    let writer = LedgerWriter(NoLedger())
    let store = QuotaStore(writer: writer, clock: calendarClock(clock))
    let harness = try harness {
      NamedByClient()
      UsageQuota(.requests(1, per: .day), per: .identity, in: store)
    }
    let waiting = await harness.start(client)
    #expect(waiting.calls == 0)
    store.restore(
      .counter(
        LedgerCounter(
          name: "requests/day", account: ada, start: UnixTime(seconds: 1_773_100_800),
          end: UnixTime(seconds: 1_773_187_200), used: 1)))
    writer.ready.fire()
    await harness.loop.settle()
    #expect(waiting.outcome == .refused(.quotaExhausted))
  }

  @Test func numbersOutOfRangeAreRefusedBeforeAnythingListens() throws {
    func messages(_ quota: Quota, warnAt: Double? = nil, _ plans: [String: QuotaAmount] = [:]) -> [String] {
      do {
        _ = try harness {
          NamedByClient()
          UsageQuota(quota, per: .identity, plans: plans, warnAt: warnAt, in: store)
        }
        return []
      } catch let error as ConfigurationError {
        return error.messages
      } catch {
        return ["\(error)"]
      }
    }
    #expect(
      messages(.requests(-1, per: .day)).first?.contains("a quota of -1 requests: 0 to 1,000,000,000,000") == true)
    #expect(messages(.requests(1, per: .rolling(.milliseconds(1)))).first?.contains("a rolling window of") == true)
    #expect(messages(.time(.seconds(-1), per: .day)).first?.contains("0 seconds to 10,000 days") == true)
    #expect(messages(.bytes(1, per: .day), ["gold": .time(.seconds(1))]).first?.contains("write a number") == true)
    #expect(messages(.time(.seconds(1), per: .hour), ["gold": 5]).first?.contains("write .time(.seconds(…))") == true)
    #expect(messages(.requests(1, per: .hour, name: "")).first?.contains("a quota named \"\"") == true)
    #expect(messages(.requests(1, per: .month), warnAt: 2).first?.contains("a warning at 2.0 of the limit") == true)
    #expect(messages(.requests(1, per: .hour, name: "x")) == [])
    #expect(messages(.bytes(1, per: .hour, name: "x")).first?.contains("another quota named \"x\"") == true)
  }

  @Test func thePlanShowsItsNumbers() {
    let quota = UsageQuota(.bytes(5, per: .month), per: .identity, plans: ["b": 7, "a": .unlimited], in: store)
    #expect(
      quota.parameters == [
        Parameter("quota", "bytes/month"), Parameter("limit", "5"), Parameter("per", "identity"),
        Parameter("on exhausted", "refuse"), Parameter("plans", "a unlimited, b 7"),
      ])
  }
}
