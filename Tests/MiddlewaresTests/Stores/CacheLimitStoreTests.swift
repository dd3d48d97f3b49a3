import Pipeline
import PipelineTesting
import Testing

@testable import Middlewares

@Suite struct CacheLimitStoreTests {
  private let clock = ManualClock()
  private var now: Instant { clock.now }

  /// The wall clock, as far ahead as `skew`.
  private func wall(skew: Duration = .zero) -> WallClock {
    let clock = clock
    return WallClock {
      let time = (clock.now + skew).nanoseconds
      return UnixTime(seconds: 1_800_000_000 + Int64(time / 1_000_000_000), nanoseconds: Int32(time % 1_000_000_000))
    }
  }

  private func cache() -> MemoryCache {
    let clock = clock
    return MemoryCache { clock.now }
  }

  private func store<Algorithm: LimitWordAlgorithm>(
    _ cache: any Cache, _ rate: Rate, _ algorithm: Algorithm, _ options: CacheLimitOptions = CacheLimitOptions(),
    skew: Duration = .zero
  ) -> CacheLimitStore<Algorithm> {
    CacheLimitStore(cache, "test", rate, algorithm: algorithm, options: options, clock: wall(skew: skew))
  }

  @Test func itDecidesAsTheStoreInMemoryDoes() async throws {
    func check(_ algorithm: some LimitWordAlgorithm, _ seed: UInt64) async throws {
      let rate = Rate.per(.seconds(10), 7, burst: 5)
      let memory = MemoryLimitStore(rate, algorithm: algorithm)
      let shared = store(cache(), rate, algorithm)
      var random = SeededRandom(seed: seed)
      for _ in 0..<400 {
        clock.advance(by: .milliseconds(Int64.random(in: 0...4000, using: &random)))
        let key = LimitKey.named("\(Int.random(in: 0...2, using: &random))")
        let own: Rate? = Int.random(in: 0...9, using: &random) == 0 ? .per(.seconds(10), 3) : nil
        let cost = Int.random(in: 0...6, using: &random)
        switch Int.random(in: 0...9, using: &random) {
        case 0:
          try memory.refund(key, cost: cost, rate: own, now: now)
          try await shared.refund(key, cost: cost, rate: own, now: now)
        case 1:
          #expect(try memory.peek(key, rate: own, now: now) == (try await shared.peek(key, rate: own, now: now)))
        default:
          let mine = try memory.take(key, cost: cost, rate: own, now: now)
          let theirs = try await shared.take(key, cost: cost, rate: own, now: now)
          #expect(mine == theirs, "\(algorithm.kind.name)")
        }
      }
    }
    try await check(.tokenBucket, 1)
    try await check(.gcra, 2)
    try await check(.leakyBucket, 3)
  }

  @Test func severalStoresAdmitExactlyWhatOneWould() async throws {
    func check(_ algorithm: some LimitWordAlgorithm) async throws {
      let cache = cache()
      let stores = (0..<3).map { _ in store(cache, .per(.seconds(86_400), 100), algorithm) }
      let now = now
      let admitted = try await withThrowingTaskGroup(of: Int.self) { group in
        for store in stores {
          for _ in 0..<100 {
            group.addTask { try await store.take(.named("a"), cost: 1, rate: nil, now: now).isAllowed ? 1 : 0 }
          }
        }
        return try await group.reduce(0, +)
      }
      #expect(admitted == 100, "\(algorithm.kind.name)")
    }
    try await check(.tokenBucket)
    try await check(.tokenBucket(refill: .wholeInterval))
    try await check(.gcra)
    try await check(.leakyBucket)
  }

  @Test func clocksThatDifferCostTheRateTimesTheDifferenceOnce() async throws {
    let cache = cache()
    let rate = Rate.per(.seconds(1), 10)
    let behind = store(cache, rate, .tokenBucket)
    let ahead = store(cache, rate, .tokenBucket, skew: .milliseconds(500))
    func admitted() async throws -> Int {
      var admitted = 0
      for store in [behind, ahead] {
        while try await store.take(.global, cost: 1, rate: nil, now: now).isAllowed { admitted += 1 }
      }
      return admitted
    }
    // A full bucket, and what the clock that is ahead has refilled.
    #expect(try await admitted() == 10 + 5)
    clock.advance(by: .seconds(1))
    #expect(try await admitted() == 10, "not once more")
  }

