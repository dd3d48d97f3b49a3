import Middlewares
import Pipeline
import PipelineTesting
import Synchronization
import Testing

/// A clock that each reader pushes on: no two readings are the same, so that readings are an order of all steps.
private final class RacingClock: Sendable {
  private let time: Atomic<UInt64>
  private let most: UInt64

  /// - Parameter most: nanoseconds between two readings.
  init(most: UInt64) {
    time = Atomic(1_000_000_000)
    self.most = most
  }

  var latest: UInt64 { time.load(ordering: .acquiring) }

  func read(_ random: inout SeededRandom) -> UInt64 {
    time.add(1 + random.next() % most, ordering: .acquiringAndReleasing).newValue
  }

  /// A lull.
  func skip() { time.add(most * 150, ordering: .acquiringAndReleasing) }
}

private final class Tally: Sendable {
  private let tally: Mutex<[Int]>
  init(count: Int) { tally = Mutex([Int](repeating: 0, count: count)) }
  func add(_ index: Int) { tally.withLock { $0[index] += 1 } }
  var counts: [Int] { tally.withLock { $0 } }
}

private let names = (0..<100).map { LimitKey.named("\($0)") }

private struct Attempt: Sendable {
  var key: Int
  var at: UInt64
  var cost: Int
  var isAllowed: Bool
}

/// Has many threads take from a store by a clock that they all push on, and says who asked when and was told what, in the
/// order of the readings of the clock by which each was decided.
private func race<Algorithm: LimitAlgorithm>(
  _ store: MemoryLimitStore<Algorithm>, keys: Int, step: UInt64, seed: UInt64, mostCost: Int = 1, each: Int = 2000
) async throws -> [Attempt] {
  let clock = RacingClock(most: step)
  let attempts = try await withThrowingTaskGroup(of: [Attempt].self) { group in
    for worker in 0..<8 {
      group.addTask {
        var random = SeededRandom(seed: seed &* 31 &+ UInt64(worker))
        var mine: [Attempt] = []
        for _ in 0..<each {
          let who = Int(random.next() % UInt64(keys))
          let cost = Int(1 + random.next() % UInt64(mostCost))
          // The last reading counts: the store reads again when another thread was faster.
          var at: UInt64 = 0
          func now() -> Instant {
            at = clock.read(&random)
            return Instant(nanoseconds: at)
          }
          let decision = try store.take(names[who], cost: cost, rate: nil, now: now())
          mine.append(Attempt(key: who, at: at, cost: cost, isAllowed: decision.isAllowed))
          // Bursts and lulls.
          if random.next() % 1024 == 0 { clock.skip() }
        }
        return mine
      }
    }
    return try await group.reduce(into: []) { $0 += $1 }
  }
  return attempts.sorted { $0.at < $1.at }
}

@Suite struct LimitContentionTests {
  /// What is taken minus what was added, from any start to any end, never exceeds the burst: the sum over `[i, j]` of costs less
  /// the time between, for all `i` and `j` at once by the least sum before.
  private func mostOverRate(_ attempts: [Attempt], _ rate: Rate) -> Double {
    let tokensPerNanosecond = Double(rate.count) / Double(rate.period.nanosecondsClamped)
    var taken = 0
    var least = Double.infinity
    var most = 0.0
    guard let start = attempts.first?.at else { return 0 }
    for attempt in attempts where attempt.isAllowed {
      let added = Double(attempt.at - start) * tokensPerNanosecond
      least = min(least, Double(taken) - added)
      taken += attempt.cost
      most = max(most, Double(taken) - added - least)
    }
    return most
  }

  @Test(arguments: [UInt64](1...8))
  func noStretchOfTimeAdmitsMoreThanBurstAndRateTimesElapsed(_ seed: UInt64) async throws {
    var random = SeededRandom(seed: seed)
    let rate = Rate.per(
      .milliseconds(Int(1 + random.next() % 50)), Int(1 + random.next() % 5000), burst: Int(1 + random.next() % 300))
    func check<Algorithm: LimitAlgorithm>(_ algorithm: Algorithm) async throws {
      let store = MemoryLimitStore(rate, algorithm: algorithm)
      let attempts = try await race(store, keys: 4, step: 4000, seed: seed)
      for key in 0..<4 {
        let ofKey = attempts.filter { $0.key == key }
        #expect(ofKey.contains { $0.isAllowed })
        #expect(mostOverRate(ofKey, rate) <= Double(rate.burst) + 1e-6, "\(rate)")
      }
    }
    try await check(.tokenBucket)
    try await check(.gcra)
    try await check(.leakyBucket)
  }

  @Test(arguments: [UInt64](1...8))
  func whoAsksAllTheTimeGetsAllThatTheRateGivesLessOneAtMost(_ seed: UInt64) async throws {
    // Asks more often than the rate gives, so that no token is lost in a full bucket after the first emptying.
    let rate = Rate.per(.milliseconds(1), Int(3 + 7 * seed), burst: Int(10 * seed))
    let store = MemoryLimitStore(rate, algorithm: .tokenBucket)
    let attempts = try await race(store, keys: 1, step: 1000, seed: seed)
    let firstRefusal = try #require(attempts.firstIndex { !$0.isAllowed })
    let start = attempts[firstRefusal].at
    // Lulls may fill the bucket: the last stretch without one counts.
    let elapsed = Double(attempts[attempts.count - 1].at - start)
    let admitted = attempts[firstRefusal...].count { $0.isAllowed }
    var ideal = IdealBucket(rate, level: 0, at: start)
    let most = attempts[firstRefusal...].count { ideal.take($0.cost, at: $0.at) }
    #expect(elapsed > 0)
    #expect(admitted >= most - 1 && admitted <= most + 1, "\(admitted) of \(most)")
  }

