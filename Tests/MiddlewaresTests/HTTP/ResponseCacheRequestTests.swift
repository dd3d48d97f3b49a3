import Middlewares
import Pipeline
import PipelineTesting
import Testing

/// Which stored response belongs to which request, and what a client may ask of it.
struct ResponseCacheRequestTests {
  @Test func hostsAndTargetsAreToldApart() async throws {
    let origin = try CachedOrigin()
    origin.answers()
    _ = await origin.get("/a", ["host": "One.example:80"])
    #expect(await origin.get("/a", ["host": "one.EXAMPLE"]).cache == "HIT")
    #expect(await origin.get("http://one.example/a", ["host": "one.example"]).cache == "HIT")
    #expect(await origin.get("/a", ["host": "one.example:81"]).cache == "MISS")
    #expect(await origin.get("/a", ["host": "two.example"]).cache == "MISS")
    #expect(await origin.get("/A", ["host": "one.example"]).cache == "MISS")
    #expect(await origin.get("/a?", ["host": "one.example"]).cache == "MISS")
    #expect(await origin.get("/%61", ["host": "one.example"]).cache == "MISS")
    // The border between host and path cannot be moved.
    #expect(await origin.get("/ple/a", ["host": "one.exam"]).cache == "MISS")
  }

  @Test(arguments: ["ftp://one.example/a", "http://u@one.example/a", "*"])
  func targetsWithoutAKeyPassBy(_ target: String) async throws {
    let origin = try CachedOrigin()
    origin.answers()
    for _ in 0..<2 { #expect(await origin.get(target).cache == "BYPASS") }
    #expect(origin.calls == 2)
  }

  @Test func theFieldsThatVaryNamesChooseTheResponse() async throws {
    let origin = try CachedOrigin()
    origin.answers { exchange in
      let language = exchange.request.fields.values(of: "accept-language").joined(separator: "|")
      return try await exchange.relay(
        200, ["cache-control": "max-age=60", "vary": "Accept-Language, Accept-Encoding"], body: Array(language.utf8))
    }
    #expect(await origin.get("/", ["accept-language": "en"]).body == "en")
    #expect(await origin.get("/", ["accept-language": "de"]).body == "de")
    #expect(await origin.get().body == "")
    #expect(await origin.get("/", ["accept-language": "en, fr"]).body == "en, fr")
    #expect(origin.calls == 4)
    for (language, body) in [("en", "en"), ("de", "de"), (" en ", "en"), ("en, fr", "en, fr")] {
      let hit = await origin.get("/", ["accept-language": language])
      #expect(hit.cache == "HIT")
      #expect(hit.body == body)
    }
    // Two fields of one name are one list.
    #expect(await origin.get("/", ["Accept-Language": "en", "accept-language": "fr"]).cache == "HIT")
    #expect(await origin.get("/", ["accept-encoding": "gzip"]).cache == "MISS")
    #expect(await origin.get().cache == "HIT")
    #expect(await origin.get("/", ["accept-language": ""]).cache == "MISS")
  }

  @Test func whatVariesByEverythingIsNotStored() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, ["cache-control": "max-age=60", "vary": "*"])
    _ = await origin.get()
    #expect(await origin.get().cache == "MISS")
  }

  @Test func variantsOfOneTargetAreBounded() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, ["cache-control": "max-age=60", "vary": "x-a"])
    for n in 0..<50 { _ = await origin.get("/", ["x-a": "\(n)"]) }
    #expect(origin.store.statistics.entries == 16)
    #expect(await origin.get("/", ["x-a": "49"]).cache == "HIT")
  }

  @Test func aHeadIsServedFromAStoredGet() async throws {
    let origin = try CachedOrigin()
    origin.answers()
    #expect(await origin.send(.head).cache == "BYPASS")
    _ = await origin.get()
    let hit = await origin.send(.head)
    #expect(hit.cache == "HIT")
    #expect(hit["content-length"] == "5")
    #expect(hit.body == "")
    #expect(origin.calls == 2)
  }

  // MARK: Conditions

  private let tagged: KeyValuePairs<HeaderName, String> = [
    "cache-control": "max-age=60", "etag": "\"v1,a\"", "last-modified": "Sun, 31 Dec 2023 00:00:00 GMT",
    "content-type": "text/plain", "content-location": "/x", "vary": "accept",
  ]

  @Test(arguments: [
    ("\"v1,a\"", 304), ("W/\"v1,a\"", 304), ("\"a\", \"v1,a\"", 304), ("*", 304), ("\"v1\"", 200), ("\"v1,a\" x", 304),
    ("v1,a", 200), ("\"", 200),
  ])
  func anEntityTagIsAnsweredFromTheStore(_ condition: String, _ status: Int) async throws {
    let origin = try CachedOrigin()
    origin.answers(200, tagged)
    _ = await origin.get()
    let answer = await origin.get("/", ["if-none-match": condition])
    #expect(answer.cache == "HIT")
    #expect(answer.status == status)
    guard status == 304 else { return }
    #expect(answer.body == "")
    #expect(answer["content-length"] == nil)
    #expect(answer["content-type"] == nil)
    #expect(answer["etag"] == "\"v1,a\"")
    #expect(answer["content-location"] == "/x")
    #expect(answer["vary"] == "accept")
    #expect(answer["age"] == "0")
  }

  @Test(arguments: [
    ("Sun, 31 Dec 2023 00:00:00 GMT", 304), ("Sunday, 31-Dec-23 00:00:00 GMT", 304), ("Sun Dec 31 00:00:00 2023", 304),
    ("Mon, 01 Jan 2024 00:00:00 GMT", 304), ("Sat, 30 Dec 2023 23:59:59 GMT", 200), ("soon", 200),
  ])
  func aDateIsAnsweredFromTheStore(_ condition: String, _ status: Int) async throws {
    let origin = try CachedOrigin()
    origin.answers(200, tagged)
    _ = await origin.get()
    #expect(await origin.get("/", ["if-modified-since": condition]).status == status)
    // The tag decides alone where there are both.
    let both = await origin.get("/", ["if-none-match": "\"other\"", "if-modified-since": condition])
    #expect(both.status == 200)
    #expect(origin.calls == 1)
  }

  @Test func aConditionOnAMissFillsTheCache() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, tagged)
    #expect(await origin.get("/", ["if-none-match": "\"v1,a\""]).status == 200)
    #expect(origin.requests[0].fields.contains("if-none-match") == false)
    #expect(await origin.get("/", ["if-none-match": "\"v1,a\""]).status == 304)
    #expect(origin.calls == 1)
  }

  @Test func aConditionOnWhatIsNotSharedReachesTheOrigin() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, ["cache-control": "private", "etag": "\"v\""])
    _ = await origin.get()
    origin.answers(304, ["cache-control": "private", "etag": "\"v\""])
    #expect(await origin.get("/", ["if-none-match": "\"v\""]).status == 304)
    #expect(origin.requests[1].fields["if-none-match"] == "\"v\"")
  }

  @Test(arguments: ["if-match", "if-unmodified-since"] as [HeaderName])
  func preconditionsOfTheOriginPassBy(_ name: HeaderName) async throws {
    let origin = try CachedOrigin()
    origin.answers(200, tagged)
    _ = await origin.get()
    #expect(await origin.get("/", [name: "\"v1,a\""]).cache == "BYPASS")
  }

  @Test func aClientThatWantsAnotherProtocolPassesBy() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, tagged)
    _ = await origin.get()
    #expect(await origin.get("/", ["upgrade": "websocket"]).cache == "BYPASS")
  }

  // MARK: Ranges

  @Test(arguments: [
    ("bytes=1-2", 206, "el", "bytes 1-2/5"), ("bytes=1-", 206, "ello", "bytes 1-4/5"),
    ("bytes=-2", 206, "lo", "bytes 3-4/5"), ("bytes=0-99", 206, "hello", "bytes 0-4/5"),
    ("bytes=5-", 416, "", "bytes */5"), ("bytes=-0", 416, "", "bytes */5"), ("bytes=0-1,3-4", 200, "hello", nil),
    ("bytes=3-1", 200, "hello", nil), ("lines=1-2", 200, "hello", nil), ("bytes=-99", 206, "hello", "bytes 0-4/5"),
  ])
  func aRangeIsCutFromTheStoredBody(_ range: String, _ status: Int, _ body: String, _ says: String?) async throws {
    let origin = try CachedOrigin()
    origin.answers(200, tagged)
    _ = await origin.get()
    let answer = await origin.get("/", ["range": range])
    #expect(answer.status == status)
    #expect(answer.body == body)
    #expect(answer["content-range"] == says)
    #expect(answer.cache == "HIT")
  }

  @Test func aRangeIsCutOnlyFromWhatTheClientHas() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, tagged)
    _ = await origin.get()
    for (condition, status) in [
      ("\"v1,a\"", 206), ("Sun, 31 Dec 2023 00:00:00 GMT", 206), ("\"v2\"", 200), ("W/\"v1,a\"", 200),
    ] {
      #expect(await origin.get("/", ["range": "bytes=0-0", "if-range": condition]).status == status)
    }
  }

  @Test func aRangeOfWhatIsNotStoredPassesBy() async throws {
    let origin = try CachedOrigin()
    origin.answers(206, ["cache-control": "max-age=60", "content-range": "bytes 0-1/5"], body: "he")
    for _ in 0..<2 {
      let answer = await origin.get("/", ["range": "bytes=0-1"])
      #expect(answer.cache == "BYPASS")
      #expect(answer.status == 206)
    }
    #expect(origin.requests[1].fields["range"] == "bytes=0-1")
  }

  // MARK: What a client asks

  @Test func onlyIfCachedNeverAsksTheOrigin() async throws {
    let origin = try CachedOrigin()
    origin.answers()
    #expect(await origin.get("/", ["cache-control": "only-if-cached"]).status == 504)
    _ = await origin.get()
    #expect(await origin.get("/", ["cache-control": "only-if-cached"]).status == 200)
    origin.clock.advance(by: .seconds(61))
    #expect(await origin.get("/", ["cache-control": "only-if-cached"]).status == 504)
    #expect(origin.calls == 1)
  }

  @Test func aClientMayAskForSomethingFresher() async throws {
    let origin = try CachedOrigin()
    origin.answers()
    _ = await origin.get()
    origin.clock.advance(by: .seconds(20))
    #expect(await origin.get("/", ["cache-control": "max-age=20"]).cache == "HIT")
    #expect(await origin.get("/", ["cache-control": "min-fresh=40"]).cache == "HIT")
    #expect(await origin.get("/", ["cache-control": "min-fresh=41"]).cache == "MISS")
    origin.clock.advance(by: .seconds(20))
    #expect(await origin.get("/", ["cache-control": "max-age=19"]).cache == "MISS")
    #expect(await origin.get("/", ["cache-control": "no-cache"]).cache == "MISS")
    #expect(await origin.get("/", ["pragma": "no-cache"]).cache == "MISS")
    #expect(await origin.get("/", ["pragma": "no-cache", "cache-control": "max-age=60"]).cache == "HIT")
    #expect(origin.calls == 5)
  }

  @Test func orMayNot() async throws {
    let origin = try CachedOrigin { ResponseCache($0, obeysClient: false, clock: $1) }
    origin.answers()
    _ = await origin.get()
    for control in ["no-cache", "max-age=0", "min-fresh=1000"] {
      #expect(await origin.get("/", ["cache-control": control]).cache == "HIT")
    }
  }

  @Test func aClientMayTakeSomethingStale() async throws {
    let origin = try CachedOrigin()
    origin.answers()
    _ = await origin.get()
    origin.clock.advance(by: .seconds(65))
    #expect(await origin.get("/", ["cache-control": "max-stale=5"]).cache == "STALE")
    #expect(await origin.get("/", ["cache-control": "max-stale"]).cache == "STALE")
    #expect(await origin.get("/", ["cache-control": "max-stale=4"]).cache == "MISS")
  }

  @Test func whatMustNotBeStaleIsNot() async throws {
    for control in ["must-revalidate", "proxy-revalidate", "s-maxage=60"] {
      let origin = try CachedOrigin()
      origin.answers(200, ["cache-control": "max-age=60, \(control)"])
      _ = await origin.get()
      origin.clock.advance(by: .seconds(65))
      #expect(await origin.get("/", ["cache-control": "max-stale"]).cache == "MISS")
    }
  }

  @Test func whatAClientDoesNotWantStoredIsNot() async throws {
    let origin = try CachedOrigin()
    origin.answers()
    #expect(await origin.get("/", ["cache-control": "no-store"]).cache == "BYPASS")
    #expect(await origin.get().cache == "MISS")
  }
}
