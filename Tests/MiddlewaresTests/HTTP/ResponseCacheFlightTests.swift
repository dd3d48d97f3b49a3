import Middlewares
import Pipeline
import PipelineTesting
import Testing

/// Requests for one thing at one time.
struct ResponseCacheFlightTests {
  private func relay(
    _ run: ExchangeRun, _ status: Int = 200, _ control: String = "max-age=60", vary: String? = nil,
    body: String = "hello"
  ) async {
    await run.perform { exchange in
      let exchange = exchange as! MockHTTPExchange
      let fields: KeyValuePairs<HeaderName, String> =
        vary.map { ["cache-control": control, "vary": $0] } ?? ["cache-control": control]
      _ = try await exchange.relay(status, fields, body: Array(body.utf8))
    }
    await run.finish()
  }

  private func start(_ origin: CachedOrigin, _ count: Int, _ fields: KeyValuePairs<HeaderName, String> = [:]) async
    -> [ExchangeRun]
  {
    var runs: [ExchangeRun] = []
    for _ in 0..<count { runs.append(await origin.harness.start(origin.client(.get, "/", fields))) }
    return runs
  }

  @Test func oneAsksAndTheOthersWait() async throws {
    let origin = try CachedOrigin()
    let runs = await start(origin, 5)
    #expect(runs.map(\.isAtEnd) == [true, false, false, false, false])
    await relay(runs[0])
    for run in runs[1...] {
      #expect(run.response?.fields["x-cache-status"] == "HIT")
      #expect(run.responseBody == Array("hello".utf8))
      #expect(run.calls == 0)
    }
    #expect(origin.store.statistics.collapsed == 4)
  }

  @Test(arguments: ["no-store", "private", "max-age=0", "no-cache"])
  func whenItIsNotForOthersAllGoOnAtOnce(_ control: String) async throws {
    let origin = try CachedOrigin()
    let runs = await start(origin, 4)
    await runs[0].perform { exchange in
      // The head alone tells.
      try await exchange.commitHead(control)
    }
    #expect(runs.map(\.isAtEnd).contains(false) == false)
    for run in runs[1...] { await relay(run, 200, control) }
    await runs[0].finish()
    // The next ones do not wait for each other at all, for a while.
    let later = await start(origin, 2)
    #expect(later.map(\.isAtEnd).contains(false) == false)
    for run in later { await run.finish() }
    origin.clock.advance(by: .seconds(10))
    let afterwards = await start(origin, 2)
    #expect(afterwards.map(\.isAtEnd) == [true, false])
    await afterwards[0].cut()
    await afterwards[1].finish()
  }

