import Pipeline
import PipelineTesting
import Synchronization
import Testing

@testable import Middlewares

/// A cache that can be out, and forget.
private final class FaultyCache: Cache {
  private let inner: Mutex<MemoryCache>
  private enum Trouble: Int, AtomicRepresentable { case none, out, losesAnswers, cutOff }
  private let trouble = Atomic<Trouble>(.none)
  private let clock: ManualClock
  let asked = Counted()

  init(_ clock: ManualClock) {
    self.clock = clock
    inner = Mutex(MemoryCache(clock: { clock.now }))
  }

  func goOut() { trouble.store(.out, ordering: .relaxed) }
  /// What it is asked it does, and says nothing.
  func loseAnswers() { trouble.store(.losesAnswers, ordering: .relaxed) }
  /// As if the client had left while it is asked.
  func cutOff() { trouble.store(.cutOff, ordering: .relaxed) }
  func comeBack() { trouble.store(.none, ordering: .relaxed) }
  func forget() {
    let clock = clock
    inner.withLock { $0 = MemoryCache(clock: { clock.now }) }
  }

  private func cache() throws -> MemoryCache {
    asked.add()
    switch trouble.load(ordering: .relaxed) {
    case .none, .losesAnswers: return inner.withLock { $0 }
    case .out: throw CacheError.unavailable("out", mayHaveRun: false)
    case .cutOff: throw Rejection(.clientGone)
    }
  }

  func get(_ key: CacheKey, on exchange: Exchange?) async throws -> [UInt8]? { try cache().get(key, on: exchange) }
  func add(
    _ delta: Int, to key: CacheKey, requiring guardKey: CacheKey?, lifetime: CacheLifetime, on exchange: Exchange?
  ) async throws -> Int? {
    try cache().add(delta, to: key, requiring: guardKey, lifetime: lifetime, on: exchange)
  }
  func compareAndSet(
    _ key: CacheKey, expected: [UInt8]?, new: [UInt8]?, lifetime: CacheLifetime, on exchange: Exchange?
  ) async throws -> Bool {
    try cache().compareAndSet(key, expected: expected, new: new, lifetime: lifetime, on: exchange)
  }
  func take(_ counters: [CacheTake], on exchange: Exchange?) async throws -> CacheTaken {
    let taken = try cache().take(counters, on: exchange)
    if trouble.load(ordering: .relaxed) == .losesAnswers { throw CacheError.unavailable("no answer", mayHaveRun: true) }
    return taken
  }
  func run(_ services: any BackgroundServices) async throws {
    while true { try await services.sleep(for: .seconds(3600)) }
  }
  func close() async {}

  /// What a counter of ada's holds.
  func value(_ name: String) throws -> Int? {
    try inner.withLock { $0 }.get(CacheKey("quota:i:ada", name), on: nil).flatMap {
      Int(String(decoding: $0, as: UTF8.self))
    }
  }
}

/// Several stores on one cache stand for several processes; with a real Redis see `SharedQuotaTests`.
@Suite struct QuotaSharingTests {
  private let clock = ManualClock()
  private let cache: FaultyCache
  private let client = MockClient(user: "ada")

  init() { cache = FaultyCache(clock) }

  private func process(
    _ quota: Quota, _ fallback: QuotaFallback = .countAlone
  ) throws -> (store: QuotaStore, harness: ChainHarness<SOCKS5Exchange>) {
    let store = QuotaStore(cache: cache, whenCacheFails: fallback, clock: calendarClock(clock))
    let harness = try ChainHarness(.socks5, clock: clock) {
      NamedByClient()
      UsageQuota(quota, per: .identity, in: store)
    }
    return (store, harness)
  }

  private func served(_ harness: ChainHarness<SOCKS5Exchange>, _ times: Int) async -> Int {
    var served = 0
    for _ in 0..<times where await harness.run(client) == .served() { served += 1 }
    return served
  }

  @Test(arguments: [100, 1000]) func threeProcessesAdmitExactlyAsManyAsTheQuotaHas(_ limit: Int) async throws {
    let processes = try (0..<3).map { _ in try process(.requests(limit, per: .day)) }
    var served = 0
    for round in 0..<(2 * limit) { served += await self.served(processes[round % 3].harness, 1) }
    #expect(served == limit)
    #expect(try cache.value("requests/day:1773100800") == limit)
    // Refusals do not ask each time.
    let asked = cache.asked.count
    #expect(await self.served(processes[0].harness, 100) == 0)
    #expect(cache.asked.count <= asked + 1)
    #expect(processes[0].store.report(of: .identity(Principal("ada")))?.quotas.first?.isExhausted == true)
  }

  @Test func farFromTheLimitTheCacheIsAskedOnceForMany() async throws {
    let (_, harness) = try process(.requests(1_000_000, per: .day))
    #expect(await served(harness, 6400) == 6400)
    #expect(cache.asked.count <= 101)
  }

