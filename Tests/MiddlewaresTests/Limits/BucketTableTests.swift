import Pipeline
import PipelineTesting
import Synchronization
import Testing

@testable import Middlewares

/// What a token bucket is by definition: tokens that are added at a rate up to a limit. Exact, in sixteenths of a nanosecond.
private struct NaiveBucket {
  let time: BucketTime
  /// Tokens, counted in the time that they take to be added.
  var level: UInt64
  var last: UInt64 = 0

  init(_ time: BucketTime) {
    self.time = time
    level = time.capacity
  }

  mutating func take(at now: UInt64) -> Bool {
    level = min(time.capacity, level + (now - last))
    last = now
    guard level >= time.cost else { return false }
    level -= time.cost
    return true
  }
}

private final class Shared: Sendable {
  let clock = Atomic<UInt64>(16_000_000_000)
  let admitted = Mutex([Int](repeating: 0, count: 8))
}

private func key(_ number: Int) -> LimitKey { LimitKey(hashing: number) }

private func isAdmitted(_ take: BucketTable.Take) -> Bool {
  if case .admitted = take { true } else { false }
}

@Suite struct BucketTableTests {
  @Test(arguments: [
    Rate.perSecond(1), .perSecond(3, burst: 7), .perSecond(1_000_000, burst: 10), .perMinute(7, burst: 1),
    .per(.milliseconds(3), 1_000_000_000, burst: 5), .perHour(1, burst: 1000),
  ])
  func decidesLikeABucketWithTokensInIt(_ rate: Rate) {
    var random = SeededRandom(seed: 7)
    let time = BucketTime(rate)
    let table = BucketTable(keys: 64)
    var model = (0..<40).map { _ in NaiveBucket(time) }
    var now: UInt64 = 16_000_000_000
    var admitted = 0
    for _ in 0..<20_000 {
      // Now and then long enough for a bucket to fill, mostly around the time of one token.
      let step = random.next() % 128 == 0 ? time.capacity : time.cost / 4
      now += random.next() % (step + 1)
      let who = Int(random.next() % 40)
      let expected = model[who].take(at: now)
      #expect(isAdmitted(table.take(key(who), now: now, time)) == expected)
      if expected { admitted += 1 }
      if random.next() % 500 == 0 { _ = table.sweep(now: now) }
    }
    #expect(admitted > 100)
  }

  @Test func neverAdmitsMoreThanBurstAndRateOverManyThreads() async {
    let rate = Rate.perSecond(1000, burst: 50)
    let time = BucketTime(rate)
    let table = BucketTable(keys: 1024)
    let shared = Shared()
    let start = shared.clock.load(ordering: .relaxed)
    await withTaskGroup(of: Void.self) { group in
      for worker in 0..<8 {
        group.addTask {
          var random = SeededRandom(seed: UInt64(worker))
          var mine = [Int](repeating: 0, count: 8)
          for _ in 0..<20_000 {
            // All threads push the one clock on; each decides by a time that may be a little old, as a loop does.
            let now = shared.clock.load(ordering: .relaxed)
            if random.next() % 4 == 0 { shared.clock.add(random.next() % 160_000, ordering: .relaxed) }
            let who = Int(random.next() % 8)
            if isAdmitted(table.take(key(who), now: now, time)) { mine[who] += 1 }
          }
          shared.admitted.withLock { all in for who in 0..<8 { all[who] += mine[who] } }
        }
      }
    }
    let elapsed = shared.clock.load(ordering: .relaxed) - start
    let most = 50 + Int(elapsed / time.cost)
    for count in shared.admitted.withLock({ $0 }) { #expect(count <= most && count >= 50) }
  }

  @Test func admitsExactlyTheBurstWhenManyThreadsTakeAtOnce() async {
    let time = BucketTime(.perSecond(1, burst: 1000))
    let table = BucketTable(keys: 1024)
    let admitted = await withTaskGroup(of: Int.self) { group in
      for _ in 0..<8 {
        group.addTask {
          (0..<1000).count { _ in isAdmitted(table.take(key(1), now: 16, time)) }
        }
      }
      return await group.reduce(0, +)
    }
    #expect(admitted == 1000)
  }

  @Test func keysThatAreNewOnManyThreadsAtOnceGetOneBucketEach() async {
    let time = BucketTime(.perSecond(1, burst: 3))
    let table = BucketTable(keys: 2000)
    let admitted = await withTaskGroup(of: Int.self) { group in
      for _ in 0..<8 {
        group.addTask {
          (0..<1000).count { isAdmitted(table.take(key($0), now: 16, time)) }
        }
      }
      return await group.reduce(0, +)
    }
    #expect(admitted == 3000)
  }

  @Test func holdsAsManyKeysInUseAsItPromises() {
    let time = BucketTime(.perSecond(1))
    for keys in [100, 1000, 20_000] {
      let table = BucketTable(keys: keys)
      let admitted = (0..<keys).count { isAdmitted(table.take(key($0), now: 16, time)) }
      #expect(admitted == keys)
      #expect(table.turnedAway == 0)
    }
  }

  @Test func anAttackWithManyKeysForgetsNoKeyThatIsInUse() {
    let time = BucketTime(.perSecond(1, burst: 2))
    let table = BucketTable(keys: 500)
    let known = 0..<100
    for who in known { #expect(isAdmitted(table.take(key(who), now: 16, time))) }
    var turnedAway = 0
    for attacker in 1000..<101_000 where table.take(key(attacker), now: 17, time) == .noRoom { turnedAway += 1 }
    #expect(turnedAway == table.turnedAway)
    #expect(turnedAway > 98_000)
    // Each has one token left, and no more than one.
    for who in known {
      #expect(isAdmitted(table.take(key(who), now: 18, time)))
      #expect(!isAdmitted(table.take(key(who), now: 18, time)))
    }
  }

  @Test func slotsOfFullBucketsGoToNewKeys() {
    let time = BucketTime(.perSecond(1))
    let table = BucketTable(keys: 100)
    for round in 1...50 {
      let now = UInt64(round) * 2 * time.cost
      for who in 0..<100 { #expect(isAdmitted(table.take(key(round * 1000 + who), now: now, time))) }
    }
    #expect(table.turnedAway == 0)
  }

  @Test func aSweepForgetsFullBucketsOnly() {
    let time = BucketTime(.perSecond(1, burst: 10))
    let table = BucketTable(keys: 100)
    for who in 0..<10 { _ = table.take(key(who), now: 16, time) }
    for _ in 0..<5 { _ = table.take(key(0), now: 16, time) }
    #expect(table.sweep(now: 17) == 10)
    let later = 17 + 2 * time.cost
    #expect(table.sweep(now: later) == 1)
    let left = (0..<20).count { _ in isAdmitted(table.take(key(0), now: later, time)) }
    #expect(left == 6)
  }

  @Test func aTimeThatIsFarAwayOverflowsNothing() {
    let time = BucketTime(.per(.seconds(366 * 86_400), 1, burst: 1))
    let table = BucketTable(keys: 10)
    let late = BucketTime.ticks(.distantFuture)
    #expect(isAdmitted(table.take(key(1), now: late, time)))
    #expect(!isAdmitted(table.take(key(1), now: late, time)))
    #expect(BucketTime.seconds(time.capacity) == 366 * 86_400)
  }
}
