import Pipeline
import PipelineTesting
import Testing

@testable import Middlewares

/// What only HTTP requests have: bodies, methods, `retry-after`.
@Suite struct RetryRequestTests {
  private static let now = WallClock { UnixTime(seconds: 784_111_777) }  // Sun, 06 Nov 1994 08:49:37 GMT

  private func harness(
    _ retry: Retry = Retry(attempts: 2, on: [503], backoff: .none, clock: now)
  ) throws -> ChainHarness<HTTPExchange> {
    try ChainHarness(.http) { retry }
  }

  // MARK: retry-after

  /// After a 503 with these fields: how long the next attempt is waited for; `nil`: there is none.
  private func wait(
    _ fields: KeyValuePairs<HeaderName, String>,
    _ retry: Retry = Retry(attempts: 2, on: [503], backoff: .none, clock: now)
  ) async throws -> Duration? {
    let harness = try harness(retry)
    let run = await harness.start()
    let began = harness.clock.now
    await run.perform { exchange in
      guard let exchange = exchange as? HTTPExchange else { return }
      try await exchange.commit { head in
        head.status = 503
        for (name, value) in fields { head.fields.add(name, value) }
      }
    }
    while run.calls == 1, run.outcome == .waiting, !run.isAtEnd { harness.clock.advance(by: .milliseconds(500)) }
    guard run.calls == 2 else {
      #expect(run.isAtEnd)
      await run.finish()
      #expect(run.response?.status == 503)
      return nil
    }
    await run.finish()
    return harness.clock.now - began
  }

  @Test func secondsAreWaitedFor() async throws {
    #expect(try await wait(["retry-after": "3"]) == .seconds(3))
    #expect(try await wait(["retry-after": "0"]) == .zero)
    #expect(try await wait([:]) == .zero)
  }

