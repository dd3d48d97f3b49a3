import Middlewares
import Pipeline
import PipelineTesting
import Testing

@Suite struct LimitAlgorithmTests {
  // MARK: - Token bucket

  @Test func aTokenBucketAddsTokensOneByOne() throws {
    try LimitTimeline.check(
      .tokenBucket, .perSecond(2, burst: 3),
      [
        .looked(0, left: 3, whole: 0),
        .taken(0, left: 2, whole: 500),
        .taken(0, left: 1, whole: 1000),
        .taken(0, left: 0, whole: 1500),
        .refused(0, left: 0, whole: 1500, retry: 500),
        .refused(499, left: 0, whole: 1001, retry: 1),
        .taken(500, left: 0, whole: 1500),
        .refused(500, 2, left: 0, whole: 1500, retry: 1000),
        .taken(1500, 2, left: 0, whole: 1500),
        .looked(2250, left: 1, whole: 750),
        .looked(2999, left: 2, whole: 1),
        // Full, and never fuller than that.
        .looked(9000, left: 3, whole: 0),
        .refused(9000, 4, left: 3, whole: 0, retry: nil),
        .taken(9000, 3, left: 0, whole: 1500),
        .taken(9000, 0, left: 0, whole: 1500),
      ])
  }

  @Test func aTokenBucketTakesBackWhatWasNotUsedAndIsNeverMoreThanFull() throws {
    try LimitTimeline.check(
      .tokenBucket, .perSecond(1, burst: 5),
      [
        .taken(0, 5, left: 0, whole: 5000),
        .refunded(0, 2, left: 2, whole: 3000),
        .taken(1000, 3, left: 0, whole: 5000),
        .refunded(1000, 100, left: 5, whole: 0),
        .refunded(1000, 1, left: 5, whole: 0),
        .taken(1000, 5, left: 0, whole: 5000),
      ])
  }

  @Test func wholeIntervalsAddTheTokensOfAPeriodAtItsEnd() throws {
    try LimitTimeline.check(
      .tokenBucket(refill: .wholeInterval), .perSecond(3, burst: 5),
      [
        .taken(100, 5, left: 0, whole: 1900),
        .refused(100, left: 0, whole: 1900, retry: 900),
        .refused(999, left: 0, whole: 1001, retry: 1),
        .refused(999, 4, left: 0, whole: 1001, retry: 1001),
        .taken(1000, 2, left: 1, whole: 2000),
        .refused(1999, 2, left: 1, whole: 1001, retry: 1),
        .looked(2000, left: 4, whole: 1000),
        .taken(2000, 1, left: 3, whole: 1000),
        .refunded(2001, 1, left: 4, whole: 999),
        .looked(3000, left: 5, whole: 0),
        .refused(3000, 6, left: 5, whole: 0, retry: nil),
      ])
  }

  @Test func wholeIntervalsDoNotDriftWhereTheCountDoesNotDivideThePeriod() throws {
    // 7 a second are one in 142.857… ms: 100,000 seconds in a row, all of them to the last token.
    let store = MemoryLimitStore(.perSecond(7), algorithm: .tokenBucket(refill: .wholeInterval))
    for second in 1...100_000 {
      let now = Instant(nanoseconds: UInt64(second) * 1_000_000_000)
      #expect(try store.take(.global, cost: 7, rate: nil, now: now).isAllowed)
      #expect(try !store.take(.global, cost: 1, rate: nil, now: now).isAllowed)
    }
  }

  // MARK: - GCRA

  @Test func gcraWithABurstOfOneKeepsCellsApart() throws {
    // T = 100 ms, τ = 0: the theoretical arrival times are 0, 100, 250, ...
    try LimitTimeline.check(
      .gcra, .perSecond(10, burst: 1),
      [
        .taken(0, left: 0, whole: 100),
        .refused(50, left: 0, whole: 50, retry: 50),
        .refused(99, left: 0, whole: 1, retry: 1),
        .taken(100, left: 0, whole: 100),
        .taken(250, left: 0, whole: 100),
        .refused(349, left: 0, whole: 1, retry: 1),
        .taken(350, left: 0, whole: 100),
      ])
  }

  @Test func gcraToleratesCellsThatAreEarlyByTheBurst() throws {
    // T = 100 ms, τ = 200 ms. TAT after each: 100, 200, 300, 400; the one at 99 is more than τ before 300.
    try LimitTimeline.check(
      .gcra, .perSecond(10, burst: 3),
      [
        .taken(0, left: 2, whole: 100),
        .taken(0, left: 1, whole: 200),
        .taken(0, left: 0, whole: 300),
        .refused(99, left: 0, whole: 201, retry: 1),
        .taken(100, left: 0, whole: 300),
        .refunded(100, 1, left: 1, whole: 200),
      ])
  }

