import Middlewares
import Pipeline
import PipelineTesting
import Testing

@Suite struct FallbackTests {
  /// A second place: what comes to it is served, and says so.
  private struct Elsewhere: Destination {
    let arrivals: ArrivalCount
    func serve(_ exchange: Exchange) async throws -> Summary {
      arrivals.add()
      return Summary(endedBy: .proxy)
    }
  }

  @Test(arguments: [
    Rejection.Kind.connectionRefused, .connectTimeout, .hostUnreachable, .nameNotFound, .upstreamReset, .overloaded,
  ]) func takesOverWhatCannotBeServedBelow(_ kind: Rejection.Kind) async throws {
    let arrivals = ArrivalCount()
    let harness = try ChainHarness(.tcp) { Fallback(to: Elsewhere(arrivals: arrivals)) }
    let outcome = await harness.run { _ in throw Rejection(kind) }
    #expect(outcome == .served(Summary(endedBy: .proxy)))
    #expect(arrivals.value == 1)
  }

  @Test(arguments: [
    Rejection.Kind.forbidden, .rateLimited, .clientGone, .draining, .malformed, .internalError, .bodyTooLarge,
  ]) func whatTheUpstreamHasNotDonePasses(_ kind: Rejection.Kind) async throws {
    let arrivals = ArrivalCount()
    let harness = try ChainHarness(.tcp) { Fallback(to: Elsewhere(arrivals: arrivals)) }
    #expect(await harness.run { _ in throw Rejection(kind) } == .refused(kind))
    #expect(arrivals.value == 0)
  }

  @Test func onceAByteWasRelayedItDoesNotTakeOver() async throws {
    let arrivals = ArrivalCount()
    let harness = try ChainHarness(.tcp) { Fallback(to: Elsewhere(arrivals: arrivals)) }
    let run = await harness.start()
    await run.move(down: 1)
    await run.fail(Rejection(.upstreamReset))
    #expect(run.outcome == .refused(.upstreamReset))
    #expect(arrivals.value == 0)
  }

  @Test func whatGoesWellDoesNotComeToIt() async throws {
    let arrivals = ArrivalCount()
    let harness = try ChainHarness(.tcp) { Fallback(to: Elsewhere(arrivals: arrivals)) }
    #expect(await harness.run() == .served())
    #expect(arrivals.value == 0)
  }

  @Test func retriesBelowComeFirst() async throws {
    let arrivals = ArrivalCount()
    let harness = try ChainHarness(.tcp) {
      Fallback(to: Elsewhere(arrivals: arrivals))
      Retry(attempts: 3, backoff: .none)
    }
    let run = await harness.start()
    for _ in 0..<3 {
      #expect(arrivals.value == 0)
      await run.fail(Rejection(.connectionRefused))
    }
    #expect(run.calls == 3 && arrivals.value == 1)
  }

  @Test func anOpenCircuitLeadsToIt() async throws {
    let arrivals = ArrivalCount()
    let harness = try ChainHarness(.tcp) {
      Fallback(to: Elsewhere(arrivals: arrivals))
      CircuitBreaker(.consecutive(1))
    }
    await harness.run { _ in throw Rejection(.connectionRefused) }
    let run = await harness.start()
    #expect(run.calls == 0 && arrivals.value == 2)
  }

  @Test func aStatusOfTheUpstreamLeadsToItAndItsOwnDoesNot() async throws {
    let harness = try ChainHarness(.http) {
      Fallback(to: Respond(503, "back soon"))
      Retry(attempts: 2, on: [503], backoff: .none)
    }
    let run = await harness.start()
    for _ in 0..<2 { await run.perform { _ = try await ($0 as? MockHTTPExchange)?.relay(503, body: [1]) } }
    #expect(run.calls == 2)
    #expect(run.response?.status == 503 && run.response?.origin == .local)
    #expect(String(decoding: run.responseBody, as: UTF8.self) == "back soon")
    let other = await harness.start()
    await other.perform { _ = try await ($0 as? MockHTTPExchange)?.relay(404) }
    await other.finish()
    #expect(other.response?.status == 404)
  }

  @Test func itsAnswerGoesThroughTheElementsAbove() async throws {
    let harness = try ChainHarness(.http) {
      Middlewares.Headers(response: .set("x-edge", "1"))
      Fallback(to: Respond(200))
      Middlewares.Headers(response: .set("x-below", "1"))
    }
    let run = await harness.start()
    await run.fail(Rejection(.connectionRefused))
    #expect(run.response?.status == 200)
    #expect(run.response?.fields["x-edge"] == "1")
    #expect(run.response?.fields["x-below"] == nil)
  }

  @Test func aFailureOfTheFallbackIsTheClients() async throws {
    let harness = try ChainHarness(.http) {
      Fallback(to: Handle { _ in throw Rejection(.hostUnreachable) })
    }
    #expect(await harness.run { _ in throw Rejection(.connectionRefused) } == .refused(.hostUnreachable))
  }

  @Test func itHasItsPlaceInThePlanAndItsCounts() async throws {
    let harness = try ChainHarness(.http) {
      Fallback(to: Respond(503))
      Retry(attempts: 2, backoff: .none)
    }
    await harness.run { _ in throw Rejection(.connectionRefused) }
    let counts = harness.service.counts().map { "\($0.label) \($0.entered)/\($0.refused)/\($0.failed)" }
    #expect(counts == ["fallback 1/0/0", "respond 1/0/0", "retry 1/0/0", "test 2/0/2"])
    #expect(
      Plan([harness.service]).drawn(as: .text) == """
        http: http on 127.0.0.1:1
        ├─ fallback  on=502 503 504
        │  └▶ respond  status=503
        ├─ retry  attempts=2 budget=20 % plus 10 per second
        └▶ test

        """)
  }

  @Test func belowARetryItIsRefused() {
    let found = complaints {
      _ = try ChainHarness(.http) {
        Retry(attempts: 2)
        Fallback(to: Respond(503), on: [200], replay: -1)
      }
    }
    #expect(
      found == [
        "fallback: status 200: 400 to 599 can lead to a fallback",
        "fallback: replay of -1 bytes: 0 to 262144 are allowed",
        "fallback: a retry above it would repeat the fallback, too: move the fallback above the retry, so that the retry "
          + "comes first",
      ])
  }
}