  @Test func whatOneProcessHoldsAndDoesNotUseComesBack() async throws {
    let first = try process(.requests(6400, per: .forever))
    let second = try process(.requests(6400, per: .forever))
    let services = ManualServices(clock: clock)
    let running = Task { try await first.store.run(services) }
    #expect(await served(first.harness, 1) == 1)
    #expect(try cache.value("requests/ever:0") == 64)
    // Three tasks of the store, and the cache's own.
    await clock.sleepers(3)
    clock.advance(by: .milliseconds(600))
    await clock.sleepers(3)
    clock.advance(by: .milliseconds(600))
    await clock.sleepers(3)
    #expect(try cache.value("requests/ever:0") == 1)
    #expect(await served(second.harness, 7000) == 6399)
    running.cancel()
    _ = await running.result
  }

  @Test func whoStopsHandsBackAllThatItHolds() async throws {
    let (store, harness) = try process(.requests(6400, per: .forever))
    let services = ManualServices(clock: clock)
    let running = Task { try await store.run(services) }
    #expect(await served(harness, 3) == 3)
    await clock.sleepers(3)
    running.cancel()
    _ = await running.result
    #expect(try cache.value("requests/ever:0") == 3)
  }

  @Test func aRefundIsTheNextOnesHereAndGoesBackToAll() async throws {
    let first = try process(.requests(2, per: .forever))
    let second = try process(.requests(2, per: .forever))
    _ = await first.harness.run(client) { _ in throw Rejection(.connectionRefused) }
    #expect(await served(first.harness, 1) == 1)
    #expect(await served(second.harness, 1) == 1)
    #expect(await served(first.harness, 1) == 0)
  }

  @Test func withoutTheCacheEachGoesOnByWhatItKnowsAndTellsItLater() async throws {
    let (store, harness) = try process(.requests(100, per: .forever))
    let services = ManualServices(clock: clock)
    let running = Task { try await store.run(services) }
    #expect(await served(harness, 10) == 10)
    cache.goOut()
    #expect(await served(harness, 200) == 90)
    // An hour without it: still not more than the quota.
    clock.advance(by: .seconds(3600))
    #expect(await served(harness, 10) == 0)
    cache.comeBack()
    await clock.sleepers(3)
    clock.advance(by: .seconds(2))
    await clock.sleepers(3)
    #expect(try cache.value("requests/ever:0") == 100)
    #expect(await served(harness, 10) == 0)
    running.cancel()
    _ = await running.result
  }

  @Test func whereTheProgramWantsItNobodyGetsInWithoutTheCache() async throws {
    let (_, harness) = try process(.requests(100, per: .forever), .refuse)
    cache.goOut()
    #expect(await harness.run(client) == .refused(.overloaded))
    cache.comeBack()
    clock.advance(by: .seconds(2))
    #expect(await harness.run(client) == .served())
  }

  @Test func aCacheThatHasLostItAllLearnsFromTheLedger() async throws {
    cache.forget()
    var stores: [ChainHarness<SOCKS5Exchange>] = []
    for _ in 0..<2 {
      let (store, harness) = try process(.requests(100, per: .day))
      store.restore(
        .counter(
          LedgerCounter(
            name: "requests/day", account: .identity(Principal("ada")), start: UnixTime(seconds: 1_773_100_800),
            end: UnixTime(seconds: 1_773_187_200), used: 60)))
      stores.append(harness)
    }
    #expect(await served(stores[0], 30) == 30)
    #expect(await served(stores[1], 30) == 10)
    #expect(try cache.value("requests/day:1773100800") == 100)
  }

  @Test func theNextWindowIsEverybodysAgainAndAResetToo() async throws {
    let first = try process(.requests(10, per: .hour))
    let second = try process(.requests(10, per: .hour))
    #expect(await served(first.harness, 20) == 10)
    #expect(await served(second.harness, 20) == 0)
    clock.advance(by: .seconds(3600))
    #expect(await served(second.harness, 4) == 4)
    try await first.store.reset(.identity(Principal("ada")))
    #expect(await served(first.harness, 20) == 10)
  }

  @Test(.timeLimit(.minutes(2))) func processesShareBytesAndMoveNoMore() async throws {
    let limit = 5_000_000
    let processes = try (0..<2).map { _ in try process(.bytes(limit, per: .forever)) }
    let services = ManualServices(clock: clock)
    let running = processes.map { process in Task { try await process.store.run(services) } }
    var runs: [ExchangeRun] = []
    for process in processes {
      for _ in 0..<2 { runs.append(await process.harness.send(client, end: ByteQuotaTests.echo(10_000_000))) }
    }
    // The stores answer on threads of their own, whenever those get to run.
    while runs.contains(where: { $0.outcome == .waiting }) {
      clock.advance(by: .milliseconds(10))
      await Task.yield()
    }
    #expect(runs.map(\.outcome) == runs.map { _ in .refused(.quotaExhausted) })
    for task in running {
      task.cancel()
      _ = await task.result
    }
    let used = try #require(try cache.value("bytes/ever:0"))
    // What one process gave back after the other had ended is left over.
    #expect(used <= limit && used >= limit - 1_000_000, "\(used)")
  }