  @Test(arguments: [UInt64](1...4))
  func manyThreadsAreToldWhatOneWouldHaveBeenTold(_ seed: UInt64) async throws {
    func check<Algorithm: LimitAlgorithm>(_ algorithm: Algorithm) async throws {
      let rate = Rate.per(.milliseconds(2), 40)
      let attempts = try await race(
        MemoryLimitStore(rate, algorithm: algorithm), keys: 3, step: 20_000, seed: seed, mostCost: 5)
      let alone = MemoryLimitStore(rate, algorithm: algorithm)
      var different = 0
      for attempt in attempts {
        let decision = try alone.take(
          names[attempt.key], cost: attempt.cost, rate: nil, now: Instant(nanoseconds: attempt.at))
        if decision.isAllowed != attempt.isAllowed { different += 1 }
      }
      #expect(different == 0, "\(algorithm.kind.name)")
      #expect(attempts.contains { $0.isAllowed } && attempts.contains { !$0.isAllowed })
    }
    try await check(.tokenBucket)
    try await check(.tokenBucket(refill: .wholeInterval))
    try await check(.gcra)
    try await check(.leakyBucket)
    try await check(.fixedWindow)
    try await check(.slidingWindow)
    try await check(.slidingLog)
  }

  @Test func theClockIsReadAgainWhenAnotherThreadWasFaster() throws {
    let store = MemoryLimitStore(.perSecond(1, burst: 1), algorithm: .tokenBucket)
    let key = LimitKey.named("ada")
    _ = try store.take(key, cost: 1, rate: nil, now: Instant(nanoseconds: 1_000_000_000))
    // While this take reads the clock, which says that a token has come, another one takes it. Were the take decided by the time
    // that it read first, both would have it.
    var readings = 0
    func now() -> Instant {
      readings += 1
      if readings == 1 {
        do {
          let other = try store.take(key, cost: 1, rate: nil, now: Instant(nanoseconds: 2_000_000_000))
          #expect(other.isAllowed)
        } catch {
          Issue.record(error)
        }
        return Instant(nanoseconds: 2_000_000_000)
      }
      return Instant(nanoseconds: 2_500_000_000)
    }
    let decision = try store.take(key, cost: 1, rate: nil, now: now())
    #expect(readings == 2)
    #expect(!decision.isAllowed)
    #expect(decision.retryAfter == .milliseconds(500))
  }

  @Test func keysThatComeAndGoOnManyThreadsKeepTheirBalances() async throws {
    // More keys than room, refunds and another plan now and then: slots pass from key to key all the time.
    let options = LimitStoreOptions(initialSize: 20, maxKeys: 60)
    let store = MemoryLimitStore(.per(.milliseconds(1), 1000, burst: 20), algorithm: .tokenBucket, options: options)
    let clock = RacingClock(most: 3000)
    let admitted = Tally(count: 100)
    let start = clock.latest
    try await withThrowingTaskGroup(of: Void.self) { group in
      for worker in 0..<8 {
        group.addTask {
          var random = SeededRandom(seed: UInt64(worker))
          for _ in 0..<6_000 {
            let who = Int(random.next() % 100)
            let key = names[who]
            let decision = try store.take(
              key, cost: 1, rate: nil, now: Instant(nanoseconds: clock.read(&random)))
            guard decision.isAllowed else { continue }
            if random.next() % 4 == 0 {
              try store.refund(key, cost: 1, rate: nil, now: Instant(nanoseconds: clock.read(&random)))
            } else {
              admitted.add(who)
            }
            if random.next() % 512 == 0 { store.collect(now: Instant(nanoseconds: clock.latest)) }
          }
        }
      }
      try await group.waitForAll()
    }
    let most = 20 + Int((clock.latest - start) / 1000) + 1
    #expect(store.counts.kept <= 60)
    for count in admitted.counts { #expect(count <= most) }
    // Everything becomes idle, and nothing is left behind.
    store.collect(now: Instant(nanoseconds: clock.latest + 1_000_000_000))
    #expect(store.counts.kept == 0)
  }
}

/// Tokens that are added at a rate up to a limit, by definition.
private struct IdealBucket {
  let tokensPerNanosecond: Double
  let burst: Double
  var level: Double
  var last: UInt64

  init(_ rate: Rate, level: Double, at start: UInt64) {
    tokensPerNanosecond = Double(rate.count) / Double(rate.period.nanosecondsClamped)
    burst = Double(rate.burst)
    self.level = level
    last = start
  }

  mutating func take(_ cost: Int, at now: UInt64) -> Bool {
    level = min(burst, level + Double(now - last) * tokensPerNanosecond)
    last = now
    guard level >= Double(cost) else { return false }
    level -= Double(cost)
    return true
  }
}
