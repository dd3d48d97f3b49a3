import CMallocCount
import Middlewares
import Pipeline
import PipelineTesting
import Testing

/// Room, purging, reload, and what a hit costs.
struct ResponseCacheStoreTests {
  @Test func whatWasUsedLongestAgoMakesRoom() async throws {
    let origin = try CachedOrigin(store: CacheStore(maxBytes: 1 << 20, maxEntries: 3, maxEntryBytes: 1 << 20))
    origin.answers()
    for target in ["/a", "/b", "/c"] { _ = await origin.get(target) }
    #expect(await origin.get("/a").cache == "HIT")
    _ = await origin.get("/d")
    #expect(await origin.get("/a").cache == "HIT")
    #expect(await origin.get("/c").cache == "HIT")
    #expect(await origin.get("/d").cache == "HIT")
    #expect(await origin.get("/b").cache == "MISS")
    #expect(origin.store.statistics.evicted == 2)
    #expect(origin.store.statistics.entries == 3)
  }

  @Test func bytesAreBoundedToo() async throws {
    let origin = try CachedOrigin(store: CacheStore(maxBytes: 64 << 10, maxEntryBytes: 32 << 10))
    origin.answers(body: String(repeating: "x", count: 20_000))
    for n in 0..<20 {
      _ = await origin.get("/\(n)")
      #expect(origin.store.statistics.bytes <= 64 << 10)
    }
    #expect(origin.store.statistics.entries == 3)
    #expect(await origin.get("/19").cache == "HIT")
  }

  @Test func manyKeysInManyShardsStayWithinBounds() async throws {
    let origin = try CachedOrigin(store: CacheStore(maxBytes: 4 << 20, maxEntries: 512, maxEntryBytes: 4096))
    origin.answers()
    for n in 0..<1200 { _ = await origin.get("/\(n)") }
    let statistics = origin.store.statistics
    #expect((440...512).contains(statistics.entries))
    #expect(statistics.stored == 1200)
    #expect(statistics.evicted == 1200 - statistics.entries)
    #expect(await origin.get("/1199").cache == "HIT")
  }

  @Test func aPurgeRemovesOneTargetAPrefixOrAll() async throws {
    let origin = try CachedOrigin()
    origin.answers(200, ["cache-control": "max-age=60", "vary": "x-a"])
    for target in ["/a", "/a/1", "/b"] {
      for value in ["1", "2"] { _ = await origin.get(target, ["x-a": value]) }
    }
    #expect(origin.store.purge("http://Example.org:80/a") == 2)
    #expect(await origin.get("/a", ["x-a": "1"]).cache == "MISS")
    #expect(origin.store.purge(prefix: "example.org/a") == 3)
    #expect(origin.store.purge("example.org/none") == 0)
    #expect(await origin.get("/b", ["x-a": "1"]).cache == "HIT")
    #expect(origin.store.purgeAll() == 2)
    #expect(origin.store.statistics.entries == 0)
    #expect(origin.store.statistics.bytes == 0)
    #expect(origin.store.statistics.invalidated == 7)
  }

  @Test func whatIsBeingFetchedDuringAPurgeIsNotStored() async throws {
    let origin = try CachedOrigin()
    let run = await origin.harness.start(origin.client(.get, "/", [:]))
    origin.store.purgeAll()
    await run.perform { _ = try await ($0 as! MockHTTPExchange).relay(200, ["cache-control": "max-age=60"]) }
    await run.finish()
    #expect(origin.store.statistics.stored == 0)
  }

  @Test func aReloadKeepsWhatIsStored() async throws {
    let old = ResponseCache()
    var new = ResponseCache(defaultTTL: .seconds(1))
    #expect(new.state !== old.state)
    new.adopt(from: old)
    #expect(new.state === old.state)
    let given = ResponseCache(CacheStore())
    #expect(given.state == nil)
  }

  @Test func settingsOutOfRangeAreNamed() {
    let problem = #expect(throws: ConfigurationError.self) {
      _ = try ChainHarness(.http) { ResponseCache(defaultTTL: .seconds(-1), maxWait: .zero) }
    }
    #expect(
      problem?.messages == [
        "response-cache: defaultTTL of -1.0 seconds: 0 seconds to 366 days are allowed",
        "response-cache: maxWait of 0.0 seconds: it must be more than 0 seconds",
      ])
  }

  /// Of an optimised build: a debug build boxes what the other keeps on the stack.
  @Test(.enabled(if: malloc_is_counted() != 0 && !isDebugBuild)) func aHitAllocatesNothing() async throws {
    let cache = ResponseCache()
    var request = HTTPRequestHead(method: .get, target: "/some/path/that/is/longer?than=fifteen")
    request.fields.add("host", "an.example.org:8080")
    request.fields.add("user-agent", "curl/8.0.0 (something long enough)")
    request.fields.add("accept-encoding", "gzip, deflate, br")
    request.fields.add("cache-control", "max-age=1000")
    let exchange = SilentExchange(request)
    _ = try await cache.handle(exchange) {
      try await exchange.commit { head in
        head.fields.add("cache-control", "max-age=60")
        head.fields.add("vary", "accept-encoding")
        head.replaceBody(Array(repeating: 7, count: 4096))
        try cache.respond(&head, on: exchange)
      }
      return Summary()
    }
    #expect(cache.statistics.stored == 1)
    var fewest = UInt.max
    for round in 0..<12 {
      let before = malloc_count_of_this_thread()
      for _ in 0..<100 {
        exchange.recycle(id: 1)
        _ = try await cache.handle(exchange) { throw Rejection(.internalError) }
      }
      if round > 1 { fewest = min(fewest, malloc_count_of_this_thread() &- before) }
    }
    #expect(cache.statistics.hits == 1200)
    #expect(fewest <= 1, "\(fewest) in 100 hits")
  }
}

/// Writes nowhere and keeps nothing, as a transport does whose buffers are large enough.
private final class SilentExchange: HTTPExchange {
  init(_ request: HTTPRequestHead) {
    let client = MockClient()
    super.init(
      id: 1, client: client.address,
      listener: ListenerInfo(
        name: "http", transport: "http", address: .ip(.loopbackV4, port: 1), options: ListenerOptions()),
      runtime: TestRuntime(), request: request)
  }
}

private var isDebugBuild: Bool {
  #if DEBUG
    true
  #else
    false
  #endif
}