  @Test func aLimitOfItsOwnHoldsAndKeepsTheShareThatIsUsed() async throws {
    let store = store(cache(), .per(.seconds(100), 100), .tokenBucket)
    let key = LimitKey.named("a")
    #expect(try await store.take(key, cost: 50, rate: nil, now: now).remaining == 50)
    try await store.set(key, tokens: 10, interval: .seconds(100), now: now)
    let own = try await store.take(key, cost: 1, rate: nil, now: now)
    #expect(own.limit == 10 && own.remaining == 4)
    // The caller's rate goes before it.
    #expect(try await store.peek(key, rate: .per(.seconds(100), 20), now: now).limit == 20)
    #expect(try await store.peek(.named("b"), rate: nil, now: now).limit == 100)
  }

  @Test func aKeyExpiresOnceItsLimitIsWholeAgainAndHasBeenIdle() async throws {
    let cache = cache()
    let store = store(cache, .per(.seconds(10), 10), .tokenBucket, CacheLimitOptions(keepIdle: .seconds(5)))
    _ = try await store.take(.named("a"), cost: 10, rate: nil, now: now)
    #expect(try await store.take(.named("b"), cost: 0, rate: nil, now: now).isAllowed)
    #expect(cache.counts.kept == 1, "what took nothing is not kept")
    clock.advance(by: .seconds(14))
    cache.collect()
    #expect(cache.counts.kept == 1)
    clock.advance(by: .seconds(1))
    cache.collect()
    #expect(cache.counts.kept == 0)
  }

  @Test(arguments: [LimitTableFull.refuse, .admit])
  func whileTheCacheIsAwayThePolicyDecidesUncounted(_ policy: LimitTableFull) async throws {
    let cache = cache()
    let store = store(cache, .perSecond(1), .gcra, CacheLimitOptions(whenUnavailable: policy))
    cache.close()
    let decision = try await store.take(.global, cost: 1, rate: nil, now: now)
    #expect(decision.isAllowed == (policy == .admit) && !decision.isCounted)
    await #expect(throws: LimitStoreError.unavailable("the limit of its own was not set")) {
      try await store.set(.global, tokens: 1, interval: .seconds(1), now: now)
    }
  }

  /// Nobody's write is ever in time.
  private struct Rival: Cache {
    func get(_ key: CacheKey, on exchange: Exchange?) async throws -> [UInt8]? { nil }
    func add(
      _ delta: Int, to key: CacheKey, requiring guardKey: CacheKey?, lifetime: CacheLifetime, on exchange: Exchange?
    ) async throws -> Int? { nil }
    func compareAndSet(
      _ key: CacheKey, expected: [UInt8]?, new: [UInt8]?, lifetime: CacheLifetime, on exchange: Exchange?
    ) async throws -> Bool { false }
    func take(_ counters: [CacheTake], on exchange: Exchange?) async throws -> CacheTaken { throw CacheError.closed }
    func run(_ services: any BackgroundServices) async throws {}
    func close() async {}
  }

  @Test func whoIsNeverFastEnoughGivesUp() async throws {
    let store = store(Rival(), .perSecond(1), .gcra, CacheLimitOptions(attempts: 3))
    #expect(try await store.take(.global, cost: 1, rate: nil, now: now).isAllowed == false)
  }

  @Test func whatSomebodyElseHasWrittenCountsAsNothing() {
    for text in ["", "x", "1 2 3", "1 2 3 4 5", "-1 2 3 4", "1 0 1000000000 1", "1 1 1 1"] {
      #expect(CacheLimitRecord(Array(text.utf8)) == nil, "\(text)")
    }
    var record = CacheLimitRecord(word: .max)
    record.rate = .perSecond(3, burst: 9)
    record.own = .per(.seconds(366 * 86_400), 1)
    #expect(CacheLimitRecord(record.bytes) == record)
  }

  @Test func aClosedStoreSaysSoAndMistakesAreNamed() async throws {
    let store = store(cache(), .perSecond(1), .tokenBucket)
    #expect(store.problems.isEmpty)
    await #expect(throws: LimitStoreError.invalid("a cost of -1: 0 to 1,000,000,000 tokens are allowed")) {
      try await store.take(.global, cost: -1, rate: nil, now: now)
    }
    await store.close()
    await #expect(throws: LimitStoreError.closed) { try await store.take(.global, cost: 1, rate: nil, now: now) }
    let wrong = CacheLimitStore(
      cache(), "a b", .perSecond(0), algorithm: .gcra, options: CacheLimitOptions(keepIdle: .seconds(-1), attempts: 0))
    #expect(
      wrong.problems == [
        "keepIdle of -1.0 seconds: 0 to 366 days are allowed", "attempts of 0: 1...100,000 are allowed",
        "a rate of 0: 1 to 1,000,000,000 tokens per period are allowed",
        "a limit named \"a b\": 1 to 64 letters, digits, \"-\", \"_\" and \".\" are allowed",
      ])
  }
}