  @Test func whoWasTurnedLooseStoresWhatCanBeStored() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, ["cache-control": "no-store"])
    _ = await origin.get()
    origin.answers()
    #expect(await origin.get().cache == "MISS")
    #expect(await origin.get().cache == "HIT")
  }

  @Test func aBodyThatIsTooLargeTurnsTheOthersLoose() async throws {
    let origin = try CachedOrigin(store: CacheStore(maxBytes: 1 << 20, maxEntryBytes: 1024))
    let runs = await start(origin, 3)
    await runs[0].perform { exchange in
      try await exchange.commitHead("max-age=60")
      try await (exchange as! HTTPExchange).writeBody([UInt8](repeating: 1, count: 1025))
    }
    #expect(runs.map(\.isAtEnd).contains(false) == false)
    for run in runs { await run.finish() }
  }

  @Test func theFirstClientLeavesAndTheNextOneAsks() async throws {
    let origin = try CachedOrigin()
    let runs = await start(origin, 3)
    await runs[0].cut()
    #expect(runs[0].outcome == .refused(.clientGone))
    #expect(runs.map(\.isAtEnd) == [false, true, false])
    await relay(runs[1])
    #expect(runs[2].response?.fields["x-cache-status"] == "HIT")
  }

  @Test func aFailureOfTheOriginIsTheFailureOfAllWhoWait() async throws {
    let origin = try CachedOrigin()
    let runs = await start(origin, 3)
    await runs[0].fail(Rejection(.connectionRefused))
    #expect(runs.map(\.outcome) == Array(repeating: .refused(.connectionRefused), count: 3))
    let next = await start(origin, 1)
    #expect(next[0].isAtEnd)
    await next[0].finish()
  }

  @Test func aServerErrorLetsTheOthersAskThemselves() async throws {
    let origin = try CachedOrigin()
    let runs = await start(origin, 3)
    await relay(runs[0], 503)
    #expect(runs[1].isAtEnd && runs[2].isAtEnd)
    for run in runs[1...] { await run.finish() }
  }

  @Test func nobodyWaitsForEver() async throws {
    let origin = try CachedOrigin { ResponseCache($0, maxWait: .seconds(2), clock: $1) }
    let runs = await start(origin, 2)
    origin.clock.advance(by: .seconds(2))
    await runs[1].settle()
    #expect(runs[1].isAtEnd)
    await relay(runs[1])
    #expect(await origin.get().cache == "HIT")
    await relay(runs[0])
  }

  @Test func whoWaitsAndLeavesDisturbsNobody() async throws {
    let origin = try CachedOrigin()
    let runs = await start(origin, 3)
    await runs[1].cut()
    #expect(runs[1].outcome == .refused(.clientGone))
    await relay(runs[0])
    #expect(runs[2].response?.fields["x-cache-status"] == "HIT")
  }

  @Test func anotherVariantIsFetchedByOneOfThose() async throws {
    let origin = try CachedOrigin()
    let english = await start(origin, 2, ["accept-language": "en"])
    let german = await start(origin, 3, ["accept-language": "de"])
    await relay(english[0], vary: "accept-language", body: "hello")
    #expect(english[1].responseBody == Array("hello".utf8))
    #expect(german.map(\.isAtEnd) == [true, false, false])
    // Now that it is known which field chooses, variants do not wait for each other.
    let french = await start(origin, 1, ["accept-language": "fr"])
    #expect(french[0].isAtEnd)
    await relay(german[0], vary: "accept-language", body: "hallo")
    for run in german { #expect(run.responseBody == Array("hallo".utf8)) }
    await french[0].finish()
  }

  @Test func aRevalidationIsSharedToo() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, ["cache-control": "max-age=60", "etag": "\"v\""])
    _ = await origin.get()
    origin.clock.advance(by: .seconds(61))
    let runs = await start(origin, 3)
    #expect(runs.map(\.isAtEnd) == [true, false, false])
    await relay(runs[0], 304, body: "")
    #expect(runs[0].response?.fields["x-cache-status"] == "REVALIDATED")
    #expect(runs[1].response?.fields["x-cache-status"] == "HIT")
    #expect(runs[2].responseBody == Array("hello".utf8))
  }

  @Test func aClientThatWantsItFreshWaitsForNobody() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, ["cache-control": "max-age=60"])
    _ = await origin.get()
    let runs = await start(origin, 2, ["cache-control": "no-cache"])
    #expect(runs.map(\.isAtEnd).contains(false) == false)
    for run in runs { await run.finish() }
  }

  // MARK: Changes

  @Test(arguments: ["POST", "PUT", "DELETE", "PATCH", "PURGE"])
  func aChangeForgetsWhatIsStored(_ method: String) async throws {
    let origin = try CachedOrigin()
    origin.answers()
    _ = await origin.get("/a")
    _ = await origin.get("/b")
    #expect(await origin.send(HTTPMethod(method), "/a").cache == "BYPASS")
    #expect(await origin.get("/a").cache == "MISS")
    #expect(await origin.get("/b").cache == "HIT")
    #expect(origin.store.statistics.invalidated == 1)
  }

  @Test(arguments: ["OPTIONS", "TRACE"]) func whatChangesNothingForgetsNothing(_ method: String) async throws {
    let origin = try CachedOrigin()
    origin.answers()
    _ = await origin.get()
    _ = await origin.send(HTTPMethod(method))
    #expect(await origin.get().cache == "HIT")
  }

  @Test func aChangeThatFailedForgetsNothing() async throws {
    let origin = try CachedOrigin()
    origin.answers()
    _ = await origin.get()
    origin.answers(409, [:])
    _ = await origin.send(.post)
    #expect(await origin.get().cache == "HIT")
  }

  @Test func aChangeForgetsWhatItsAnswerNamesOnTheSameHost() async throws {
    let origin = try CachedOrigin()
    origin.answers()
    for target in ["/made", "/listed", "/kept"] { _ = await origin.get(target) }
    origin.answers(201, ["location": "http://EXAMPLE.org/made#x", "content-location": "/listed"])
    _ = await origin.send(.post, "/new")
    #expect(await origin.get("/made").status == 201)
    #expect(await origin.get("/listed").status == 201)
    #expect(await origin.get("/kept").cache == "HIT")
    origin.answers(200, ["location": "http://other.org/kept"])
    _ = await origin.send(.post, "/new")
    #expect(await origin.get("/kept").cache == "HIT")
  }

  @Test func whatIsBeingFetchedDuringAChangeIsNotStored() async throws {
    let origin = try CachedOrigin()
    let runs = await start(origin, 1)
    origin.answers(200, [:])
    _ = await origin.send(.post)
    await relay(runs[0])
    let next = await start(origin, 1)
    #expect(next[0].isAtEnd)
    await next[0].finish()
    #expect(origin.store.statistics.stored == 0)
  }
}

extension Exchange {
  fileprivate func commitHead(_ control: String) async throws {
    let exchange = self as! MockHTTPExchange
    try await exchange.commit { $0.fields.set("cache-control", control) }
  }
}
