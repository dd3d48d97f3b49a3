import Middlewares
import Pipeline
import PipelineTesting
import Testing

@Suite struct PartitionedCacheTests {
  private let clock = ManualClock()

  private func parts(_ names: [String]) -> [PartitionedCache.Part] {
    names.map { name in
      let clock = clock
      return PartitionedCache.Part(name, MemoryCache { clock.now })
    }
  }

  @Test(arguments: CacheFact.all) func isACache(_ fact: CacheFact) async throws {
    let clock = clock
    try await fact.check(PartitionedCache(parts(["a", "b", "c"]))) { clock.advance(by: $0) }
  }

  @Test func aGroupLiesInOnePartAndTheOthersKnowNothingOfIt() async throws {
    let parts = parts(["a", "b", "c"])
    let cache = PartitionedCache(parts)
    for number in 0..<90 {
      let key = CacheKey("group \(number)")
      _ = try await cache.add(number, to: key, requiring: nil, lifetime: .forever, on: nil)
      for part in parts {
        let found = try await part.cache.get(key, on: nil)
        #expect((found != nil) == (part.node.name == cache.part(of: key.group)))
      }
    }
    #expect(Set((0..<90).map { cache.part(of: "group \($0)") }).count == 3)
  }

  @Test func aLostPartCostsItsOwnKeysAndNoOthers() async throws {
    let parts = parts(["a", "b"])
    let cache = PartitionedCache(parts)
    await parts[0].cache.close()
    for number in 0..<20 {
      let key = CacheKey("group \(number)")
      if cache.part(of: key.group) == "a" {
        await #expect(throws: CacheError.closed) { try await cache.get(key, on: nil) }
      } else {
        #expect(try await cache.get(key, on: nil) == nil)
      }
    }
  }

  @Test func allPartsAreRunAndClosed() async throws {
    let parts = parts(["a", "b"])
    let cache = PartitionedCache(parts)
    let services = ManualServices(clock: clock)
    let running = Task { try await cache.run(services) }
    await clock.sleepers(2)
    await cache.close()
    await #expect(throws: CacheError.closed) { try await parts[1].cache.get(CacheKey("a"), on: nil) }
    running.cancel()
    await #expect(throws: CancellationError.self) { try await running.value }
  }
}
