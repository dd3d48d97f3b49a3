import Middlewares
import Pipeline
import PipelineTesting
import Testing

/// Asking the origin again, and what is served while it cannot be asked.
struct ResponseCacheStaleTests {
  private let tagged: KeyValuePairs<HeaderName, String> = [
    "cache-control": "max-age=60", "etag": "W/\"v1\"", "last-modified": "Sun, 31 Dec 2023 00:00:00 GMT",
    "content-type": "text/plain", "x-version": "1",
  ]

  @Test func aStaleResponseIsAskedForWithItsValidators() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, tagged)
    _ = await origin.get()
    origin.clock.advance(by: .seconds(61))
    origin.answers(
      304, ["cache-control": "max-age=30", "etag": "\"v1\"", "x-version": "2", "content-type": "text/x"], body: "")
    let again = await origin.get("/", ["if-none-match": "\"mine\""])
    #expect(again.cache == "REVALIDATED")
    #expect(again.status == 200)
    #expect(again.body == "hello")
    #expect(again["x-version"] == "2")
    #expect(again["content-type"] == "text/plain", "of the stored body")
    #expect(again["age"] == "0")
    #expect(origin.requests[1].fields["if-none-match"] == "W/\"v1\"")
    #expect(origin.requests[1].fields["if-modified-since"] == "Sun, 31 Dec 2023 00:00:00 GMT")
    let hit = await origin.get()
    #expect(hit.cache == "HIT")
    #expect(hit["x-version"] == "2")
    #expect(hit.run.response?.fields.values(of: "cache-control") == ["max-age=30"])
    origin.clock.advance(by: .seconds(30))
    #expect(await origin.get().cache == "REVALIDATED")
    #expect(origin.store.statistics.revalidated == 2)
    #expect(origin.store.statistics.entries == 1)
  }

  @Test func aClientThatHasItGetsA304AfterTheRevalidation() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, tagged)
    _ = await origin.get()
    origin.clock.advance(by: .seconds(61))
    origin.answers(304, ["etag": "W/\"v1\""], body: "")
    let again = await origin.get("/", ["if-none-match": "\"v1\""])
    #expect(again.status == 304)
    #expect(again.cache == "REVALIDATED")
  }

  @Test func anotherVersionReplacesTheStoredOne() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, tagged)
    _ = await origin.get()
    origin.clock.advance(by: .seconds(61))
    origin.answers(200, ["cache-control": "max-age=60", "etag": "\"v2\""], body: "new")
    #expect(await origin.get().body == "new")
    #expect(await origin.get().body == "new")
    #expect(origin.calls == 2)
    #expect(origin.store.statistics.entries == 1)
  }

  @Test func whatIsGoneIsForgotten() async throws {
    let origin = try CachedOrigin { ResponseCache($0, staleIfError: .seconds(600), clock: $1) }
    origin.answers(200, tagged)
    _ = await origin.get()
    origin.clock.advance(by: .seconds(61))
    origin.answers(404, ["cache-control": "no-store"])
    #expect(await origin.get().status == 404)
    origin.answers(503, [:])
    #expect(await origin.get().status == 503)
  }

  @Test func a304ForAnotherVersionServesNothing() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, tagged)
    _ = await origin.get()
    origin.clock.advance(by: .seconds(61))
    origin.answers(304, ["etag": "\"v2\""], body: "")
    #expect(await origin.get().run.outcome == .refused(.upstreamProtocol))
    origin.answers(200, tagged)
    #expect(await origin.get().cache == "MISS")
    #expect(origin.requests[2].fields.contains("if-none-match") == false)
  }

  @Test func a304ThatForbidsStoringEndsIt() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, tagged)
    _ = await origin.get()
    origin.clock.advance(by: .seconds(61))
    origin.answers(304, ["cache-control": "no-store"], body: "")
    #expect(await origin.get().body == "hello")
    #expect(origin.store.statistics.entries <= 1)
    origin.answers(200, ["cache-control": "no-store"])
    #expect(await origin.get().cache == "MISS")
    #expect(origin.requests[2].fields.contains("if-none-match") == false)
  }

  @Test func noCacheIsStoredAndAlwaysAskedFor() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, ["cache-control": "no-cache", "etag": "\"v\""])
    _ = await origin.get()
    origin.answers(304, ["cache-control": "no-cache", "etag": "\"v\""], body: "")
    for _ in 0..<3 {
      let again = await origin.get()
      #expect(again.cache == "REVALIDATED")
      #expect(again.body == "hello")
    }
    #expect(origin.calls == 4)
  }

  @Test func theRequestIsWholeAgainAfterTheCache() async throws {
    struct Seen: HTTPMiddleware {
      let check: @Sendable (HTTPExchange) -> Void
      func handle(_ exchange: HTTPExchange, next: Next) async throws -> Summary {
        let summary = try await next()
        check(exchange)
        return summary
      }
    }
    let harness = try ChainHarness(.http) {
      Seen { #expect($0.request.fields["if-none-match"] == "\"mine\"") }
      ResponseCache(CacheStore())
    }
    var client = MockClient()
    client.request.fields.set("host", "a")
    client.request.fields.set("if-none-match", "\"mine\"")
    _ = await harness.send(client) { exchange in
      let exchange = exchange as! MockHTTPExchange
      #expect(exchange.request.fields["if-none-match"] == nil)
      return try await exchange.relay(200)
    }
  }

  // MARK: stale-if-error

  private let tolerant: KeyValuePairs<HeaderName, String> = ["cache-control": "max-age=60, stale-if-error=100"]

  @Test(arguments: [500, 502, 503, 504])
  func aFailingOriginIsCoveredForAWhile(_ status: Int) async throws {
    let origin = try CachedOrigin()
    origin.answers(200, tolerant)
    _ = await origin.get()
    origin.clock.advance(by: .seconds(61))
    origin.answers(status, ["x-broken": "yes"], body: "broken")
    let covered = await origin.get()
    #expect(covered.status == 200)
    #expect(covered.body == "hello")
    #expect(covered.cache == "STALE")
    #expect(covered["x-broken"] == nil)
    #expect(covered["age"] == "61")
    origin.clock.advance(by: .seconds(99))
    #expect(await origin.get().status == status)
  }

  @Test(arguments: [Rejection.Kind.connectionRefused, .deadlineExceeded, .upstreamReset, .overloaded])
  func anOriginThatCannotBeReachedIsCovered(_ kind: Rejection.Kind) async throws {
    let origin = try CachedOrigin { ResponseCache($0, staleIfError: .seconds(100), clock: $1) }
    origin.answers()
    _ = await origin.get()
    origin.clock.advance(by: .seconds(61))
    origin.answers { _ in throw Rejection(kind) }
    #expect(await origin.get().cache == "STALE")
    origin.answers { _ in throw Rejection(.forbidden) }
    #expect(await origin.get().run.outcome == .refused(.forbidden))
  }

  @Test func elementsBelowDoNotEditTheStaleAnswerTwice() async throws {
    struct Stamp: HTTPMiddleware {
      func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws { head.fields.add("x-below", "1") }
    }
    let clock = ManualClock()
    let harness = try ChainHarness(.http, clock: clock) {
      ResponseCache(CacheStore(), defaultTTL: .seconds(1), staleIfError: .seconds(60))
      Stamp()
    }
    var client = MockClient()
    client.request.fields.set("host", "a")
    _ = await harness.send(client) { try await ($0 as! MockHTTPExchange).relay(200) }
    clock.advance(by: .seconds(2))
    let run = await harness.send(client) { _ in throw Rejection(.connectionRefused) }
    #expect(run.response?.fields.values(of: "x-below") == ["1"])
    #expect(run.response?.fields["x-cache-status"] == "STALE")
  }

  @Test(arguments: ["max-age=60, must-revalidate, stale-if-error=100", "max-age=60"])
  func whatMustBeFreshIsNotCovered(_ control: String) async throws {
    let origin = try CachedOrigin()
    origin.answers(200, ["cache-control": control])
    _ = await origin.get()
    origin.clock.advance(by: .seconds(61))
    origin.answers(503, [:])
    #expect(await origin.get().status == 503)
  }

  @Test func aClientThatWantsItFreshSeesTheFailure() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, tolerant)
    _ = await origin.get()
    origin.answers(503, [:])
    #expect(await origin.get("/", ["cache-control": "no-cache"]).status == 503)
    #expect(await origin.get().cache == "HIT")
  }

  // MARK: stale-while-revalidate

  private let patient: KeyValuePairs<HeaderName, String> = [
    "cache-control": "max-age=60, stale-while-revalidate=30", "etag": "\"v1\"",
  ]

  @Test func theClientGetsTheStaleAnswerAtOnceAndTheNextOneTheFresh() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, patient)
    _ = await origin.get()
    origin.clock.advance(by: .seconds(61))
    origin.answers(200, patient, body: "new")
    let stale = await origin.get()
    #expect(stale.cache == "UPDATING")
    #expect(stale.body == "hello")
    #expect(stale["age"] == "61")
    #expect(origin.calls == 2)
    #expect(origin.requests[1].fields["if-none-match"] == "\"v1\"")
    let fresh = await origin.get()
    #expect(fresh.cache == "HIT")
    #expect(fresh.body == "new")
  }

  @Test func a304RefreshesBehindTheClientsBackToo() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, patient)
    _ = await origin.get()
    origin.clock.advance(by: .seconds(61))
    origin.answers(304, patient, body: "")
    #expect(await origin.get().cache == "UPDATING")
    #expect(await origin.get().cache == "HIT")
    #expect(origin.calls == 2)
  }

  @Test func onlyOneAsksAndNobodyWaits() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, patient)
    _ = await origin.get()
    origin.clock.advance(by: .seconds(61))
    let slow = await origin.harness.start(origin.client(.get, "/", [:]))
    #expect(slow.isAtEnd)
    for _ in 0..<3 {
      let other = await origin.get()
      #expect(other.cache == "UPDATING")
      #expect(other.body == "hello")
    }
    #expect(origin.calls == 1)
    await slow.perform { exchange in
      _ = try await (exchange as! MockHTTPExchange).relay(304, ["cache-control": "max-age=9"])
    }
    await slow.finish()
    #expect(await origin.get().cache == "HIT")
  }

  @Test func afterItsWindowTheClientWaits() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, patient)
    _ = await origin.get()
    origin.clock.advance(by: .seconds(90))
    origin.answers(200, patient, body: "new")
    #expect(await origin.get().body == "new")
  }

  @Test func aFailedRefreshIsNotRepeatedByEveryRequest() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, patient)
    _ = await origin.get()
    origin.clock.advance(by: .seconds(61))
    origin.answers { _ in throw Rejection(.connectionRefused) }
    let first = await origin.get()
    #expect(first.run.outcome == .served(Summary(endedBy: .proxy)))
    #expect(first.body == "hello")
    for _ in 0..<5 { #expect(await origin.get().cache == "STALE") }
    #expect(origin.calls == 2)
    #expect(origin.harness.log.text.contains { $0.contains("could not be refreshed") })
    origin.clock.advance(by: .seconds(1))
    origin.answers(200, patient, body: "new")
    #expect(await origin.get().cache == "UPDATING")
    #expect(await origin.get().body == "new")
  }

  @Test func aRefreshThatIsCutStoresNothing() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, patient)
    _ = await origin.get()
    origin.clock.advance(by: .seconds(61))
    origin.answers { try await $0.relay(200, ["cache-control": "max-age=60"], body: Array("new".utf8), cutAfter: 1) }
    #expect(await origin.get().body == "hello")
    #expect(await origin.get().body == "hello")
  }
}
