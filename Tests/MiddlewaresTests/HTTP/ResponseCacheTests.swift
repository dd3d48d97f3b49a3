import Middlewares
import Pipeline
import PipelineTesting
import Testing

/// What is stored, and for how long.
struct ResponseCacheTests {
  @Test func aFreshResponseIsServedWithoutTheOrigin() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, ["cache-control": "max-age=60", "content-type": "text/plain", "x-thing": "1"])
    let first = await origin.get("/a?b=1")
    #expect(first.cache == "MISS")
    #expect(first.body == "hello")
    origin.clock.advance(by: .seconds(7))
    let second = await origin.get("/a?b=1")
    #expect(second.cache == "HIT")
    #expect(second.status == 200)
    #expect(second.body == "hello")
    #expect(second["age"] == "7")
    #expect(second["content-type"] == "text/plain")
    #expect(second["x-thing"] == "1")
    #expect(second["content-length"] == "5")
    #expect(second["date"] == "Mon, 01 Jan 2024 00:00:00 GMT")
    #expect(origin.calls == 1)
    #expect(origin.store.statistics.hits == 1)
    #expect(origin.store.statistics.misses == 1)
    #expect(origin.store.statistics.entries == 1)
  }

  @Test func afterItsTimeTheOriginIsAskedAgain() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, ["cache-control": "max-age=60"], body: "one")
    _ = await origin.get()
    origin.clock.advance(by: .seconds(60))
    origin.answers(200, ["cache-control": "max-age=60"], body: "two")
    #expect(await origin.get().body == "two")
    #expect(await origin.get().body == "two")
    #expect(origin.calls == 2)
  }

  @Test(arguments: [
    "no-store", "private", "private=\"x-a\"", "max-age=0", "max-age=abc", "no-cache", "s-maxage=0, max-age=60", "",
    "max-age=60, max-age=0", "NO-STORE, max-age=60", "max-age=60,\tPrivate",
  ])
  func isNotServedAgain(_ control: String) async throws {
    let origin = try CachedOrigin()
    origin.answers(200, ["cache-control": control])
    _ = await origin.get()
    #expect(await origin.get().cache == "MISS")
    #expect(origin.calls == 2)
  }

  @Test(arguments: [
    "max-age=1", "s-maxage=5, max-age=0", "public, max-age=9", "max-age=\"7\"", "foo=\"a, no-store\", max-age=7",
    "no-store, must-understand, max-age=9", "max-age=99999999999999999999", "MAX-AGE=3",
  ])
  func isServedAgain(_ control: String) async throws {
    let origin = try CachedOrigin()
    origin.answers(200, ["cache-control": control])
    _ = await origin.get()
    #expect(await origin.get().cache == "HIT")
  }

  @Test(arguments: [200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414, 501])
  func theseStatusesAreStored(_ status: Int) async throws {
    let origin = try CachedOrigin()
    origin.answers(status)
    _ = await origin.get()
    let again = await origin.get()
    #expect(again.cache == "HIT")
    #expect(again.status == status)
    #expect(again["content-length"] == (status == 204 ? nil : "5"))
  }

  @Test(arguments: [201, 206, 304, 400, 401, 403, 407, 416, 429, 500, 502, 503, 504])
  func theseStatusesAreNotStored(_ status: Int) async throws {
    let origin = try CachedOrigin()
    origin.answers(status)
    _ = await origin.get()
    #expect(await origin.get().status == status)
    #expect(origin.calls == 2)
    #expect(origin.store.statistics.stored == 0)
  }

  @Test func expiresIsCountedFromDate() async throws {
    let origin = try CachedOrigin()
    origin.answers(
      200, ["date": "Mon, 01 Jan 2024 00:00:00 GMT", "expires": "Mon, 01 Jan 2024 00:00:10 GMT"])
    _ = await origin.get()
    origin.clock.advance(by: .seconds(9))
    #expect(await origin.get().cache == "HIT")
    origin.clock.advance(by: .seconds(1))
    #expect(await origin.get().cache == "MISS")
  }

  @Test(arguments: ["0", "-1", "yesterday", "Mon, 32 Jan 2024 00:00:10 GMT"])
  func anExpiresThatIsNoDateHasExpired(_ expires: String) async throws {
    let origin = try CachedOrigin { ResponseCache($0, defaultTTL: .seconds(60), clock: $1) }
    origin.answers(200, ["expires": expires])
    _ = await origin.get()
    #expect(await origin.get().cache == "MISS")
  }

  @Test func ageOfTheOriginCountsAndIsPassedOn() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, ["cache-control": "max-age=60", "age": "50"])
    _ = await origin.get()
    origin.clock.advance(by: .seconds(9))
    #expect(await origin.get()["age"] == "59")
    origin.clock.advance(by: .seconds(1))
    #expect(await origin.get().cache == "MISS")
  }

  @Test func anOldDateMakesAResponseOld() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, ["cache-control": "max-age=60", "date": "Sun, 31 Dec 2023 23:59:20 GMT"])
    _ = await origin.get()
    #expect(await origin.get()["age"] == "40")
    origin.clock.advance(by: .seconds(20))
    #expect(await origin.get().cache == "MISS")
  }

  @Test func theTimeThatTheAnswerTookCountsAsAge() async throws {
    let origin = try CachedOrigin()
    origin.answers { exchange in
      try await exchange.sleep(for: .seconds(5))
      return try await exchange.relay(200, ["cache-control": "max-age=60", "age": "1"])
    }
    let run = await origin.harness.start(origin.client(.get, "/", [:]))
    await run.perform { exchange in _ = try await origin.serve(exchange) }
    origin.clock.advance(by: .seconds(5))
    await run.finish()
    #expect(await origin.get()["age"] == "6")
  }

  @Test func theDefaultIsForThoseThatSayNothing() async throws {
    let origin = try CachedOrigin { ResponseCache($0, defaultTTL: .seconds(10), clock: $1) }
    origin.answers(200, [:])
    _ = await origin.get("/quiet")
    #expect(await origin.get("/quiet").cache == "HIT")
    origin.clock.advance(by: .seconds(10))
    #expect(await origin.get("/quiet").cache == "MISS")
    origin.answers(404, [:])
    _ = await origin.get("/missing")
    #expect(await origin.get("/missing").cache == "MISS")
    origin.answers(200, ["cache-control": "max-age=0"])
    _ = await origin.get("/said")
    #expect(await origin.get("/said").cache == "MISS")
  }

  @Test func heuristicsAreUsedOnRequestOnly() async throws {
    let fields: KeyValuePairs<HeaderName, String> = [
      "date": "Mon, 01 Jan 2024 00:00:00 GMT", "last-modified": "Sun, 31 Dec 2023 23:58:20 GMT",
    ]
    let strict = try CachedOrigin()
    strict.answers(200, fields)
    _ = await strict.get()
    #expect(await strict.get().cache == "MISS")
    let guessing = try CachedOrigin { ResponseCache($0, usesHeuristics: true, clock: $1) }
    guessing.answers(200, fields)
    _ = await guessing.get()
    guessing.clock.advance(by: .seconds(9))
    #expect(await guessing.get().cache == "HIT")
    guessing.clock.advance(by: .seconds(1))
    #expect(await guessing.get().cache == "MISS")
  }

  // MARK: What is one client's

  @Test func whatWasAskedForWithCredentialsIsNotForOthers() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, ["cache-control": "max-age=60"])
    _ = await origin.get("/", ["authorization": "Bearer a"])
    #expect(await origin.get().cache == "MISS")
  }

  @Test(arguments: ["public, max-age=60", "s-maxage=60", "must-revalidate, max-age=60"])
  func unlessTheOriginSaysSo(_ control: String) async throws {
    let origin = try CachedOrigin()
    origin.answers(200, ["cache-control": control])
    _ = await origin.get("/", ["authorization": "Bearer a"])
    #expect(await origin.get().cache == "HIT")
  }

  @Test func aResponseThatSetsACookieIsNotStored() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, ["cache-control": "public, max-age=60", "set-cookie": "id=1"])
    _ = await origin.get()
    #expect(await origin.get().cache == "MISS")
  }

  @Test func orIsStoredWithoutTheCookie() async throws {
    let origin = try CachedOrigin { ResponseCache($0, setCookie: .strip, clock: $1) }
    origin.answers(200, ["cache-control": "public, max-age=60", "set-cookie": "id=1"])
    #expect(await origin.get()["set-cookie"] == "id=1")
    let second = await origin.get()
    #expect(second.cache == "HIT")
    #expect(second["set-cookie"] == nil)
  }

  @Test func fieldsOfOneConnectionOrClientAreNotStored() async throws {
    let origin = try CachedOrigin()
    origin.answers { exchange in
      exchange.annotate(.rateLimit(.init(limit: 5, remaining: 4, resetSeconds: 1)))
      return try await exchange.relay(
        200,
        ["cache-control": "max-age=60", "keep-alive": "timeout=5", "proxy-authenticate": "Basic", "connection": "x"])
    }
    _ = await origin.get()
    let hit = await origin.get()
    #expect(hit.cache == "HIT")
    for name: HeaderName in [
      "ratelimit-limit", "ratelimit-remaining", "keep-alive", "proxy-authenticate", "connection",
    ] {
      #expect(hit[name] == nil)
    }
  }

  // MARK: Bodies

  @Test func aBodyThatWasCutIsNotStored() async throws {
    let origin = try CachedOrigin()
    origin.answers { try await $0.relay(200, ["cache-control": "max-age=60"], body: Array("hello".utf8), cutAfter: 3) }
    #expect(await origin.get().run.outcome == .refused(.upstreamReset))
    origin.answers()
    #expect(await origin.get().cache == "MISS")
    #expect(origin.store.statistics.stored == 1)
  }

  @Test func aBodyThatIsTooLargeIsNotStored() async throws {
    let origin = try CachedOrigin(store: CacheStore(maxBytes: 1 << 20, maxEntryBytes: 2048))
    origin.answers(200, ["cache-control": "max-age=60"], body: String(repeating: "x", count: 2049))
    #expect(await origin.get().body.utf8.count == 2049)
    #expect(await origin.get().cache == "MISS")
    #expect(origin.store.statistics.entries == 1, "a note that it is not shared")
  }

  @Test func aBodyThatAnElementAboveReplacesIsNotStored() async throws {
    struct Page: HTTPMiddleware {
      func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
        if head.status == 404 { head.replaceBody(Array("page".utf8)) }
      }
    }
    let store = CacheStore()
    let harness = try ChainHarness(.http) {
      Page()
      ResponseCache(store)
    }
    var client = MockClient()
    client.request.fields.set("host", "a")
    for _ in 0..<2 {
      let run = await harness.send(client) { exchange in
        try await (exchange as! MockHTTPExchange).relay(404, ["cache-control": "max-age=60"], body: Array("no".utf8))
      }
      #expect(run.responseBody == Array("page".utf8))
      #expect(run.response?.fields["x-cache-status"] == "MISS")
    }
    #expect(store.statistics.stored == 0)
  }

  @Test func whatElementsBelowHaveWrittenIsStoredAndWhatIsAboveRunsAgain() async throws {
    struct Stamp: HTTPMiddleware {
      let name: HeaderName
      func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws { head.fields.add(name, "1") }
    }
    let harness = try ChainHarness(.http) {
      Stamp(name: "x-above")
      ResponseCache(CacheStore())
      Stamp(name: "x-below")
    }
    var client = MockClient()
    client.request.fields.set("host", "a")
    for _ in 0..<2 {
      let run = await harness.send(client) { exchange in
        try await (exchange as! MockHTTPExchange).relay(200, ["cache-control": "max-age=60"])
      }
      #expect(run.response?.fields.values(of: "x-above") == ["1"])
      #expect(run.response?.fields.values(of: "x-below") == ["1"])
    }
  }

  @Test func anAuthoredResponseIsStored() async throws {
    let origin = try CachedOrigin()
    origin.answers {
      try await $0.respond(200, body: Array("ours".utf8)) { $0.fields.set("cache-control", "max-age=9") }
    }
    _ = await origin.get()
    let hit = await origin.get()
    #expect(hit.cache == "HIT")
    #expect(hit.body == "ours")
  }

  @Test func aStreamedResponseIsStored() async throws {
    let origin = try CachedOrigin()
    origin.answers { exchange in
      try await exchange.respond(200, length: nil, { $0.fields.set("cache-control", "max-age=9") }) { exchange in
        try await exchange.writeBody(Array("one ".utf8))
        try await exchange.writeBody(Array("two".utf8))
      }
    }
    _ = await origin.get()
    #expect(await origin.get().body == "one two")
  }
}
