import CMallocCount
import Middlewares
import Pipeline
import PipelineTesting
import Testing

private func key(_ number: Int) -> LimitKey { LimitKey(hashing: number) }

private func second(_ value: Double) -> Instant { Instant(nanoseconds: UInt64(value * 1_000_000_000)) }

@Suite struct MemoryLimitStoreTests {
  // MARK: - The calls

  @Test func aLookTakesNothing() throws {
    let store = MemoryLimitStore(.perSecond(1, burst: 2), algorithm: .tokenBucket)
    for _ in 0..<5 { #expect(try store.peek(key(1), rate: nil, now: second(10)).remaining == 2) }
    #expect(store.counts.kept == 0)
    #expect(try store.take(key(1), cost: 2, rate: nil, now: second(10)).isAllowed)
    let look = try store.peek(key(1), rate: nil, now: second(10))
    #expect(!look.isAllowed)
    #expect(look.retryAfter == .seconds(1))
  }

  @Test func keysHaveALimitEach() throws {
    let store = MemoryLimitStore(.perSecond(2), algorithm: .fixedWindow)
    _ = try store.take(key(1), cost: 2, rate: nil, now: second(10))
    #expect(try store.take(key(2), cost: 1, rate: nil, now: second(10)).remaining == 1)
    let words = MemoryLimitStore(.perSecond(1, burst: 2), algorithm: .tokenBucket)
    _ = try words.take(key(1), cost: 2, rate: nil, now: second(10))
    #expect(try words.take(key(2), cost: 1, rate: nil, now: second(10)).remaining == 1)
    try words.refund(key(2), cost: 1, rate: nil, now: second(10))
    #expect(try words.peek(key(1), rate: nil, now: second(10)).remaining == 0)
  }

  @Test func aRateOfItsOwnIsForThisKeyOnly() throws {
    let store = MemoryLimitStore(.perSecond(1), algorithm: .tokenBucket)
    let plan = Rate.perSecond(100)
    #expect(try store.take(key(1), cost: 60, rate: plan, now: second(10)).remaining == 40)
    #expect(try !store.take(key(2), cost: 60, rate: nil, now: second(10)).isAllowed)
    #expect(try store.take(key(1), cost: 40, rate: plan, now: second(10)).remaining == 0)
  }

  @Test func aLimitThatIsSetHoldsUntilTheKeyIsCollected() throws {
    let options = LimitStoreOptions(minTTL: .seconds(60))
    let store = MemoryLimitStore(.perSecond(2), algorithm: .tokenBucket, options: options)
    try store.set(key(1), tokens: 10, interval: .seconds(1), now: second(10))
    #expect(try store.take(key(1), cost: 10, rate: nil, now: second(10)).limit == 10)
    #expect(try store.take(key(2), cost: 1, rate: nil, now: second(10)).limit == 2)
    store.collect(now: second(70))
    #expect(try store.peek(key(1), rate: nil, now: second(70)).limit == 10)
    store.collect(now: second(72))
    #expect(try store.peek(key(1), rate: nil, now: second(72)).limit == 2)
  }

  @Test func settingALimitKeepsTheShareThatIsUsed() throws {
    let store = MemoryLimitStore(.perSecond(10), algorithm: .tokenBucket)
    _ = try store.take(key(1), cost: 5, rate: nil, now: second(10))
    try store.set(key(1), tokens: 100, interval: .seconds(1), now: second(10))
    let balance = try store.peek(key(1), rate: nil, now: second(10))
    #expect(balance.limit == 100)
    #expect(balance.remaining == 50)
  }

  @Test func onlySoManyKeysHaveALimitOfTheirOwn() throws {
    let store = MemoryLimitStore(.perSecond(1), algorithm: .gcra, options: LimitStoreOptions(maxKeys: 2))
    for number in 1...2 { try store.set(key(number), tokens: 5, interval: .seconds(1), now: second(1)) }
    try store.set(key(1), tokens: 6, interval: .seconds(1), now: second(1))
    #expect(throws: LimitStoreError.unavailable("2 keys have a limit of their own, which is maxKeys")) {
      try store.set(key(3), tokens: 5, interval: .seconds(1), now: second(1))
    }
  }

