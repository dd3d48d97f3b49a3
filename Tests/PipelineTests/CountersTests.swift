import Pipeline
import PipelineTesting
import Testing

struct CountersTests {
  /// `label entered/refused/failed` of every element that was entered.
  private func counts<Carrier>(_ harness: ChainHarness<Carrier>) -> [String] {
    harness.service.counts().filter { $0.entered > 0 }.map { "\($0.label) \($0.entered)/\($0.refused)/\($0.failed)" }
  }

  @Test func aRejectionIsChargedToTheElementThatThrewIt() async throws {
    let harness = try ChainHarness(.tcp) {
      Pass(); Refuse(.forbidden); Pass()
    }
    await harness.run()
    #expect(counts(harness) == ["pass 1/0/0", "refuse 1/1/0"])
  }

  @Test func anErrorOfTheDestinationIsChargedToTheDestination() async throws {
    let harness = try ChainHarness(.tcp) { Pass() }
    await harness.run { _ in throw Broken() }
    #expect(counts(harness) == ["pass 1/0/0", "test 1/0/1"])
  }

  @Test func anErrorAfterNextHasReturnedIsChargedToTheElementThatThrewIt() async throws {
    let harness = try ChainHarness(.tcp) {
      Pass(); BreakLate(); Pass(); Pass()
    }
    await harness.run()
    #expect(counts(harness) == ["pass 1/0/0", "break-late 1/0/1", "pass 1/0/0", "pass 1/0/0", "test 1/0/0"])
  }

  @Test func elementsThatCannotThrowLateAreLookedThrough() async throws {
    let harness = try ChainHarness(.socks5) {
      BreakLate()
      SomePassword()
      Chain {
        PassOn(); PassOn()
      }
      PassOn()
    }
    await harness.run(MockClient(user: "ann"))
    #expect(counts(harness).first == "break-late 1/0/1")
    #expect(counts(harness).dropFirst().allSatisfy { $0.hasSuffix("1/0/0") })
  }

  @Test func aLateErrorInARouteIsChargedThere() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        Pass()
      } to: {
        Route("/a") {
          Pass()
        } to: {
          Respond(200)
        }
        Route("/b") {
          BreakLate(); Pass()
        } to: {
          Respond(200)
        }
        Respond(404)
      })
    _ = await harness.start(MockClient(target: "/b"))
    #expect(
      counts(harness) == [
        "pass 1/0/0", "route 1/0/0", "route 1/0/0", "break-late 1/0/1", "pass 1/0/0", "respond 1/0/0",
      ])
  }

  @Test func anAbandonedAttemptIsChargedToWhereItEnded() async throws {
    let harness = try ChainHarness(.tcp) {
      Again(attempts: 3); Pass(); FailsTimes(1)
    }
    await harness.run()
    #expect(counts(harness) == ["again 1/0/0", "pass 2/0/0", "fails-times 2/0/1", "test 1/0/0"])
  }

  @Test func aSecondCallAfterASuccessIsNoFailure() async throws {
    let harness = try ChainHarness(.tcp) {
      Twice(); Pass()
    }
    await harness.run()
    #expect(counts(harness) == ["twice 1/0/0", "pass 2/0/0", "test 2/0/0"])
  }

  @Test func everyShardCountsForItself() async throws {
    let harness = try ChainHarness(.tcp, shards: 3) { Pass() }
    for shard in 0..<3 { await harness.run(on: shard) }
    #expect(counts(harness) == ["pass 3/0/0", "test 3/0/0"])
  }

  @Test func timedExchangesChargeTheDecisionTimeToTheElementThatTookIt() async throws {
    let clock = ManualClock()
    let service = try Service(
      Listener(.tcp, on: ":1") {
        Pass(); Advance(clock, .seconds(2)); Advance(clock, .seconds(3))
      } to: {
        Served()
      },
      shards: 1, counting: .timed(oneIn: 1))
    let exchange = MockTCPExchange(runtime: TestRuntime(clock: clock))
    _ = try await service.serve(exchange)
    #expect(service.counts().map(\.nanoseconds) == [0, 2_000_000_000, 3_000_000_000, 0])
  }

  @Test func talliesAreFreedWithTheirService() throws {
    weak var service: AnyObject?
    do {
      let made = try Service(
        Listener(.tcp, on: ":1") {
          Pass()
        } to: {
          Served()
        }, shards: 4)
      service = made
    }
    #expect(service == nil)
  }

  @Test func anExchangeMayOutliveItsService() async throws {
    let exchange = MockTCPExchange()
    do {
      let service = try Service(
        Listener(.tcp, on: ":1") {
          Pass()
        } to: {
          Served()
        }, shards: 1)
      _ = try await service.serve(exchange)
    }
    // Nothing of the service is reachable from the exchange any more: this would be a use after free.
    let other = try Service(
      Listener(.tcp, on: ":1") {
        Pass()
      } to: {
        Served()
      }, shards: 1, counting: .off)
    exchange.recycle(id: 2)
    _ = try await other.serve(exchange)
    #expect(other.counts().map(\.entered) == [0, 0])
  }
}

private struct PassOn: Middleware {
  static var throwsLate: Bool { false }
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary { try await next() }
}

private struct Twice: Middleware {
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    _ = try await next()
    return try await next()
  }
}

private struct FailsTimes: Middleware {
  let times: Int
  init(_ times: Int) { self.times = times }
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    if exchange.attempt <= times { throw Broken() }
    return try await next()
  }
}

private struct Advance: Middleware {
  let clock: ManualClock
  let duration: Duration
  init(_ clock: ManualClock, _ duration: Duration) {
    self.clock = clock
    self.duration = duration
  }
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    clock.advance(by: duration)
    return try await next()
  }
}