  @Test func aDateIsWaitedForByTheUpstreamsOwnClock() async throws {
    #expect(try await wait(["retry-after": "Sun, 06 Nov 1994 08:49:42 GMT"]) == .seconds(5))
    #expect(
      try await wait([
        "retry-after": "Mon, 07 Nov 1994 00:00:04 GMT", "date": "Mon, 07 Nov 1994 00:00:00 GMT",
      ]) == .seconds(4))
    #expect(try await wait(["retry-after": "Sun, 06 Nov 1994 08:49:07 GMT"]) == .zero)
  }

  @Test(arguments: ["", "soon", "-1", "1.5", "9999999999999999999999"]) func whatCannotBeReadIsNotWaitedFor(
    _ text: String
  ) async throws {
    #expect(try await wait(["retry-after": text]) == .zero)
  }

  @Test func anUpstreamThatAsksForTooLongIsNotAskedAgain() async throws {
    #expect(try await wait(["retry-after": "10"]) == .seconds(10))
    #expect(try await wait(["retry-after": "11"]) == nil)
    let patient = Retry(attempts: 2, on: [503], backoff: .none, longestWait: .seconds(60), clock: Self.now)
    #expect(try await wait(["retry-after": "60"], patient) == .seconds(60))
  }

  @Test func aWaitThatOutlastsTheDeadlineIsNotBegun() async throws {
    let harness = try ChainHarness(.http) {
      Timeout(.seconds(5))
      Retry(attempts: 2, on: [503], backoff: .none)
    }
    let run = await harness.start()
    await run.perform { exchange in
      try await (exchange as? HTTPExchange)?.commit { head in
        head.status = 503
        head.fields.set("retry-after", "5")
      }
    }
    #expect(run.isAtEnd && run.calls == 1)
    await run.finish()
    #expect(run.response?.status == 503)
    #expect(run.response?.fields["retry-after"] == "5")
  }

  // MARK: What is not idempotent

  private func calls(
    _ retry: Retry, _ method: HTTPMethod, _ fields: KeyValuePairs<HeaderName, String> = [:],
    _ error: Rejection = Rejection(.upstreamReset)
  ) async throws -> Int {
    let harness = try ChainHarness(.http) { retry }
    var client = MockClient(method: method)
    for (name, value) in fields { client.request.fields.add(name, value) }
    let run = await harness.start(client)
    await run.fail(error)
    let calls = run.calls
    if run.isAtEnd { await run.finish() }
    return calls
  }

  @Test func whatTheApplicationRecognisesIsTriedAgain() async throws {
    let retry = Retry(attempts: 2, backoff: .none).allowNonIdempotent(when: .field("idempotency-key"))
    #expect(try await calls(retry, .post) == 1)
    #expect(try await calls(retry, .post, ["idempotency-key": "7"]) == 2)
    #expect(try await calls(retry, .post, ["idempotency-key": "7"], Rejection(.forbidden)) == 1)
    let patch = Retry(attempts: 2, backoff: .none).allowNonIdempotent(
      when: .method(.patch), .custom("tenant") { $0.request.path == "/" })
    #expect(try await calls(patch, .patch) == 2)
    #expect(try await calls(patch, .post) == 2)
  }

  @Test func thePlanNamesTheConditions() throws {
    let retry = Retry(attempts: 2).allowNonIdempotent(when: .field("idempotency-key"), .method(.post))
    let plan = retry.parameters.filter { $0.name == "non-idempotent" }.map(\.value)
    #expect(plan == ["field idempotency-key", "method POST"])
  }

  @Test func onATunnelItIsRefused() {
    let found = complaints {
      _ = try ChainHarness(.tcp) { Retry(attempts: 2).allowNonIdempotent(when: .method(.post)) }
    }
    #expect(
      found == [
        "retry: allowNonIdempotent concerns HTTP requests: a tunnel can always be tried again until it is open; leave it out"
      ])
  }

  // MARK: Bodies

  private func put(_ size: Int) -> MockClient {
    var client = MockClient(method: .put)
    client.body = [[UInt8](repeating: 7, count: size / 2), [UInt8](repeating: 8, count: size - size / 2)]
    return client
  }

  @Test(arguments: [1, 1000, 64 * 1024]) func aBodyThatWasKeptIsReadAgain(_ size: Int) async throws {
    let harness = try harness()
    let client = put(size)
    let body = client.body.flatMap { $0 }
    let run = await harness.send(client) { exchange in
      guard let exchange = exchange as? HTTPExchange else { throw Rejection(.internalError) }
      let read = try await exchange.collectBody(upTo: 1 << 20)
      if exchange.attempt == 1 { throw Rejection(.upstreamReset) }
      return try await exchange.respond(read == body ? 200 : 400)
    }
    #expect(run.calls == 2)
    #expect(run.response?.status == 200)
  }

  @Test func aBodyThatIsLongerIsNotTriedAgain() async throws {
    for retry in [Retry(attempts: 2, backoff: .none), Retry(attempts: 2, backoff: .none, replay: 0)] {
      let harness = try harness(retry)
      let run = await harness.send(put(retry.replay + 1)) { exchange in
        _ = try await (exchange as? HTTPExchange)?.collectBody(upTo: 1 << 20)
        throw Rejection(.connectionRefused)
      }
      #expect(run.calls == 1)
      #expect(run.outcome == .refused(.connectionRefused))
    }
  }

  @Test func aBodyThatNobodyHasReadForbidsNothing() async throws {
    let harness = try harness(Retry(attempts: 2, backoff: .none, replay: 0))
    let run = await harness.send(put(100)) { _ in throw Rejection(.connectionRefused) }
    #expect(run.calls == 2)
  }

  // MARK: The time of an attempt

  @Test func theLimitOfAnAttemptEndsWithTheAnswer() async throws {
    let harness = try harness(Retry(attempts: 2, perTry: .seconds(4), backoff: .none))
    let run = await harness.start()
    harness.clock.advance(by: .seconds(3))
    await run.perform { try await answered(200, $0) }
    harness.clock.advance(by: .seconds(3600))
    #expect(run.isAtEnd && run.calls == 1)
    await run.finish()
    #expect(run.outcome == .served())
  }

  @Test func aTunnelThatIsOpenIsNotCutByTheLimitOfAnAttempt() async throws {
    let harness = try ChainHarness(.tcp) { Retry(attempts: 2, perTry: .seconds(4), backoff: .none) }
    let run = await harness.start()
    await run.perform { $0.noteUpstreamAnswer(at: $0.now) }
    harness.clock.advance(by: .seconds(3600))
    #expect(run.isAtEnd && run.calls == 1)
    await run.finish()
    #expect(run.outcome == .served())
  }

  @Test func theDeadlineAroundItHoldsAfterTheAnswer() async throws {
    let harness = try ChainHarness(.http) {
      Timeout(.seconds(10))
      Retry(attempts: 2, perTry: .seconds(4), backoff: .none)
    }
    let run = await harness.start()
    await run.perform { try await answered(200, $0) }
    harness.clock.advance(by: .seconds(9))
    #expect(run.outcome == .waiting)
    harness.clock.advance(by: .seconds(1))
    #expect(run.rejection?.detail == "after 10.0 seconds")
  }

  @Test func everyAttemptHasItsOwnLimit() async throws {
    let harness = try harness(Retry(attempts: 3, perTry: .seconds(4), on: [503], backoff: .none))
    let run = await harness.start()
    harness.clock.advance(by: .seconds(3))
    await run.perform { try await answered(503, $0) }
    #expect(run.calls == 2)
    harness.clock.advance(by: .seconds(3))
    #expect(run.calls == 2)
    harness.clock.advance(by: .seconds(1))
    #expect(run.calls == 3)
    await run.finish()
  }

  @Test func aNearerLimitBelowIsNotLifted() async throws {
    let harness = try ChainHarness(.http) {
      Retry(attempts: 1, perTry: .seconds(9), backoff: .none)
      Timeout(.seconds(4))
    }
    let run = await harness.start()
    await run.perform { try await answered(200, $0) }
    harness.clock.advance(by: .seconds(4))
    #expect(run.rejection?.detail == "after 4.0 seconds")
  }

  // MARK: Refused when the chain is built

  @Test func attemptsOfATimeoutBelowHaveToFitTheOneAbove() {
    let found = complaints {
      _ = try ChainHarness(.http) {
        Timeout(.seconds(30))
        Retry(attempts: 3, backoff: .exponential(from: .seconds(1)))
        Timeout(.seconds(20))
      }
    }
    #expect(
      found == [
        "timeout: 3 attempts of 20.0 seconds with pauses of up to 3.0 seconds in all do not fit the timeout of 30.0 seconds "
          + "above the retry"
      ])
    let fits = complaints {
      _ = try ChainHarness(.http) {
        Timeout(.seconds(63))
        Retry(attempts: 3, backoff: .exponential(from: .seconds(1)))
        Timeout(.seconds(20))
      }
    }
    #expect(fits == [])
  }

  @Test func numbersOfRequestsOutOfRangeAreRefused() {
    let found = complaints {
      _ = try ChainHarness(.http) { Retry(attempts: 2, replay: 262_145, longestWait: .seconds(-1)) }
    }
    #expect(
      found == [
        "retry: replay of 262145 bytes: 0 to 262144 are allowed",
        "retry: a longest wait of -1.0 seconds: it must be 0 seconds or more",
      ])
  }
}

/// What an upstream's answer is to the chain, with the moment in which it comes.
func answered(_ status: Int, _ exchange: Exchange) async throws {
  guard let exchange = exchange as? HTTPExchange else { throw Rejection(.internalError) }
  exchange.upstreamStatus = status
  exchange.noteUpstreamAnswer(at: exchange.now)
  try await exchange.commit { head in
    head.status = status
    head.origin = .upstream
  }
}
