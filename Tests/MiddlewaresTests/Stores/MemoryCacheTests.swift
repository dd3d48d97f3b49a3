import CMallocCount
import Pipeline
import PipelineTesting
import Testing

@testable import Middlewares

@Suite struct MemoryCacheTests {
  private let clock = ManualClock()

  private func cache(_ options: MemoryCacheOptions = MemoryCacheOptions()) -> MemoryCache {
    let clock = clock
    return MemoryCache(options) { clock.now }
  }

  @Test(arguments: CacheFact.all) func isACache(_ fact: CacheFact) async throws {
    for shards in [1, 64] {
      let clock = clock
      try await fact.check(cache(MemoryCacheOptions(shards: shards))) { clock.advance(by: $0) }
    }
  }

  @Test func theSystemsTimeIsItsClockUnlessAnotherIsGiven() throws {
    let cache = MemoryCache()
    #expect(try cache.add(1, to: CacheKey("a"), requiring: nil, lifetime: .fromCreation(.seconds(3600)), on: nil) == 1)
    #expect(try cache.get(CacheKey("a"), on: nil) == [UInt8(ascii: "1")])
    _ = try cache.add(1, to: CacheKey("b"), requiring: nil, lifetime: .fromCreation(.milliseconds(1)), on: nil)
    while try cache.get(CacheKey("b"), on: nil) != nil {}
  }

  @Test func aNewKeyIsRefusedWhenItIsFullAndTheOldOnesGoOn() throws {
    let cache = cache(MemoryCacheOptions(maxKeys: 3, shards: 2))
    for name in ["a", "b", "c"] {
      #expect(try cache.add(1, to: CacheKey(name), requiring: nil, lifetime: .forever, on: nil) == 1)
    }
    #expect(throws: CacheError.full) {
      try cache.add(1, to: CacheKey("d"), requiring: nil, lifetime: .forever, on: nil)
    }
    #expect(throws: CacheError.full) {
      try cache.compareAndSet(CacheKey("d"), expected: nil, new: [1], lifetime: .forever, on: nil)
    }
    // A take that needs two places where there is one makes neither.
    #expect(
      try cache.compareAndSet(CacheKey("a"), expected: [UInt8(ascii: "1")], new: nil, lifetime: .forever, on: nil))
    let two = ["x", "y"].map { CacheTake(CacheKey("d", $0), cost: 1, limit: 5, lifetime: .forever) }
    #expect(throws: CacheError.full) { try cache.take(two, on: nil) }
    #expect(try cache.get(CacheKey("d", "x"), on: nil) == nil)
    #expect(try cache.take([two[0], two[0]], on: nil) == CacheTaken(exhausted: nil, values: [2, 2]))
    #expect(try cache.add(1, to: CacheKey("b"), requiring: nil, lifetime: .forever, on: nil) == 2)
    #expect(cache.counts == MemoryCacheCounts(kept: 3, turnedAway: 3, expired: 0))
  }

  @Test func expiredKeysMakeRoomAtOnceWhereTheyLie() throws {
    let cache = cache(MemoryCacheOptions(maxKeys: 2, shards: 1))
    _ = try cache.add(1, to: CacheKey("a"), requiring: nil, lifetime: .fromCreation(.seconds(1)), on: nil)
    _ = try cache.add(1, to: CacheKey("b"), requiring: nil, lifetime: .fromCreation(.seconds(9)), on: nil)
    clock.advance(by: .seconds(1))
    #expect(try cache.add(1, to: CacheKey("c"), requiring: nil, lifetime: .forever, on: nil) == 1)
    #expect(cache.counts == MemoryCacheCounts(kept: 2, turnedAway: 0, expired: 1))
  }

  @Test func expiredKeysAreCollectedInTheBackgroundAndALineSaysThatThereWasNoRoom() async throws {
    let cache = cache(MemoryCacheOptions(maxKeys: 100, shards: 8, collectEvery: .seconds(5)))
    for number in 0..<60 {
      _ = try cache.add(1, to: CacheKey("\(number)"), requiring: nil, lifetime: .fromCreation(.seconds(4)), on: nil)
    }
    let services = ManualServices(clock: clock)
    let first = Task { try await cache.run(services) }
    let second = Task { try await cache.run(services) }
    await clock.sleepers(1)
    for number in 60..<110 {
      do {
        _ = try cache.add(1, to: CacheKey("\(number)"), requiring: nil, lifetime: .forever, on: nil)
      } catch CacheError.full { #expect(number >= 100) }
    }
    clock.advance(by: .seconds(5))
    await clock.sleepers(1)
    #expect(cache.counts == MemoryCacheCounts(kept: 40, turnedAway: 10, expired: 60))
    #expect(
      services.log.text == ["memory cache: no room for a new key 10 times, 40 are kept: raise maxKeys"])
    // Of two that run it one does, and the other one takes over.
    first.cancel()
    _ = await first.result
    await clock.sleepers(1)
    #expect(clock.sleeperCount == 1)
    second.cancel()
    _ = await second.result
  }

  @Test func aClosedCacheSaysSo() throws {
    let cache = cache()
    _ = try cache.add(1, to: CacheKey("a"), requiring: nil, lifetime: .forever, on: nil)
    cache.close()
    cache.close()
    #expect(throws: CacheError.closed) { try cache.get(CacheKey("a"), on: nil) }
    #expect(throws: CacheError.closed) {
      try cache.take([CacheTake(CacheKey("a"), cost: 1, limit: 1, lifetime: .forever)], on: nil)
    }
    #expect(cache.counts.kept == 0)
  }

  /// An optimised build; a debug build boxes what that keeps on the stack.
  @Test func aCounterThatIsKnownCostsNoAllocation() throws {
    guard malloc_is_counted() == 1 else { return }
    let cache = cache()
    let key = CacheKey("01234567-89ab-4cde-8f01-23456789abcd", "/a/path/that/is/no/small/string")
    let known = CacheKey(key.group)
    _ = try cache.add(1, to: known, requiring: nil, lifetime: .forever, on: nil)
    func fewest(_ rounds: Int) throws -> UInt {
      var fewest = UInt.max
      for _ in 0..<10 {
        let before = malloc_count_of_this_thread()
        for _ in 0..<rounds {
          _ = try cache.add(1, to: key, requiring: known, lifetime: .fromCreation(.seconds(60)), on: nil)
        }
        fewest = min(fewest, malloc_count_of_this_thread() &- before)
      }
      return fewest
    }
    _ = try fewest(1)
    #if DEBUG
      #expect(try fewest(100) <= 100 * 10)
    #else
      #expect(try fewest(100) == 0)
    #endif
  }

  @Test func optionsOutOfRangeAreSaid() {
    #expect(MemoryCacheOptions().problems.isEmpty)
    #expect(
      MemoryCacheOptions(maxKeys: 0, shards: 5000, collectEvery: .zero).problems == [
        "maxKeys of 0: 1 to 16,777,216 are allowed", "shards of 5000: 1 to 4,096 are allowed",
        "collectEvery of 0.0 seconds: 1 ms to 1 day are allowed",
      ])
  }
}