  @Test func gcraDecidesAsTheTokenBucketDoes() throws {
    var random = SeededRandom(seed: 3)
    let bucket = MemoryLimitStore(.perSecond(7, burst: 5), algorithm: .tokenBucket)
    let gcra = MemoryLimitStore(.perSecond(7, burst: 5), algorithm: .gcra)
    var now = Instant(nanoseconds: 1)
    for _ in 0..<5000 {
      now = now + .nanoseconds(Int64(random.next() % 300_000_000))
      let cost = Int(random.next() % 7)
      let decision = try bucket.take(.global, cost: cost, rate: nil, now: now)
      #expect(try gcra.take(.global, cost: cost, rate: nil, now: now) == decision)
    }
  }

  // MARK: - Leaky bucket

  @Test func aLeakyBucketHoldsExchangesBackSoThatTheyLeaveEvenly() throws {
    try LimitTimeline.check(
      .leakyBucket, .perSecond(10, burst: 4),
      [
        .taken(0, left: 3, whole: 100, delay: 0),
        .taken(0, left: 2, whole: 200, delay: 100),
        .taken(0, left: 1, whole: 300, delay: 200),
        .looked(0, left: 1, whole: 300, delay: 300),
        .taken(0, left: 0, whole: 400, delay: 300),
        // Full; there is room as soon as one has left.
        .refused(50, left: 0, whole: 350, retry: 50),
        .taken(150, left: 0, whole: 350, delay: 250),
        // Empty again: leaves at once.
        .taken(1000, left: 3, whole: 100, delay: 0),
        // One of cost 2 keeps the next one waiting for two intervals.
        .taken(1000, 2, left: 1, whole: 300, delay: 100),
        .taken(1000, left: 0, whole: 400, delay: 300),
      ])
  }

  // MARK: - Fixed window

  @Test func aFixedWindowStartsAnewAtItsEnd() throws {
    try LimitTimeline.check(
      .fixedWindow, .perSecond(3),
      [
        .looked(0, left: 3, whole: 0),
        .taken(900, 2, left: 1, whole: 100),
        .refused(900, 2, left: 1, whole: 100, retry: 100),
        .taken(999, left: 0, whole: 1),
        .refused(999, left: 0, whole: 1, retry: 1),
        // Six within two milliseconds: what this algorithm does.
        .taken(1000, 3, left: 0, whole: 1000),
        .refused(1000, 4, left: 0, whole: 1000, retry: nil),
        .refunded(1500, 1, left: 1, whole: 500),
        .refunded(1500, 9, left: 3, whole: 0),
        // What was taken in an earlier window is not given back to this one.
        .taken(1500, 3, left: 0, whole: 500),
        .taken(2000, 1, left: 2, whole: 1000),
        .refunded(3000, 3, left: 3, whole: 0),
      ])
  }

  // MARK: - Sliding windows

  @Test func theSlidingWindowCounterWeighsTheEarlierWindowByWhatIsLeftOfIt() throws {
    try LimitTimeline.check(
      .slidingWindow, .perSecond(10),
      [
        .taken(500, 10, left: 0, whole: 1500),
        .refused(999, left: 0, whole: 1001, retry: 101),
        // 10 × 1.0 of the earlier window count.
        .refused(1000, left: 0, whole: 1000, retry: 100),
        // 10 × 0.9 = 9: one fits.
        .taken(1100, left: 0, whole: 1900),
        .refused(1100, left: 0, whole: 1900, retry: 100),
        // 10 × 0.75 = 7.5, rounded up, and 1: one fits, two do not before 10 × 0.7.
        .refused(1250, 2, left: 1, whole: 1750, retry: 50),
        .taken(1300, 2, left: 0, whole: 1700),
        // 10 × 0.5 and 3.
        .looked(1500, left: 2, whole: 1500),
        // Of the window before, 3; of the one before that, nothing.
        .looked(2000, left: 7, whole: 1000),
        // 3 × 0.5 = 1.5, rounded up.
        .looked(2500, left: 8, whole: 500),
        .looked(3000, left: 10, whole: 0),
        .taken(3000, 10, left: 0, whole: 2000),
        .refunded(3000, 4, left: 4, whole: 2000),
        .refused(3000, 11, left: 4, whole: 2000, retry: nil),
        // The current window leaves no room for 9; the next one does when 6 × 1/6 are left.
        .refused(3000, 9, left: 4, whole: 2000, retry: 1833.333334),
      ])
  }

