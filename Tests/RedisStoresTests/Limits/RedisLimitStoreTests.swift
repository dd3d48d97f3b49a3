import Glibc
import Middlewares
import Pipeline
import Testing

@testable import RedisStores

/// Limits that several engines share through a real server. Each engine stands for a process: it has loops, a client and a
/// store of its own.
@Suite(.serialized, .timeLimit(.minutes(3))) struct RedisLimitStoreTests {
  private let now = Instant(nanoseconds: 1)

  /// Three engines with a store each.
  private func withThree<Algorithm: LimitAlgorithm>(
    _ url: String, _ rate: Rate, _ algorithm: Algorithm, _ options: RedisLimitOptions = RedisLimitOptions(),
    _ body: ([RedisLimitStore<Algorithm>], [RedisWorld]) async throws -> Void
  ) async throws {
    try await withWorld { first in
      try await withWorld { second in
        try await withWorld { third in
          let worlds = [first, second, third]
          var stores: [RedisLimitStore<Algorithm>] = []
          for world in worlds {
            let store = RedisLimitStore(
              try RedisClient(url, options: RedisOptions(longestPause: .milliseconds(50))), "test", rate,
              algorithm: algorithm, options: options)
            #expect(store.problems.isEmpty)
            world.run { try await store.run($0) }
            try await store.client.whenRunning()
            stores.append(store)
          }
          try await body(stores, worlds)
        }
      }
    }
  }

  private func admitted<Algorithm: LimitAlgorithm>(
    _ stores: [RedisLimitStore<Algorithm>], each count: Int, keys: Int = 1
  ) async throws -> [Int] {
    try await withThrowingTaskGroup(of: (Int, Bool).self) { group in
      for store in stores {
        for number in 0..<count * keys {
          let now = now
          group.addTask {
            let key = LimitKey.named("key \(number % keys)")
            return (number % keys, try await store.take(key, cost: 1, rate: nil, now: now).isAllowed)
          }
        }
      }
      var admitted = [Int](repeating: 0, count: keys)
      for try await (key, isAllowed) in group where isAllowed { admitted[key] += 1 }
      return admitted
    }
  }

  private func expectExactly<Algorithm: LimitAlgorithm>(_ algorithm: Algorithm, on url: String) async throws {
    // A period of a day: nothing is refilled during the test, and no window ends unless it runs over midnight UTC.
    try await withThree(url, .per(.seconds(86_400), 100), algorithm) { stores, _ in
      let admitted = try await admitted(stores, each: 100)
      #expect(admitted == [100], "\(algorithm.kind.name)")
    }
  }

  @Test func threeEnginesAdmitExactlyNOf3NWithEveryAlgorithm() async throws {
    func check(_ algorithm: some LimitAlgorithm) async throws {
      let server = try RedisServer()
      try await expectExactly(algorithm, on: server.url)
    }
    try await check(.tokenBucket)
    try await check(.tokenBucket(refill: .wholeInterval))
    try await check(.gcra)
    try await check(.leakyBucket)
    try await check(.fixedWindow)
    try await check(.slidingWindow)
    try await check(.slidingLog)
  }

  /// One engine with a store, on a server of its own.
  private func withOne<Algorithm: LimitAlgorithm>(
    _ rate: Rate, _ algorithm: Algorithm, _ options: RedisLimitOptions = RedisLimitOptions(),
    _ body: (RedisLimitStore<Algorithm>, RedisServer, RedisWorld) async throws -> Void
  ) async throws {
    let server = try RedisServer()
    try await withWorld { world in
      let client = try RedisClient(server.url, options: RedisOptions(longestPause: .milliseconds(50)))
      let store = RedisLimitStore(client, "test", rate, algorithm: algorithm, options: options)
      world.run { try await store.run($0) }
      try await client.whenRunning()
      try await body(store, server, world)
    }
  }

  @Test func decisionsSayWhatIsLeftAndHowLongToWait() async throws {
    func check(_ algorithm: some LimitAlgorithm, delays: Bool = false) async throws {
      let name = Comment(rawValue: algorithm.kind.name)
      try await withOne(.per(.seconds(3600), 10), algorithm) { store, _, _ in
        let key = LimitKey.named("a")
        let first = try await store.take(key, cost: 4, rate: nil, now: now)
        #expect(first.isAllowed && first.limit == 10 && first.remaining == 6 && first.isCounted, name)
        #expect(first.reset > .zero && first.reset <= .seconds(7200), name)
        #expect(first.delay == .zero, name)
        let tooMuch = try await store.take(key, cost: 7, rate: nil, now: now)
        #expect(!tooMuch.isAllowed && tooMuch.remaining == 6, name)
        #expect(tooMuch.retryAfter > .zero && tooMuch.retryAfter <= .seconds(7200), name)
        let never = try await store.take(key, cost: 11, rate: nil, now: now)
        #expect(!never.isAllowed && never.retryAfter == LimitDecision.never, name)
        #expect(try await store.take(key, cost: 0, rate: nil, now: now).remaining == 6, name)
        #expect(try await store.peek(key, rate: nil, now: now).remaining == 6, name)
        let last = try await store.take(key, cost: 6, rate: nil, now: now)
        #expect(last.isAllowed && last.remaining == 0, name)
        #expect((last.delay > .zero) == delays, name)
        #expect(try await store.peek(key, rate: nil, now: now).isAllowed == false, name)
        try await store.refund(key, cost: 3, rate: nil, now: now)
        #expect(try await store.peek(key, rate: nil, now: now).remaining == 3, name)
        try await store.refund(key, cost: 1000, rate: nil, now: now)
        #expect(try await store.peek(key, rate: nil, now: now).remaining == 10, name)
        // Another key is another limit.
        #expect(try await store.take(.named("b"), cost: 10, rate: nil, now: now).isAllowed, name)
      }
    }
    try await check(.tokenBucket)
    try await check(.tokenBucket(refill: .wholeInterval))
    try await check(.gcra)
    try await check(.leakyBucket, delays: true)
    try await check(.fixedWindow)
    try await check(.slidingWindow)
    try await check(.slidingLog)
  }

  @Test func aChangedRateKeepsTheShareThatIsUsed() async throws {
    func check(_ algorithm: some LimitAlgorithm) async throws {
      let name = Comment(rawValue: algorithm.kind.name)
      try await withOne(.per(.seconds(86_400), 100), algorithm) { store, _, _ in
        let key = LimitKey.named("a")
        #expect(try await store.take(key, cost: 50, rate: nil, now: now).remaining == 50, name)
        let larger = try await store.take(key, cost: 1, rate: .per(.seconds(86_400), 1000), now: now)
        #expect((498...499).contains(larger.remaining), "\(name): \(larger.remaining)")
        let own = LimitKey.named("own")
        try await store.set(own, tokens: 5, interval: .seconds(86_400), now: now)
        let limited = try await store.take(own, cost: 2, rate: nil, now: now)
        #expect(limited.limit == 5 && limited.remaining == 3, name)
        // The caller's own rate goes before it, and what was used stays used.
        let plan = try await store.take(own, cost: 0, rate: .per(.seconds(86_400), 50), now: now)
        #expect(plan.limit == 50 && (29...30).contains(plan.remaining), "\(name): \(plan.remaining)")
      }
    }
    try await check(.tokenBucket)
    try await check(.tokenBucket(refill: .wholeInterval))
    try await check(.gcra)
    try await check(.fixedWindow)
    try await check(.slidingWindow)
    try await check(.slidingLog)
  }

  @Test func tokensComeBackByTheServersClockAndKeysExpire() async throws {
    try await withOne(.per(.milliseconds(200), 2), .tokenBucket, RedisLimitOptions(keepIdle: .zero)) {
      store, _, world in
      let key = LimitKey.named("a")
      for _ in 0..<2 { #expect(try await store.take(key, cost: 1, rate: nil, now: now).isAllowed) }
      // The answer to "when?" is true: waiting so long, by any clock, is enough.
      var refusals = 0
      for _ in 0..<3 {
        var decision = try await store.take(key, cost: 1, rate: nil, now: now)
        while !decision.isAllowed {
          refusals += 1
          #expect(decision.retryAfter <= .milliseconds(100))
          try await world.services.sleep(for: decision.retryAfter)
          decision = try await store.take(key, cost: 1, rate: nil, now: now)
        }
      }
      #expect(refusals > 0)
      let end = world.services.now + .seconds(20)
      while try await store.client.send(RedisCommand("DBSIZE")).integer != 0 {
        try #require(world.services.now < end, "the key does not expire")
      }
    }
  }

  // MARK: Trouble

  /// Kills the server in the middle and starts it again; returns what was decided while it was gone.
  private func outage(
    _ trouble: RedisTrouble, _ world: RedisWorld, _ server: RedisServer, _ store: RedisLimitStore<TokenBucketAlgorithm>
  )
    async throws -> [LimitDecision]
  {
    let before = try await store.take(.named("a"), cost: 1, rate: nil, now: now)
    #expect(before.isAllowed && before.isCounted && before.remaining == 8)
    server.kill()
    var decisions: [LimitDecision] = []
    while store.isConnected { decisions.append(try await store.take(.named("a"), cost: 1, rate: nil, now: now)) }
    // Open: nothing is asked any more, and nobody waits.
    let asked = store.counts.asked
    for _ in 0..<100 { decisions.append(try await store.take(.named("a"), cost: 1, rate: nil, now: now)) }
    #expect(store.counts.asked == asked)
    try server.restart()
    let end = world.services.now + .seconds(30)
    while !store.isConnected {
      try #require(world.services.now < end, "the breaker does not close")
      try await world.services.sleep(for: .milliseconds(5))
    }
    let after = try await store.take(.named("a"), cost: 1, rate: nil, now: now)
    #expect(after.isAllowed && after.isCounted && after.remaining == 8, "an empty server: \(after)")
    let counts = store.counts
    #expect(counts.opened == 1 && counts.closed == 1)
    #expect(world.log.lines.count { $0.contains("limit test: Redis failed") && $0.contains("\(trouble)") } == 1)
    #expect(world.log.lines.count { $0.contains("limit test: Redis is back") } == 1)
    return decisions
  }

  @Test(arguments: [RedisTrouble.failOpen, .failClosed, .local(processes: 3)])
  func eachPolicyDoesWhatItSaysWhileRedisIsGone(_ trouble: RedisTrouble) async throws {
    let options = RedisLimitOptions(whenInTrouble: trouble, breakFor: .milliseconds(50))
    try await withOne(.per(.seconds(86_400), 9), .tokenBucket, options) { store, server, world in
      let decisions = try await outage(trouble, world, server, store)
      let admitted = decisions.count { $0.isAllowed }
      switch trouble {
      case .failOpen:
        #expect(admitted == decisions.count)
        #expect(decisions.allSatisfy { !$0.isCounted })
      case .failClosed:
        #expect(admitted == 0)
        #expect(decisions.allSatisfy { !$0.isCounted && $0.retryAfter == .milliseconds(50) })
      default:
        #expect(admitted == 3, "a third of 9")
        #expect(decisions.allSatisfy { $0.isCounted })
      }
      #expect(store.counts.byPolicy == decisions.count)
    }
  }

  @Test func aServerThatHangsCostsOneTimeoutNotOneForEachTake() async throws {
    let silent = try SilentListener()
    try await withWorld(loops: 1) { world in
      let client = try RedisClient(
        "redis://127.0.0.1:\(silent.port)", options: RedisOptions(connectTimeout: .milliseconds(100)))
      let options = RedisLimitOptions(whenInTrouble: .failOpen, breakFor: .seconds(60))
      let store = RedisLimitStore(client, "test", .perSecond(1), algorithm: .tokenBucket, options: options)
      world.run { try await store.run($0) }
      try await client.whenRunning()
      let began = world.services.now
      for _ in 0..<1000 { #expect(try await store.take(.global, cost: 1, rate: nil, now: now).isAllowed) }
      #expect(world.services.now - began < .seconds(20))
      #expect(store.counts.asked == 5)
    }
  }

  @Test func aClosedStoreSaysSoAndNumbersOutOfRangeAreRefused() async throws {
    try await withOne(.perSecond(1), .tokenBucket) { store, _, _ in
      await #expect(throws: LimitStoreError.invalid("a cost of -1: 0 to 1,000,000,000 tokens are allowed")) {
        try await store.take(.global, cost: -1, rate: nil, now: now)
      }
      await #expect(throws: LimitStoreError.self) {
        try await store.take(.global, cost: 1, rate: .per(.seconds(86_400), 999_999_937), now: now)
      }
      await store.close()
      await store.close()
      await #expect(throws: LimitStoreError.closed) { try await store.take(.global, cost: 1, rate: nil, now: now) }
    }
  }

  // MARK: The local tier

  @Test func withALocalTierNoMoreThanTheLimitIsTakenAndWhatIsLeftGoesBack() async throws {
    let server = try RedisServer()
    let options = RedisLimitOptions(localTier: .init(batch: 10, holdFor: .seconds(60)))
    try await withThree(server.url, .per(.seconds(86_400), 100), .tokenBucket, options) { stores, worlds in
      // One key, and no time passes for refilling: the sum is exact even so, because tokens are taken before they are used.
      for store in stores { #expect(try await store.take(.named("key 0"), cost: 1, rate: nil, now: now).isAllowed) }
      let used = try await admitted(stores, each: 19)
      #expect(used == [57])
      let counts = stores.map(\.counts)
      #expect(counts.allSatisfy { $0.fromLease >= 9 && $0.asked <= 12 }, "leases save round trips: \(counts)")
      // Each process may hold less than a batch: these are what the others cannot have meanwhile.
      let peek = try await stores[0].peek(.named("key 0"), rate: nil, now: now)
      #expect((100 - 60 - 3 * 9...40).contains(peek.remaining))
      for world in worlds { await world.stopRunning() }
      // All three have handed back: exactly what was not used is there.
      try await withWorld { world in
        let client = try RedisClient(server.url)
        let store = RedisLimitStore(client, "test", .per(.seconds(86_400), 100), algorithm: .tokenBucket)
        world.run { try await store.run($0) }
        try await client.whenRunning()
        #expect(try await store.peek(.named("key 0"), rate: nil, now: now).remaining == 40)
      }
    }
  }

  @Test func withALocalTierAtMostABatchLessOneIsUsedLate() async throws {
    // The bound: tokens that were taken early and are used after the limit has refilled.
    let server = try RedisServer()
    let batch = 10
    let options = RedisLimitOptions(localTier: .init(batch: batch, holdFor: .seconds(60)))
    let rate = Rate.per(.milliseconds(400), 100)
    try await withThree(server.url, rate, .tokenBucket, options) { stores, worlds in
      for store in stores { #expect(try await store.take(.named("a"), cost: 1, rate: nil, now: now).isAllowed) }
      // The bucket is full again, and each store still holds nine.
      try await worlds[0].services.sleep(for: .milliseconds(400))
      var admitted = 0
      let began = worlds[0].services.now
      for store in stores {
        while try await store.take(.named("a"), cost: 1, rate: nil, now: now).isAllowed {
          admitted += 1
          if admitted > 10_000 { break }
        }
      }
      let elapsed = worlds[0].services.now - began
      let refilled = Int((elapsed.inSeconds / 0.4 * 100).rounded(.up))
      #expect(admitted <= 100 + refilled + stores.count * (batch - 1))
      #expect(admitted >= 100 + stores.count * (batch - 1), "all of it was really used late")
    }
  }
}

extension RedisWorld {
  /// Ends what runs; the engine goes on.
  func stopRunning() async {
    for task in takeTasks() {
      task.cancel()
      _ = await task.result
    }
  }
}
