import Pipeline
import PipelineTesting
import Testing

struct HarnessTests {
  @Test func theTestSeesTheCallAndDecidesTheAnswer() async throws {
    let harness = try ChainHarness(.tcp) { Pass() }
    let run = await harness.start()
    #expect(run.isAtEnd)
    #expect(run.outcome == .waiting)
    await run.finish(Summary(traffic: Traffic(up: 1, down: 2)))
    #expect(run.outcome == .served(Summary(traffic: Traffic(up: 1, down: 2))))
    #expect(run.calls == 1)
  }

  @Test func nothingIsCalledWhenTheChainRefuses() async throws {
    let harness = try ChainHarness(.socks5) { Refuse(.forbidden) }
    let run = await harness.start()
    #expect(run.calls == 0)
    #expect(run.outcome == .refused(.forbidden))
  }

  @Test func aRetryCallsTheEndAgain() async throws {
    let harness = try ChainHarness(.tcp) { Again(attempts: 3) }
    let run = await harness.start()
    await run.fail(Rejection(.connectionRefused))
    #expect(run.calls == 2)
    await run.finish()
    #expect(run.outcome == .served())
    #expect(harness.service.counts().map(\.entered) == [1, 2])
    #expect(harness.service.counts().map(\.failed) == [0, 1])
  }

  @Test func aSleepEndsWhenTheTestMovesTheClock() async throws {
    let harness = try ChainHarness(.tcp) { Delay(.seconds(5)) }
    let run = await harness.start()
    #expect(run.calls == 0)
    #expect(harness.clock.sleeperCount == 1)
    harness.clock.advance(by: .seconds(4))
    #expect(run.calls == 0)
    harness.clock.advance(by: .seconds(1))
    #expect(run.calls == 1)
  }

  @Test func aDeadlineEndsTheWaitAndNoLater() async throws {
    let harness = try ChainHarness(.tcp) {
      Limit(.seconds(2)); Delay(.seconds(5))
    }
    let run = await harness.start()
    harness.clock.advance(by: .seconds(1))
    #expect(run.outcome == .waiting)
    harness.clock.advance(by: .seconds(1))
    #expect(run.outcome == .refused(.deadlineExceeded))
  }

  @Test func aCutEndsWhateverTheExchangeWaitsFor() async throws {
    let harness = try ChainHarness(.tcp) { Delay(.seconds(5)) }
    let sleeping = await harness.start()
    await sleeping.cut()
    #expect(sleeping.outcome == .refused(.clientGone))
    let other = try ChainHarness(.tcp) { Pass() }
    let atEnd = await other.start()
    await atEnd.cut(.draining)
    #expect(atEnd.outcome == .refused(.draining))
  }

  @Test func sleepersWakeInTheOrderOfTheirTimes() async throws {
    let order = Order()
    let harness = try ChainHarness(.tcp) {
      Delay(.zero, by: { .seconds(4 - Int($0.id)) }); Note(order)
    }
    for _ in 1...3 { _ = await harness.start() }
    harness.clock.advance(by: .seconds(10))
    #expect(order.ids == [3, 2, 1])
  }

  @Test func aBackgroundTaskSleepsOnTheManualClock() async throws {
    let services = ManualServices()
    let task = Task {
      try await services.sleep(for: .seconds(60))
      return services.now
    }
    await services.clock.sleepers(1)
    let before = services.now
    services.clock.advance(by: .seconds(60))
    #expect(try await task.value - before == .seconds(60))
  }

  @Test func cancellingATaskEndsItsSleep() async throws {
    let services = ManualServices()
    let task = Task { try await services.sleep(for: .seconds(60)) }
    await services.clock.sleepers(1)
    task.cancel()
    await #expect(throws: CancellationError.self) { try await task.value }
  }

  @Test func seededRandomIsTheSameEveryTime() {
    var a = SeededRandom(seed: 7)
    var b = SeededRandom(seed: 7)
    var c = SeededRandom(seed: 8)
    let first = (0..<5).map { _ in a.next() }
    #expect(first == (0..<5).map { _ in b.next() })
    #expect(first != (0..<5).map { _ in c.next() })
  }

  @Test func oneMiddlewareCanBeCalledByHand() async throws {
    let exchange = MockTCPExchange(MockClient(ip: "2001:db8::1"))
    let summary = try await Pass().handle(exchange) { Summary(traffic: Traffic(up: 3)) }
    #expect(summary.traffic.up == 3)
  }

  @Test func aMeterMayCutAtTheEndOfTheChain() async throws {
    let harness = try ChainHarness(.tcp) { Metered(limit: 100) }
    let run = await harness.start()
    await run.move(up: 60)
    #expect(run.outcome == .waiting)
    await run.move(down: 60)
    #expect(run.outcome == .refused(.quotaExhausted))
  }
}

struct MarbleTests {
  @Test func lettersAreClientsAndGroupsShareAFrame() async throws {
    let harness = try ChainHarness(.tcp) { FewPerSecond(2) }
    try await harness.expect("(aaa)-ab", "(✓✓✗)-✓✓")
  }

  @Test func heldExchangesEndWithABar() async throws {
    let harness = try ChainHarness(.tcp) { OneAtATime() }
    try await harness.expect("ab-b-", "✓✗|✓-|", holding: .seconds(2))
  }

  @Test func errorsAreNoRejections() async throws {
    let harness = try ChainHarness(.tcp) { Break() }
    try await harness.expect("a", "!")
  }

  @Test func aMismatchShowsWhere() async throws {
    let harness = try ChainHarness(.tcp) { FewPerSecond(2) }
    let error = await #expect(throws: MarbleMismatch.self) { try await harness.expect("(aaa)-a", "(✓✓✓)-✓") }
    #expect(
      error?.description == """
        the trace is another one
        requests  (aaa) - a\u{20}
        expected  (✓✓✓) - ✓\u{20}
        found     (✓✓✗) - ✓\u{20}
                  ^        \u{20}
        frame 0, at 0.0 seconds: expected (✓✓✓), found (✓✓✗)
        frame 0 a: served
        frame 0 a: served
        frame 0 a: refused: rateLimited
        frame 2 a: served
        """)
  }

  @Test func asciiIsAccepted() {
    #expect(MarbleTrace("(oox)-!|") == MarbleTrace("(✓✓✗)-!|"))
  }
}