  @Test func theSlidingLogKnowsTheTimeOfEachTake() throws {
    try LimitTimeline.check(
      .slidingLog, .perSecond(3),
      [
        .taken(100, left: 2, whole: 1000),
        .taken(400, 2, left: 0, whole: 1000),
        .refused(500, left: 0, whole: 900, retry: 600),
        .refused(500, 2, left: 0, whole: 900, retry: 900),
        .refused(1099, left: 0, whole: 301, retry: 1),
        // The first one has left the second that ends now.
        .taken(1100, left: 0, whole: 1000),
        .refused(1399, left: 0, whole: 701, retry: 1),
        .looked(1400, left: 2, whole: 700),
        .taken(1400, 2, left: 0, whole: 1000),
        .refunded(1500, 1, left: 1, whole: 900),
        // The newest are taken back first: what is left is the one of 1100.
        .refunded(1500, 1, left: 2, whole: 600),
        .looked(2100, left: 3, whole: 0),
        .refused(2100, 4, left: 3, whole: 0, retry: nil),
      ])
  }

  @Test func theSlidingLogNeverAdmitsMoreInAnyPeriod() throws {
    let store = MemoryLimitStore(.per(.milliseconds(100), 50), algorithm: .slidingLog)
    var random = SeededRandom(seed: 11)
    var taken: [(at: UInt64, tokens: Int)] = []
    var now: UInt64 = 1
    var refused = 0
    for _ in 0..<20_000 {
      now += random.next() % 3_000_000
      let cost = Int(1 + random.next() % 4)
      let decision = try store.take(.global, cost: cost, rate: nil, now: Instant(nanoseconds: now))
      let inPeriod = taken.reversed().prefix { $0.at + 100_000_000 > now }.reduce(0) { $0 + $1.tokens }
      // Exactly those that fit.
      #expect(decision.isAllowed == (inPeriod + cost <= 50))
      if decision.isAllowed { taken.append((now, cost)) } else { refused += 1 }
    }
    #expect(refused > 1000)
    #expect(taken.count > 1000)
  }

  // MARK: - Clocks that lag

  @Test func aClockThatLagsBehindAnotherThreadsWinsNothing() throws {
    func check<Algorithm: LimitAlgorithm>(_ algorithm: Algorithm) throws {
      let store = MemoryLimitStore(.perSecond(10), algorithm: algorithm)
      func take(_ microseconds: UInt64, _ cost: Int) throws -> Bool {
        try store.take(.global, cost: cost, rate: nil, now: Instant(nanoseconds: microseconds * 1000)).isAllowed
      }
      // All of it just after a boundary; the time before the boundary brings nothing back, nor does the time after it.
      #expect(try take(9_000_100, 10))
      for late in [8_999_900, 9_000_000, 9_000_200] as [UInt64] {
        #expect(try !take(late, 1), "\(algorithm.kind.name) at \(late)")
      }
      // A plan that changes at such a time wins nothing, either.
      let other = try store.take(.global, cost: 1, rate: .perMinute(600), now: Instant(nanoseconds: 8_999_900_000))
      #expect(!other.isAllowed)
      #expect(try !take(9_000_300, 1))
    }
    try check(.tokenBucket)
    try check(.tokenBucket(refill: .wholeInterval))
    try check(.gcra)
    try check(.leakyBucket)
    try check(.fixedWindow)
    try check(.slidingWindow)
    try check(.slidingLog)
  }

  // MARK: - What cannot be

  @Test func ratesThatAnAlgorithmCannotHoldAreNamed() {
    func problem(_ algorithm: some LimitAlgorithm, _ rate: Rate) -> String? { algorithm.problem(with: rate) }
    #expect(problem(.tokenBucket, .perSecond(5, burst: 9)) == nil)
    #expect(problem(.gcra, .perSecond(0)) == "a rate of 0: 1 to 1,000,000,000 tokens per period are allowed")
    #expect(
      problem(.fixedWindow, .perSecond(5, burst: 9))
        == "5 per second, burst 9: an algorithm of windows has no burst beside the count; leave burst out")
    #expect(problem(.slidingWindow, .perSecond(5, burst: 9)) != nil)
    #expect(
      problem(.slidingLog, .perHour(65_537))
        == "65537 per hour, burst 65537, in a log: a count of at most 65,536 is allowed, because each take is kept")
    #expect(problem(.slidingLog, .perHour(65_536)) == nil)
    #expect(
      problem(.tokenBucket(refill: .wholeInterval), .per(.milliseconds(1), 1_000_000_000))
        == "1000000000 per 0.001 seconds, burst 1000000000, added at whole intervals: at most 16 tokens a nanosecond are allowed"
    )
  }
}
