import Pipeline
import PipelineTesting
import Testing

@testable import Middlewares

@Suite struct CircuitBreakerTests {
  private func fail<C>(_ harness: ChainHarness<C>, _ count: Int = 1, _ kind: Rejection.Kind = .connectionRefused) async
  {
    for _ in 0..<count { await harness.run { _ in throw Rejection(kind) } }
  }

  private func serve<C>(_ harness: ChainHarness<C>, _ count: Int = 1) async {
    for _ in 0..<count {
      await harness.run { exchange in
        exchange.noteUpstreamAnswer(at: exchange.now)
        return Summary()
      }
    }
  }

  /// An HTTP upstream that answers so.
  private func answer(_ status: Int, _ harness: ChainHarness<HTTPExchange>, _ count: Int = 1) async {
    for _ in 0..<count {
      await harness.run { exchange in try await (exchange as! MockHTTPExchange).relay(status) }
    }
  }

  // MARK: When it opens

  @Test func failuresInARowOpenIt() async throws {
    let breaker = CircuitBreaker(.consecutive(3))
    let harness = try ChainHarness(.tcp) { breaker }
    await fail(harness, 2)
    await serve(harness)
    await fail(harness, 2)
    #expect(breaker.report().state == .closed)
    await fail(harness)
    #expect(breaker.report().state == .open)
    #expect(breaker.report().reason == "3 failures in a row")
    let run = await harness.start()
    #expect(run.outcome == .refused(.overloaded) && run.calls == 0)
    #expect(run.rejection?.retryAfter == .seconds(5))
    #expect(run.rejection?.detail == "the circuit is open: 3 failures in a row")
    #expect(breaker.report().refused == 1)
  }

  @Test func aShareOfFailuresOpensItOnceThereWereEnough() async throws {
    let breaker = CircuitBreaker(.failures(0.5, ofAtLeast: 10, in: .seconds(10)))
    let harness = try ChainHarness(.tcp, shards: 2) { breaker }
    await fail(harness, 4)
    await serve(harness, 5)
    #expect(breaker.report().state == .closed)
    await fail(harness)
    #expect(breaker.report().reason == "5 of 10 failed")
  }

  @Test func failuresThatAreLongAgoDoNotCount() async throws {
    let breaker = CircuitBreaker(.failures(0.5, ofAtLeast: 10, in: .seconds(10)))
    let harness = try ChainHarness(.tcp) { breaker }
    await fail(harness, 9)
    harness.clock.advance(by: .seconds(11))
    await fail(harness)
    #expect(breaker.report().state == .closed)
  }

  @Test func slowAnswersOpenIt() async throws {
    let breaker = CircuitBreaker(.slow(than: .seconds(1), 0.5, ofAtLeast: 4))
    let harness = try ChainHarness(.http) { breaker }
    await answer(200, harness, 2)
    for _ in 0..<2 {
      let run = await harness.start()
      harness.clock.advance(by: .milliseconds(1001))
      await run.perform { _ = try await ($0 as? MockHTTPExchange)?.relay(200) }
      await run.finish()
    }
    #expect(breaker.report().reason == "2 of 4 answered too slowly")
  }

  @Test func statusesOfAnUpstreamAreFailures() async throws {
    let breaker = CircuitBreaker(.consecutive(3), statuses: 502...504)
    let harness = try ChainHarness(.http) { breaker }
    await answer(502, harness, 2)
    await answer(500, harness)
    await answer(504, harness, 2)
    #expect(breaker.report().state == .closed)
    await answer(503, harness)
    #expect(breaker.report().state == .open)
    let refused = await harness.start()
    #expect(refused.response?.status == 503)
    #expect(refused.response?.fields["retry-after"] == "5")
  }

  @Test func whatTheUpstreamHasNotDoneSaysNothing() async throws {
    let breaker = CircuitBreaker(.consecutive(1))
    let harness = try ChainHarness(.http) { breaker }
    for kind in [Rejection.Kind.forbidden, .rateLimited, .overloaded, .clientGone, .malformed, .draining] {
      await fail(harness, 1, kind)
    }
    // An answer of our own.
    await harness.run { try await ($0 as! HTTPExchange).respond(500) }
    await harness.run { _ in throw Rejection(.upstreamReset, source: .proxy) }
    // A deadline that passed before anybody was asked.
    await harness.run { _ in throw DeadlineExceeded(deadline: Instant(nanoseconds: 0)) }
    #expect(breaker.report().state == .closed)
    await fail(harness, 1, .upstreamProtocol)
    #expect(breaker.report().state == .open)
  }

