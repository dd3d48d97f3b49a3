import Pipeline
import PipelineTesting
import Testing

@testable import Middlewares

@Suite struct RetryTests {
  @Test func triesAgainWhatNeverReachedAnUpstream() async throws {
    let harness = try ChainHarness(.tcp) { Retry(attempts: 3, backoff: .none) }
    let run = await harness.start()
    await run.fail(Rejection(.connectionRefused))
    #expect(run.isAtEnd && run.calls == 2)
    await run.perform { #expect($0.attempt == 2) }
    await run.fail(Rejection(.connectTimeout))
    #expect(run.isAtEnd && run.calls == 3)
    await run.finish()
    #expect(run.outcome == .served())
  }

  @Test func theErrorOfTheLastAttemptIsTheClients() async throws {
    let harness = try ChainHarness(.tcp) { Retry(attempts: 2, backoff: .none) }
    let run = await harness.start()
    await run.fail(Rejection(.connectionRefused))
    await run.fail(Rejection(.hostUnreachable))
    #expect(run.outcome == .refused(.hostUnreachable))
    #expect(run.calls == 2)
  }

  @Test func stopsOnceABodyByteWasRelayed() async throws {
    let harness = try ChainHarness(.tcp) { Retry(attempts: 3, backoff: .none) }
    let run = await harness.start()
    await run.move(down: 1)
    await run.fail(Rejection(.connectionRefused))
    #expect(run.outcome == .refused(.connectionRefused))
    #expect(run.calls == 1)
  }

  @Test(arguments: [Rejection.Kind.forbidden, .rateLimited, .nameNotFound, .clientGone, .draining, .internalError])
  func doesNotRepeatWhatWouldEndTheSameWay(_ kind: Rejection.Kind) async throws {
    let harness = try ChainHarness(.tcp) { Retry(attempts: 3, backoff: .none) }
    let run = await harness.start()
    await run.fail(Rejection(kind))
    #expect(run.outcome == .refused(kind))
    #expect(run.calls == 1)
  }

  @Test func anErrorThatIsNoRejectionPasses() async throws {
    struct Odd: Error {}
    let harness = try ChainHarness(.tcp) { Retry(attempts: 3, backoff: .none) }
    let run = await harness.start()
    await run.fail(Odd())
    #expect(run.outcome == .failed("Odd()"))
    #expect(run.calls == 1)
  }

  @Test(arguments: [(HTTPMethod.get, 2), (.put, 2), (.post, 1), (.patch, 1)])
  func whatMayHaveReachedTheUpstreamIsRepeatedOnlyWhereIdempotent(_ method: HTTPMethod, _ calls: Int) async throws {
    let harness = try ChainHarness(.http) { Retry(attempts: 2, backoff: .none) }
    let run = await harness.start(MockClient(method: method))
    await run.fail(Rejection(.upstreamReset))
    #expect(run.calls == calls)
    if run.isAtEnd { await run.finish() }
  }

  @Test func aPostIsRepeatedWhereNothingReachedTheUpstream() async throws {
    let harness = try ChainHarness(.http) { Retry(attempts: 2, backoff: .none) }
    let run = await harness.start(MockClient(method: .post))
    await run.fail(Rejection(.connectionRefused))
    #expect(run.calls == 2)
    await run.finish()
  }

  @Test func pausesAreDrawnFromARangeThatDoubles() {
    let backoff = Backoff.exponential(from: .milliseconds(100), upTo: .milliseconds(350))
    #expect((1...4).map { backoff.bound(after: $0) } == [100, 200, 350, 350].map { Duration.milliseconds($0) })
    var random = SeededRandom(seed: 3)
    for failures in 1...4 {
      let drawn = (0..<2000).map { _ in backoff.pause(after: failures, randomBits: random.next()) }
      let bound = backoff.bound(after: failures)
      #expect(drawn.allSatisfy { $0 >= .zero && $0 <= bound })
      // The whole range is used, evenly.
      #expect(drawn.min()! < bound / 100 && drawn.max()! > bound * 99 / 100)
      let mean = drawn.reduce(.zero, +) / 2000
      #expect(mean > bound * 45 / 100 && mean < bound * 55 / 100)
    }
    #expect(backoff.pause(after: 1, randomBits: .max) == .milliseconds(100))
    #expect(backoff.pause(after: 1, randomBits: 0) == .zero)
  }

  @Test func waitsBetweenAttempts() async throws {
    let harness = try ChainHarness(.tcp) { Retry(attempts: 2, backoff: .exponential(from: .seconds(10))) }
    let run = await harness.start()
    await run.fail(Rejection(.connectionRefused))
    #expect(run.calls == 1 && run.outcome == .waiting)
    harness.clock.advance(by: .seconds(10))
    #expect(run.calls == 2)
    await run.finish()
  }

  @Test func waitsAsLongAsTheErrorAsksFor() async throws {
    let harness = try ChainHarness(.tcp) { Retry(attempts: 2, backoff: .none) }
    let run = await harness.start()
    await run.fail(Rejection(.overloaded, retryAfter: .seconds(3)))
    harness.clock.advance(by: .milliseconds(2999))
    #expect(run.calls == 1)
    harness.clock.advance(by: .milliseconds(1))
    #expect(run.calls == 2)
    await run.finish()
  }

  @Test func doesNotStartAPauseThatOutlastsTheDeadline() async throws {
    let harness = try ChainHarness(.tcp) {
      Timeout(.seconds(5))
      Retry(attempts: 2, backoff: .none)
    }
    let run = await harness.start()
    await run.fail(Rejection(.overloaded, retryAfter: .seconds(5)))
    #expect(run.outcome == .refused(.overloaded))
    #expect(harness.clock.now == Instant(nanoseconds: 1_000_000_000))
  }

  @Test func aClientThatGoesAwayEndsThePause() async throws {
    let harness = try ChainHarness(.tcp) { Retry(attempts: 2, backoff: .exponential(from: .seconds(10))) }
    let run = await harness.start()
    await run.fail(Rejection(.connectionRefused))
    await run.cut(.clientGone)
    #expect(run.outcome == .refused(.clientGone))
    #expect(run.calls == 1)
  }

  @Test func anAttemptThatTakesTooLongIsGivenUp() async throws {
    let harness = try ChainHarness(.tcp) { Retry(attempts: 2, perTry: .seconds(4), backoff: .none) }
    let run = await harness.start()
    harness.clock.advance(by: .seconds(4))
    #expect(run.calls == 2)
    harness.clock.advance(by: .seconds(4))
    #expect(run.rejection?.detail == "no answer after 4.0 seconds")
  }

  @Test func theDeadlineAboveIsNotRetried() async throws {
    let harness = try ChainHarness(.tcp) {
      Timeout(.seconds(4))
      Retry(attempts: 3, backoff: .none)
    }
    let run = await harness.start()
    harness.clock.advance(by: .seconds(4))
    #expect(run.outcome == .refused(.deadlineExceeded))
    #expect(run.calls == 1)
  }

  @Test func aStatusOfTheUpstreamCountsAsAFailureWhileAttemptsAreLeft() async throws {
    let harness = try ChainHarness(.http) { Retry(attempts: 2, on: [503], backoff: .none) }
    let run = await harness.start()
    await run.perform { try await answer(503, $0) }
    #expect(run.calls == 2)
    await run.perform { try await answer(503, $0) }
    await run.finish()
    // The last answer passes as it is.
    #expect(run.response?.status == 503)
    #expect(run.outcome == .served())
  }

  @Test func aStatusIsNotRetriedForWhatIsNotIdempotentNorWhenItIsOurOwn() async throws {
    let harness = try ChainHarness(.http) { Retry(attempts: 2, on: [503], backoff: .none) }
    let post = await harness.start(MockClient(method: .post))
    await post.perform { try await answer(503, $0) }
    #expect(post.calls == 1)
    await post.finish()
    #expect(post.response?.status == 503)
    let local = await harness.start()
    await local.perform { _ = try await ($0 as? HTTPExchange)?.respond(503) }
    #expect(local.calls == 1)
    await local.finish()
    let other = await harness.start()
    await other.perform { try await answer(500, $0) }
    #expect(other.calls == 1)
    await other.finish()
  }

  @Test func attemptsThatDoNotFitTheTimeoutAboveAreRefusedWithTheirNumbers() {
    let found = complaints {
      _ = try ChainHarness(.tcp) {
        Timeout(.seconds(30))
        Retry(attempts: 3, perTry: .seconds(20), backoff: .exponential(from: .seconds(1)))
      }
    }
    #expect(
      found == [
        "retry: 3 attempts of 20.0 seconds with pauses of up to 3.0 seconds in all do not fit the timeout of "
          + "30.0 seconds above"
      ])
    let pauses = complaints {
      _ = try ChainHarness(.tcp) {
        Timeout(.seconds(3))
        Retry(attempts: 3, backoff: .exponential(from: .seconds(1)))
      }
    }
    #expect(
      pauses == ["retry: pauses of up to 3.0 seconds in all leave no time within the timeout of 3.0 seconds above"])
  }

  @Test func attemptsThatFitAreNotRefused() {
    let found = complaints {
      _ = try ChainHarness(.tcp) {
        Timeout(.seconds(63))
        Retry(attempts: 3, perTry: .seconds(20), backoff: .exponential(from: .seconds(1)))
      }
    }
    #expect(found == [])
  }

  @Test func retriesDoNotMultiply() {
    let found = complaints {
      _ = try ChainHarness(.tcp) {
        Retry(attempts: 3)
        Retry(attempts: 4)
      }
    }
    #expect(
      found == [
        "retry: a retry of 3 attempts stands above: together up to 12 attempts would be made; keep one of them"
      ])
  }

  @Test func numbersOutOfRangeAreRefusedByName() {
    let found = complaints {
      _ = try ChainHarness(.tcp) {
        Retry(
          attempts: 0, perTry: .zero, on: [200], backoff: .exponential(from: .seconds(2), upTo: .seconds(1)))
      }
    }
    #expect(
      found == [
        "retry: 0 attempts: 1 to 10 are allowed",
        "retry: 0.0 seconds per try: it must be more than 0 seconds",
        "retry: status 200: 400 to 599 can be retried",
        "retry: a backoff from 2.0 seconds up to 1.0 seconds: the second must not be less than the first",
      ])
  }
}

/// What an upstream's answer is to the chain.
private func answer(_ status: Int, _ exchange: Exchange) async throws {
  guard let exchange = exchange as? HTTPExchange else { throw Rejection(.internalError) }
  try await exchange.commit { head in
    head.status = status
    head.origin = .upstream
  }
}
