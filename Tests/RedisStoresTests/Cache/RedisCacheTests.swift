import Glibc
import Middlewares
import Pipeline
import PipelineTesting
import Testing

@testable import RedisStores

/// The cache on a real server, and on a real cluster of three masters.
@Suite(.serialized, .timeLimit(.minutes(5))) struct RedisCacheTests {
  private func withCache(
    _ url: String, _ options: RedisCacheOptions = RedisCacheOptions(), client: RedisOptions = RedisOptions(),
    _ body: (RedisCache, RedisWorld) async throws -> Void
  ) async throws {
    try await withWorld { world in
      let cache = RedisCache(try RedisClient(url, options: client), options: options)
      #expect(options.problems.isEmpty)
      world.run { try await cache.run($0) }
      try await cache.client.whenRunning()
      try await body(cache, world)
    }
  }

  /// Every fact at once: they share nothing.
  private func checkFacts(_ cache: RedisCache, _ world: RedisWorld) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for fact in CacheFact.all {
        group.addTask {
          do {
            try await fact.check(cache) { try await world.services.sleep(for: $0) }
          } catch {
            Issue.record("\(fact): \(error)")
          }
        }
      }
      try await group.waitForAll()
    }
  }

  @Test func isACacheOnOneServer() async throws {
    let server = try RedisServer()
    try await withCache(server.url) { cache, world in
      try await checkFacts(cache, world)
      #expect(try await cache.client.send(RedisCommand("CLIENT", "INFO")).text?.contains(" resp=3") == true)
      #expect(cache.counts.failed == 0 && world.log.lines.isEmpty)
    }
  }

  @Test func isACacheOnAServerThatSpeaksRESP2Only() async throws {
    let server = try RedisServer("--rename-command", "HELLO", "")
    try await withCache(server.url) { cache, world in
      try await checkFacts(cache, world)
      #expect(try await cache.client.send(RedisCommand("CLIENT", "INFO")).text?.contains(" resp=2") == true)
      #expect(cache.counts.failed == 0 && world.log.lines.isEmpty)
    }
  }

  @Test func isACacheOnAClusterOfThreeAndGroupsAreSpreadOverIt() async throws {
    try await withRedisCluster { servers, url, _ in
      try await withCache(url) { cache, world in
        try await checkFacts(cache, world)
        #expect(cache.counts.failed == 0)
        for number in 0..<60 {
          let key = CacheKey("group \(number)")
          #expect(try await cache.add(1, to: key, requiring: nil, lifetime: .forever, on: nil) == 1)
        }
        for server in servers {
          let node = try RedisClient(server.url)
          world.run { try await node.run($0) }
          try await node.whenRunning()
          #expect(try await node.send(RedisCommand("DBSIZE")).integer ?? 0 > 5)
        }
      }
    }
  }

  @Test func severalProcessesCountTogetherAndAScriptThatTheServerForgotIsSentAgain() async throws {
    let server = try RedisServer()
    try await withCache(server.url) { first, _ in
      try await withCache(server.url) { second, _ in
        let key = CacheKey("shared")
        #expect(try await first.add(1, to: key, requiring: nil, lifetime: .forever, on: nil) == 1)
        _ = try await first.client.send(RedisCommand("SCRIPT", "FLUSH"))
        #expect(try await second.add(1, to: key, requiring: nil, lifetime: .forever, on: nil) == 2)
        let other = RedisCache(first.client, options: RedisCacheOptions(prefix: "other"))
        #expect(try await other.add(1, to: key, requiring: nil, lifetime: .forever, on: nil) == 1)
        #expect(first.counts.failed == 0 && second.counts.failed == 0)
      }
    }
  }

  @Test func threeEnginesLimitExactlyThroughTheCachePort() async throws {
    let server = try RedisServer()
    try await withCache(server.url) { first, _ in
      try await withCache(server.url) { second, _ in
        try await withCache(server.url) { third, _ in
          let stores = [first, second, third].map {
            CacheLimitStore($0, "test", .per(.seconds(86_400), 50), algorithm: .tokenBucket)
          }
          let admitted = try await withThrowingTaskGroup(of: Int.self) { group in
            for store in stores {
              for _ in 0..<50 {
                group.addTask {
                  try await store.take(.named("a"), cost: 1, rate: nil, now: Instant(nanoseconds: 1)).isAllowed ? 1 : 0
                }
              }
            }
            return try await group.reduce(0, +)
          }
          #expect(admitted == 50)
        }
      }
    }
  }

  @Test func aServerThatIsLostTakesItsPartOfThePartitionedKeysOnly() async throws {
    let servers = [try RedisServer(), try RedisServer()]
    try await withWorld { world in
      var parts: [PartitionedCache.Part] = []
      for (index, server) in servers.enumerated() {
        let part = RedisCache(try RedisClient(server.url))
        parts.append(PartitionedCache.Part("server \(index)", part))
        world.run { try await part.run($0) }
        try await part.client.whenRunning()
      }
      let cache = PartitionedCache(parts)
      servers[0].kill()
      for number in 0..<20 {
        let key = CacheKey("group \(number)")
        do {
          #expect(try await cache.add(1, to: key, requiring: nil, lifetime: .forever, on: nil) == 1)
          #expect(cache.part(of: key.group) == "server 1")
        } catch CacheError.unavailable {
          #expect(cache.part(of: key.group) == "server 0")
        }
      }
    }
  }

  @Test func aDeadServerIsToldOnceCostsNoTimeAndIsFoundAgain() async throws {
    let server = try RedisServer()
    let options = RedisCacheOptions(breakAfter: 3, breakFor: .milliseconds(50))
    try await withCache(server.url, options, client: RedisOptions(longestPause: .milliseconds(50))) { cache, world in
      let key = CacheKey("secret token")
      #expect(try await cache.add(1, to: key, requiring: nil, lifetime: .forever, on: nil) == 1)
      server.kill()
      var failures = 0
      while cache.isConnected {
        do {
          _ = try await cache.add(1, to: key, requiring: nil, lifetime: .forever, on: nil)
        } catch CacheError.unavailable { failures += 1 }
      }
      #expect(failures >= 3)
      let asked = cache.counts.asked
      for _ in 0..<100 {
        await #expect(
          throws: CacheError.unavailable("it has failed, and is tried again in the background", mayHaveRun: false)
        ) { try await cache.get(key, on: nil) }
      }
      #expect(cache.counts.asked == asked && cache.counts.spared == 100)
      try server.restart()
      let end = world.services.now + .seconds(30)
      while !cache.isConnected {
        try #require(world.services.now < end, "it is not found again")
        try await world.services.sleep(for: .milliseconds(5))
      }
      #expect(try await cache.add(1, to: key, requiring: nil, lifetime: .forever, on: nil) == 1, "an empty server")
      #expect(cache.counts.opened == 1 && cache.counts.closed == 1)
      let lines = world.log.lines.filter { $0.hasPrefix("cache ") }
      #expect(lines.count == 2, "\(lines)")
      #expect(lines.first?.hasPrefix("cache sluice-cache: Redis failed 3 times in a row: ") == true)
      #expect(lines.last == "cache sluice-cache: Redis is back")
      #expect(!world.log.lines.contains { $0.contains("secret") })
    }
  }

  @Test func aServerThatHangsCostsOneTimeoutNotOneForEachOperation() async throws {
    let silent = try SilentListener()
    let options = RedisCacheOptions(breakFor: .seconds(60))
    let client = RedisOptions(connectTimeout: .milliseconds(100))
    try await withCache("redis://127.0.0.1:\(silent.port)", options, client: client) { cache, world in
      let began = world.services.now
      for _ in 0..<1000 {
        await #expect(throws: CacheError.self) { try await cache.get(CacheKey("a"), on: nil) }
      }
      #expect(world.services.now - began < .seconds(20))
      #expect(cache.counts.asked == 5)
    }
  }

  @Test func answersAboutOneKeyAreNoTroubleOfTheServer() async throws {
    let server = try RedisServer()
    try await withCache(server.url, RedisCacheOptions(breakAfter: 1)) { cache, world in
      _ = try await cache.client.send(RedisCommand("LPUSH", .key("sluice-cache:{list}"), "x"))
      await #expect(throws: CacheError.unavailable("Redis said WRONGTYPE", mayHaveRun: false)) {
        try await cache.get(CacheKey("list"), on: nil)
      }
      _ = try await cache.client.send(RedisCommand("CONFIG", "SET", "maxmemory", "1"))
      let taken = [CacheTake(CacheKey("new"), cost: 1, limit: 1, lifetime: .forever)]
      await #expect(throws: CacheError.full) { try await cache.take(taken, on: nil) }
      await #expect(throws: CacheError.full) {
        try await cache.add(1, to: CacheKey("new"), requiring: nil, lifetime: .forever, on: nil)
      }
      await #expect(throws: CacheError.full) {
        try await cache.compareAndSet(CacheKey("new"), expected: nil, new: [1], lifetime: .forever, on: nil)
      }
      #expect(cache.isConnected && world.log.lines.isEmpty)
    }
  }

  @Test func aClosedCacheSaysSoAndItsRunEnds() async throws {
    let server = try RedisServer()
    try await withWorld { world in
      let cache = RedisCache(try RedisClient(server.url))
      let services = world.services
      let running = Task { try await cache.run(services) }
      try await cache.client.whenRunning()
      #expect(try await cache.get(CacheKey("a"), on: nil) == nil)
      await cache.close()
      await #expect(throws: CacheError.closed) { try await cache.get(CacheKey("a"), on: nil) }
      try await running.value
    }
  }

  @Test func optionsOutOfRangeAreSaid() {
    #expect(
      RedisCacheOptions(prefix: "{x}", timeout: .zero, breakAfter: 0, breakFor: .zero).problems == [
        "prefix of \"{x}\": 1 to 100 bytes without braces are allowed",
        "timeout of 0.0 seconds: 1 ms to 1 hour are allowed", "breakAfter of 0: 1...1,000 are allowed",
        "breakFor of 0.0 seconds: 10 ms to 1 hour are allowed",
      ])
  }
}