  @Test func aDeadlineThatPassesWithoutAnAnswerIsAFailure() async throws {
    let breaker = CircuitBreaker(.consecutive(1))
    let harness = try ChainHarness(.tcp) {
      breaker
      Timeout(.seconds(2))
    }
    let answered = await harness.start()
    await answered.perform { exchange in
      exchange.upstreamAddress = SocketAddress("10.0.0.1:80")
      exchange.noteUpstreamAnswer(at: exchange.now)
    }
    harness.clock.advance(by: .seconds(2))
    #expect(answered.outcome == .refused(.deadlineExceeded))
    #expect(breaker.report().state == .closed)
    let silent = await harness.start()
    await silent.perform { exchange in exchange.upstreamAddress = SocketAddress("10.0.0.1:80") }
    harness.clock.advance(by: .seconds(2))
    #expect(breaker.report().state == .open)
  }

  @Test func aTunnelCountsAsSoonAsItIsOpen() async throws {
    let breaker = CircuitBreaker(.failures(0.5, ofAtLeast: 4))
    let harness = try ChainHarness(.tcp) { breaker }
    for _ in 0..<6 {
      let tunnel = await harness.start()
      await tunnel.perform { $0.noteUpstreamAnswer(at: $0.now) }
    }
    await fail(harness, 5)
    // 5 of 11: those that are open count, too.
    #expect(breaker.report().state == .closed)
    await fail(harness)
    #expect(breaker.report().reason == "6 of 12 failed")
    await harness.shutDown()
  }

  @Test func anAnswerThatBreaksOffIsAFailure() async throws {
    let breaker = CircuitBreaker(.consecutive(1))
    let harness = try ChainHarness(.http) { breaker }
    await harness.run { try await ($0 as! MockHTTPExchange).relay(200, body: [1, 2, 3], cutAfter: 2) }
    #expect(breaker.report().state == .open)
  }

  // MARK: With a retry

  @Test func belowARetryItCountsAttemptsAndIsNotAskedAgainOnceItIsOpen() async throws {
    let breaker = CircuitBreaker(.consecutive(2))
    let harness = try ChainHarness(.tcp) {
      Retry(attempts: 5, backoff: .none)
      breaker
    }
    let run = await harness.start()
    await run.fail(Rejection(.connectionRefused))
    await run.fail(Rejection(.connectionRefused))
    #expect(run.calls == 2)
    #expect(run.outcome == .refused(.overloaded))
  }

  @Test func aStatusThatARetryAboveGaveUpIsAFailure() async throws {
    let breaker = CircuitBreaker(.consecutive(2))
    let harness = try ChainHarness(.http) {
      Retry(attempts: 2, on: [503], backoff: .none)
      breaker
    }
    await answer(503, harness)
    #expect(breaker.report().state == .open)
  }

  @Test func aRetryBelowThatBringsAGoodAnswerIsASuccess() async throws {
    let breaker = CircuitBreaker(.consecutive(1))
    let harness = try ChainHarness(.http) {
      breaker
      Retry(attempts: 2, on: [503], backoff: .none)
    }
    await harness.run { exchange in
      try await (exchange as! MockHTTPExchange).relay(exchange.attempt == 1 ? 503 : 200)
    }
    #expect(breaker.report().state == .closed)
    await answer(503, harness)
    #expect(breaker.report().state == .open)
  }

  // MARK: How it closes

  @Test func afterTheRestProbesDecide() async throws {
    let breaker = CircuitBreaker(.consecutive(1), rest: .seconds(5), probes: 2)
    let harness = try ChainHarness(.tcp) { breaker }
    await fail(harness)
    harness.clock.advance(by: .seconds(5))
    let probes = [await harness.start(), await harness.start()]
    #expect(breaker.report().state == .halfOpen)
    #expect(await harness.run() == .refused(.overloaded))
    for probe in probes { await probe.perform { $0.noteUpstreamAnswer(at: $0.now) } }
    // Tunnels that go on: it is known that they are open.
    #expect(breaker.report().state == .closed)
    #expect(breaker.report().reason == "")
    await harness.shutDown()
    #expect(breaker.report().state == .closed)
  }