  @Test func whatIsCountedAfterAResetLastsToTheEndOfTheWindow() async throws {
    let (store, harness) = try process(.requests(3, per: .day))
    #expect(await served(harness, 5) == 3)
    try await store.reset(.identity(Principal("ada")))
    #expect(await served(harness, 5) == 3)
    clock.advance(by: .seconds(3600))
    #expect(await served(harness, 5) == 0)
  }

  @Test func tokensWhoseHandBackHasNoAnswerAreNotUsedTwice() async throws {
    let (store, harness) = try process(.requests(6400, per: .forever))
    let services = ManualServices(clock: clock)
    let running = Task { try await store.run(services) }
    #expect(await served(harness, 1) == 1)
    await clock.sleepers(3)
    cache.loseAnswers()
    clock.advance(by: .milliseconds(600))
    await clock.sleepers(3)
    clock.advance(by: .milliseconds(600))
    await clock.sleepers(3)
    cache.comeBack()
    #expect(try cache.value("requests/ever:0") == 1)
    clock.advance(by: .seconds(2))
    await clock.sleepers(3)
    #expect(await served(harness, 7000) == 6399)
    running.cancel()
    _ = await running.result
  }

  @Test func aClientThatLeavesWhileTheCacheIsAskedMakesNobodyCountAlone() async throws {
    let (_, first) = try process(.requests(2, per: .day))
    let (_, second) = try process(.requests(2, per: .day))
    #expect(await served(second, 2) == 2)
    cache.cutOff()
    #expect(await first.run(client) == .refused(.clientGone))
    cache.comeBack()
    #expect(await served(first, 3) == 0)
  }

  @Test func aRollingWindowIsNotShared() throws {
    #expect(throws: ConfigurationError.self) { try process(.requests(1, per: .rolling(.seconds(60)))) }
  }
}

/// Many threads at once, through the whole of the middleware.
@Suite struct QuotaContentionTests {
  /// Lets so many exchanges of ada's ask on threads of their own; a part of them fails before it reaches an upstream.
  private func ask(
    _ quotas: [UsageQuota<IdentityKey>], threads: Int, each: Int, failing: UInt64
  ) async -> (served: Int, refused: Int, failed: Int) {
    await withTaskGroup(of: (Int, Int, Int).self) { group in
      for thread in 0..<threads {
        group.addTask {
          var random = SeededRandom(seed: UInt64(thread + 1))
          var counts = (0, 0, 0)
          let exchange = MockSOCKS5Exchange(id: UInt64(thread * each + 1))
          for _ in 0..<each {
            let fails = random.next() % 100 < failing
            do {
              _ = try await quotas[thread % quotas.count].through(exchange, Principal("ada")) {
                if fails { throw Rejection(.connectionRefused) }
                return Summary()
              }
              counts.0 += 1
            } catch {
              if Rejection(error).kind == .quotaExhausted { counts.1 += 1 } else { counts.2 += 1 }
            }
            exchange.recycle(id: exchange.id + 1)
          }
          return counts
        }
      }
      return await group.reduce((0, 0, 0)) { ($0.0 + $1.0, $0.1 + $1.1, $0.2 + $1.2) }
    }
  }

  @Test func exactlyAsManyAsTheQuotaHas() async {
    let store = QuotaStore()
    let quota = UsageQuota(.requests(5000, per: .forever), per: .identity, warnAt: nil, in: store)
    let counts = await ask([quota], threads: 8, each: 2000, failing: 0)
    #expect(counts == (5000, 11_000, 0))
  }

  @Test func whatFailsIsGivenBackAndTheRestIsExact() async {
    let store = QuotaStore()
    let quota = UsageQuota(.requests(5000, per: .forever), per: .identity, warnAt: nil, in: store)
    let counts = await ask([quota], threads: 8, each: 2000, failing: 30)
    #expect(counts.served == 5000)
    #expect(counts.failed > 0)
    #expect(store.report(of: .identity(Principal("ada")))?.quotas.first?.used == 5000)
  }

  @Test func exactlyAsManyInThreeStoresThatShareACache() async {
    let cache = MemoryCache()
    let quotas = (0..<3).map { _ in
      UsageQuota(.requests(100, per: .forever), per: .identity, warnAt: nil, in: QuotaStore(cache: cache))
    }
    let counts = await ask(quotas, threads: 9, each: 120, failing: 0)
    #expect(counts == (100, 980, 0))
  }
}