  @Test func aClosedStoreAnswersNothing() async throws {
    let store = MemoryLimitStore(.perSecond(1), algorithm: .tokenBucket)
    store.close()
    store.close()
    #expect(throws: LimitStoreError.closed) { try store.take(key(1), cost: 1, rate: nil, now: second(1)) }
    #expect(throws: LimitStoreError.closed) { try store.peek(key(1), rate: nil, now: second(1)) }
    #expect(throws: LimitStoreError.closed) { try store.refund(key(1), cost: 1, rate: nil, now: second(1)) }
    #expect(throws: LimitStoreError.closed) {
      try store.set(key(1), tokens: 1, interval: .seconds(1), now: second(1))
    }
    try await store.run(ManualServices())
  }

  @Test func figuresOutOfRangeAreNamed() throws {
    let store = MemoryLimitStore(.perSecond(1), algorithm: .slidingLog)
    for cost in [-1, 1_000_000_001] {
      #expect(throws: LimitStoreError.invalid("a cost of \(cost): 0 to 1,000,000,000 tokens are allowed")) {
        try store.take(key(1), cost: cost, rate: nil, now: second(1))
      }
    }
    #expect(throws: LimitStoreError.invalid("a period of 0.0 seconds: 1 ms to 366 days are allowed")) {
      try store.set(key(1), tokens: 1, interval: .zero, now: second(1))
    }
    let options = LimitStoreOptions(ttlInterval: .zero, minTTL: .seconds(-1), initialSize: 11, maxKeys: 10)
    #expect(
      options.problems == [
        "initialSize of 11: 1 to maxKeys (10) are allowed",
        "ttlInterval of 0.0 seconds: 1 ms to 1 day are allowed",
        "minTTL of -1.0 seconds: 0 to 366 days are allowed",
      ])
    #expect(LimitStoreOptions(maxKeys: 0).problems.first == "maxKeys of 0: 1 to 16,777,216 are allowed")
    #expect(LimitStoreOptions().problems == [])
    #expect(MemoryLimitStore(.perSecond(0), algorithm: .gcra, options: options).problems.count == 4)
  }

  // MARK: - Keys that are kept

  @Test func idleKeysAreCollectedEveryTTLInterval() async throws {
    let options = LimitStoreOptions(ttlInterval: .seconds(5))
    let store = MemoryLimitStore(.perSecond(1), algorithm: .tokenBucket, options: options)
    let services = ManualServices()
    let collector = Task { try await store.run(services) }
    await services.clock.sleepers(1)
    for number in 0..<10 { _ = try store.take(key(number), cost: 1, rate: nil, now: services.now) }
    services.clock.advance(by: .milliseconds(4_999))
    #expect(store.counts.kept == 10)
    services.clock.advance(by: .milliseconds(1))
    await services.clock.sleepers(1)
    #expect(store.counts.kept == 0)
    collector.cancel()
    await #expect(throws: CancellationError.self) { try await collector.value }
  }

  @Test(arguments: [0.0, 30.0])
  func anIdleKeyIsKeptForItsMinimumTime(_ seconds: Double) throws {
    func kept<Algorithm: LimitAlgorithm>(_ algorithm: Algorithm) throws -> [Int] {
      let options = LimitStoreOptions(minTTL: .seconds(seconds))
      let store = MemoryLimitStore(.perSecond(2), algorithm: algorithm, options: options)
      // Whole again, under each of the algorithms, between 0.5 and 2 seconds later.
      _ = try store.take(key(1), cost: 1, rate: nil, now: second(10))
      return [10.4, 12 + seconds - 0.1 * (seconds == 0 ? 0 : 20), 12.1 + seconds].map {
        store.collect(now: second($0))
        return store.counts.kept
      }
    }
    let expected = seconds == 0 ? [1, 0, 0] : [1, 1, 0]
    #expect(try kept(.tokenBucket) == expected)
    #expect(try kept(.fixedWindow) == expected)
    #expect(try kept(.slidingWindow) == expected)
    #expect(try kept(.slidingLog) == expected)
  }

  @Test func memoryGrowsFromTheInitialSizeToTheMostWhenSoManyKeysAreInUse() throws {
    let options = LimitStoreOptions(initialSize: 100, maxKeys: 10_000)
    let store = MemoryLimitStore(.perHour(1), algorithm: .tokenBucket, options: options)
    for number in 0..<100 { _ = try store.take(key(number), cost: 1, rate: nil, now: second(1)) }
    #expect(store.counts.room == 100)
    for number in 100..<10_000 { _ = try store.take(key(number), cost: 1, rate: nil, now: second(1)) }
    #expect(store.counts.room == 10_000)
    #expect(store.counts.kept == 10_000)
    #expect(store.counts.turnedAway == 0)
    for number in 0..<10_000 { #expect(try !store.take(key(number), cost: 1, rate: nil, now: second(1)).isAllowed) }
  }

  @Test func idleKeysMakeNoMemoryGrow() throws {
    let options = LimitStoreOptions(initialSize: 100, maxKeys: 10_000)
    let store = MemoryLimitStore(.perSecond(1), algorithm: .tokenBucket, options: options)
    for number in 0..<10_000 {
      _ = try store.take(key(number), cost: 1, rate: nil, now: second(Double(number) / 10))
    }
    #expect(store.counts.room == 100)
    #expect(store.counts.turnedAway == 0)
  }

  @Test(arguments: [1, 10, 1000, 20_000])
  func asManyKeysAreKeptAsWasSaidAndNoMore(_ most: Int) throws {
    let options = LimitStoreOptions(maxKeys: most)
    func check<Algorithm: LimitAlgorithm>(_ algorithm: Algorithm) throws {
      let store = MemoryLimitStore(.perHour(1), algorithm: algorithm, options: options)
      var refused = 0
      for number in 0..<most where try !store.take(key(number), cost: 1, rate: nil, now: second(1)).isAllowed {
        refused += 1
      }
      #expect(refused == 0)
      #expect(store.counts.turnedAway == 0)
      for number in most..<most + 100 {
        let decision = try store.take(key(number), cost: 1, rate: nil, now: second(1))
        #expect(!decision.isAllowed && !decision.isCounted)
      }
      #expect(store.counts.kept == most)
      #expect(store.counts.turnedAway == 100)
      // Those who were there are known.
      var known = 0
      for number in 0..<most where try !store.take(key(number), cost: 1, rate: nil, now: second(1)).isAllowed {
        known += 1
      }
      #expect(known == most)
    }
    try check(.tokenBucket)
    try check(.fixedWindow)
  }

  @Test func aFullStoreAdmitsUncountedWhereItIsTold() throws {
    let options = LimitStoreOptions(maxKeys: 1, whenFull: .admit)
    let store = MemoryLimitStore(.perHour(1), algorithm: .tokenBucket, options: options)
    _ = try store.take(key(1), cost: 1, rate: nil, now: second(1))
    for _ in 0..<3 {
      let decision = try store.take(key(2), cost: 1, rate: nil, now: second(1))
      #expect(decision == .uncounted(isAllowed: true))
    }
    #expect(store.counts.turnedAway == 3)
    #expect(try !store.take(key(1), cost: 1, rate: nil, now: second(1)).isAllowed)
  }

  @Test func aKeyThatIsIdleMakesRoomAndOneInUseDoesNot() throws {
    func check<Algorithm: LimitAlgorithm>(_ algorithm: Algorithm) throws {
      let options = LimitStoreOptions(minTTL: .seconds(3600), maxKeys: 3)
      let store = MemoryLimitStore(.perSecond(2), algorithm: algorithm, options: options)
      _ = try store.take(key(1), cost: 1, rate: nil, now: second(10))
      _ = try store.take(key(2), cost: 1, rate: nil, now: second(13))
      _ = try store.take(key(3), cost: 2, rate: nil, now: second(14))
      // 1 has been idle for longest, then 2; 3 is in use.
      _ = try store.take(key(4), cost: 2, rate: nil, now: second(14.4))
      #expect(store.counts.evicted == 1)
      #expect(store.counts.kept == 3)
      #expect(try store.peek(key(3), rate: nil, now: second(14.4)).remaining == 0)
      #expect(try store.peek(key(4), rate: nil, now: second(14.4)).remaining == 0)
    }
    try check(.tokenBucket)
    try check(.fixedWindow)
  }

  @Test func aWarningSaysHowOftenThereWasNoRoom() async throws {
    let store = MemoryLimitStore(.perHour(1), algorithm: .gcra, options: LimitStoreOptions(maxKeys: 2))
    let services = ManualServices()
    let collector = Task { try await store.run(services) }
    await services.clock.sleepers(1)
    for number in 0..<7 { _ = try store.take(key(number), cost: 1, rate: nil, now: services.now) }
    services.clock.advance(by: .seconds(60))
    await services.clock.sleepers(1)
    services.clock.advance(by: .seconds(60))
    await services.clock.sleepers(1)
    #expect(
      services.log.lines.map(\.message) == [
        "gcra (1 per hour, burst 1): no room for a new key 5 times, 2 in use: raise maxKeys"
      ])
    collector.cancel()
  }

  @Test func aKnownKeyAllocatesNothing() throws {
    guard malloc_is_counted() == 1 else { return }
    let store = MemoryLimitStore(.perSecond(1000), algorithm: .tokenBucket)
    let now = second(1)
    _ = try store.take(key(1), cost: 1, rate: nil, now: now)
    let who = key(1)
    let before = malloc_count_of_this_thread()
    for _ in 0..<2000 {
      _ = try store.take(who, cost: 1, rate: nil, now: now)
      _ = try store.peek(who, rate: nil, now: now)
      try store.refund(who, cost: 1, rate: nil, now: now)
    }
    #expect(malloc_count_of_this_thread() - before == 0)
  }

  // MARK: - Reload

  private func afterReload<Algorithm: LimitAlgorithm>(
    _ algorithm: Algorithm, from old: Rate, to new: Rate, taking cost: Int
  ) throws -> LimitDecision {
    let before = MemoryLimitStore(old, algorithm: algorithm)
    _ = try before.take(key(1), cost: cost, rate: nil, now: second(100.2))
    let after = MemoryLimitStore(new, options: LimitStoreOptions(), adopting: before)
    return try after.peek(key(1), rate: nil, now: second(100.2))
  }

  @Test func aPolicyThatIsTheSameKeepsItsBalances() throws {
    func remaining<Algorithm: LimitAlgorithm>(_ algorithm: Algorithm) throws -> Int {
      try afterReload(algorithm, from: .perSecond(10), to: .perSecond(10), taking: 7).remaining
    }
    #expect(try remaining(.tokenBucket) == 3)
    #expect(try remaining(.tokenBucket(refill: .wholeInterval)) == 3)
    #expect(try remaining(.gcra) == 3)
    #expect(try remaining(.leakyBucket) == 3)
    #expect(try remaining(.fixedWindow) == 3)
    #expect(try remaining(.slidingWindow) == 3)
    #expect(try remaining(.slidingLog) == 3)
  }

  @Test(arguments: [Rate.perSecond(100), .perSecond(5), .perMinute(10), .perMinute(3000), .per(.milliseconds(50), 20)])
  func aPolicyThatChangedKeepsTheShareThatIsUsed(_ new: Rate) throws {
    func check<Algorithm: LimitAlgorithm>(_ algorithm: Algorithm) throws {
      // 60 percent are used, rounded up: nothing is refilled.
      let decision = try afterReload(algorithm, from: .perSecond(10), to: new, taking: 6)
      #expect(decision.limit == new.burst)
      #expect(decision.remaining == new.burst - (new.burst * 6 + 9) / 10, "\(algorithm.kind.name)")
      // All of it: nothing is left.
      #expect(try afterReload(algorithm, from: .perSecond(10), to: new, taking: 10).remaining == 0)
    }
    try check(.tokenBucket)
    try check(.tokenBucket(refill: .wholeInterval))
    try check(.gcra)
    try check(.leakyBucket)
    try check(.fixedWindow)
    try check(.slidingWindow)
    try check(.slidingLog)
  }

  @Test func whatTheOldPolicyTookIsRefundedInItsOwnTokens() throws {
    let before = MemoryLimitStore(.perSecond(10), algorithm: .tokenBucket)
    _ = try before.take(key(1), cost: 6, rate: nil, now: second(1))
    let after = MemoryLimitStore(.perSecond(100), options: LimitStoreOptions(), adopting: before)
    _ = try after.take(key(1), cost: 10, rate: nil, now: second(1))
    // Half of what was taken under the old policy, which is 30 tokens of the new one.
    try before.refund(key(1), cost: 3, rate: nil, now: second(1))
    #expect(try after.peek(key(1), rate: nil, now: second(1)).remaining == 60)
  }

  @Test func aKeyMayGoFromPlanToPlanWithoutWinningAnything() throws {
    var random = SeededRandom(seed: 5)
    let store = MemoryLimitStore(.perHour(10), algorithm: .tokenBucket)
    _ = try store.take(key(1), cost: 10, rate: nil, now: second(1))
    for _ in 0..<1000 {
      let rate = Rate.perHour(Int(1 + random.next() % 1000))
      #expect(try store.peek(key(1), rate: rate, now: second(1)).remaining == 0)
    }
    #expect(try !store.take(key(1), cost: 1, rate: nil, now: second(1)).isAllowed)
  }

  // MARK: - An attack

  @Test func anAttackWithManyKeysTakesNoMemoryAndChangesNoDecisionForKnownKeys() throws {
    let options = LimitStoreOptions(initialSize: 1000, maxKeys: 2000)
    let store = MemoryLimitStore(.perHour(2), algorithm: .tokenBucket, options: options)
    for number in 0..<1000 { _ = try store.take(key(number), cost: 1, rate: nil, now: second(1)) }
    for attacker in 0..<50_000 {
      _ = try store.take(key(1_000_000 + attacker), cost: 1, rate: nil, now: second(1.001))
    }
    #expect(store.counts.kept == 2000)
    #expect(store.counts.room == 2000)
    #expect(store.counts.turnedAway >= 49_000)
    for number in 0..<1000 {
      #expect(try store.take(key(number), cost: 1, rate: nil, now: second(1.002)).isAllowed)
      #expect(try !store.take(key(number), cost: 1, rate: nil, now: second(1.002)).isAllowed)
    }
  }

  @Test func stableKeysAreThoseOfTheReferenceImplementation() {
    // SipHash-2-4 with 128 bits: the vectors of 0 and of 15 bytes in the authors' own test.
    let seed: (UInt64, UInt64) = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908)
    let empty = LimitKey(bytes: [], seed: seed)
    #expect(empty.low == 0xe6a8_25ba_047f_81a3)
    #expect(empty.high == UInt64(0x9302_55c7_1472_f66d) & ~7 | 6)
    let fifteen = LimitKey(bytes: (0..<15).map { UInt8($0) }, seed: seed)
    #expect(fifteen.low == 0x11a8_b033_99e9_9354)
    #expect(fifteen.high == UInt64(0xd9c3_cf97_0fec_087e) & ~7 | 6)
    #expect(LimitKey.named("anonymous") == LimitKey.named("anonymous"))
    #expect(LimitKey.named("anonymous") != LimitKey.named("Anonymous"))
  }
}