  @Test func aProbeThatFailsOpensItAgainForLonger() async throws {
    let breaker = CircuitBreaker(.consecutive(1), rest: .seconds(5))
    let harness = try ChainHarness(.tcp) { breaker }
    await fail(harness)
    harness.clock.advance(by: .seconds(5))
    await fail(harness)
    #expect(breaker.report().reason == "a probe failed" && breaker.report().openings == 2)
    harness.clock.advance(by: .milliseconds(9999))
    #expect(await harness.run() == .refused(.overloaded))
    harness.clock.advance(by: .milliseconds(1))
    await serve(harness, 3)
    #expect(breaker.report().state == .closed)
  }

  @Test func failuresFromBeforeTheOpeningDoNotOpenItAnew() async throws {
    let breaker = CircuitBreaker(.failures(0.5, ofAtLeast: 4, in: .seconds(60)), rest: .seconds(1), probes: 1)
    let harness = try ChainHarness(.tcp) { breaker }
    let late = await harness.start()
    await fail(harness, 4)
    harness.clock.advance(by: .seconds(1))
    await serve(harness)
    #expect(breaker.report().state == .closed)
    await late.fail(Rejection(.upstreamReset))
    await fail(harness, 3)
    #expect(breaker.report().state == .closed)
    await fail(harness)
    #expect(breaker.report().state == .open)
  }

  @Test func theLogSaysEveryChangeWithItsReason() async throws {
    let harness = try ChainHarness(.tcp) { CircuitBreaker(.consecutive(1), rest: .seconds(1), probes: 1) }
    await fail(harness)
    harness.clock.advance(by: .seconds(1))
    await serve(harness)
    #expect(
      harness.log.text == [
        "tcp: circuit-breaker: open for 1.0 seconds: 1 failures in a row",
        "tcp: circuit-breaker: half open: 1 probes are let through",
        "tcp: circuit-breaker: closed: 1 probes succeeded",
      ])
  }

  @Test func aReloadKeepsAnOpenCircuitOpen() async throws {
    let clock = ManualClock()
    func harness(_ count: Int, replacing old: Placement? = nil) throws -> ChainHarness<TCPExchange> {
      try ChainHarness(.tcp, clock: clock, replacing: old) { CircuitBreaker(.consecutive(count)) }
    }
    let first = try harness(1)
    await fail(first)
    let second = try harness(1, replacing: first.service.placement)
    #expect(await second.run() == .refused(.overloaded))
    let other = try harness(2, replacing: second.service.placement)
    #expect(await other.run() == .served())
  }

  @Test func numbersOutOfRangeAreRefusedByName() {
    let found = complaints {
      _ = try ChainHarness(.http) {
        CircuitBreaker(
          .consecutive(0), .failures(1.5), .failures(0.5, ofAtLeast: 0), .slow(than: .zero),
          .slow(than: .seconds(1), 0.5, in: .seconds(7200)), statuses: 200...599, rest: .zero, probes: 0)
      }
    }
    #expect(
      found == [
        "circuit-breaker: 0 failures in a row: 1 to 1,000,000 are allowed",
        "circuit-breaker: a ratio of 1.5: more than 0 and at most 1 is allowed",
        "circuit-breaker: at least 0 exchanges: 1 to 1,000,000 are allowed",
        "circuit-breaker: slower than 0.0 seconds: it must be more than 0 seconds",
        "circuit-breaker: a window of 7200.0 seconds: 100 ms to 1 hour are allowed",
        "circuit-breaker: 2 rules of the kind .failures: one is allowed",
        "circuit-breaker: 2 rules of the kind .slow: one is allowed",
        "circuit-breaker: statuses 200 to 599: 400 to 599 can be failures",
        "circuit-breaker: a rest of 0.0 seconds: 10 ms to 1 hour are allowed",
        "circuit-breaker: 0 probes: 1 to 1000 are allowed",
      ])
  }

  @Test func thePlanSaysWhenItOpens() {
    #expect(
      CircuitBreaker(.consecutive(5), .slow(than: .seconds(2))).parameters.first?.value
        == "5 failures in a row, 50 % of 20 or more answers in 10.0 seconds slower than 2.0 seconds")
    #expect(CircuitBreaker().parameters.first?.value == "50 % failures of 20 or more in 10.0 seconds")
  }
}
