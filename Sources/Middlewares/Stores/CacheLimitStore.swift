public import Pipeline
internal import Synchronization

/// How a ``CacheLimitStore`` behaves.
public struct CacheLimitOptions: Hashable, Sendable {
  /// What keys are hashed with that are no addresses: `KeySeed(secret:)`, the same in every process that shares the limit.
  public var keySeed: KeySeed
  /// What is said while the cache cannot be asked: `.refuse` or `.admit`, uncounted.
  public var whenUnavailable: LimitTableFull
  /// How long the cache keeps a key whose limit is whole again: 0 to 366 days. Forgetting such a key changes no decision; what
  /// is lost is a limit of its own (`set`).
  public var keepIdle: Duration
  /// How often one call tries to write while others are faster: 1...100,000. After that the cache counts as unavailable.
  public var attempts: Int

  public init(
    keySeed: KeySeed = .process, whenUnavailable: LimitTableFull = .refuse, keepIdle: Duration = .seconds(60),
    attempts: Int = 1000
  ) {
    self.keySeed = keySeed
    self.whenUnavailable = whenUnavailable
    self.keepIdle = keepIdle
    self.attempts = attempts
  }

  /// What is wrong with the numbers, one sentence each.
  public var problems: [String] {
    var problems: [String] = []
    if keepIdle < .zero || keepIdle > .seconds(366 * 86_400) {
      problems.append("keepIdle of \(keepIdle): 0 to 366 days are allowed")
    }
    if !(1...100_000).contains(attempts) { problems.append("attempts of \(attempts): 1...100,000 are allowed") }
    return problems
  }
}

/// Balances in any ``Cache``, shared by every process that uses the same one: a cache that somebody has written serves the
/// limiter, too.
///
/// ```swift
/// let store = CacheLimitStore(cache, "api", .perMinute(600), algorithm: .tokenBucket, options: …)
/// RateLimit(per: .identity, store: store)
/// ```
/// Works with the algorithms whose state is one word: token bucket (also by whole intervals), GCRA, leaky bucket. A take reads
/// the key, decides by the very code that decides in memory, and writes by compare-and-set; where somebody was faster it
/// begins again. Somebody always succeeds, and a refusal writes nothing: at most as many rounds as takes were admitted
/// meanwhile.
///
/// **What is exact.** Each step is atomic: no two processes take the same token. Time is the wall clock of the process that
/// takes (a cache tells no time), so all together admit what one limiter with the clock that is furthest ahead would admit;
/// clocks that differ by `d` cost at most `rate × d` tokens, once. A clock that is behind refuses what another would admit.
///
/// Costs two round trips a take, one where it is refused. Where the cache is Redis, `RedisLimitStore` takes one, by the server's
/// clock, and knows every algorithm.
public final class CacheLimitStore<Algorithm: LimitWordAlgorithm>: LimitStore {
  public let cache: any Cache
  /// Tells this limit apart from others in the same cache.
  public let name: String
  /// Of every key that has none of its own.
  public let rate: Rate
  public let algorithm: Algorithm
  public let options: CacheLimitOptions
  private let clock: WallClock
  private let isClosed = Atomic<Bool>(false)

  /// - Parameters:
  ///   - cache: may serve others, too; each of them runs it.
  ///   - name: 1 to 64 letters, digits, `-`, `_` and `.`; every process that shares the limit gives the same.
  ///   - rate: of every key that has none of its own.
  ///   - clock: what tokens come back by; the same time in every process.
  public init(
    _ cache: any Cache, _ name: String, _ rate: Rate, algorithm: Algorithm,
    options: CacheLimitOptions = CacheLimitOptions(), clock: WallClock = .system
  ) {
    self.cache = cache
    self.name = name
    self.rate = rate
    self.algorithm = algorithm
    self.options = options
    self.clock = clock
  }

  /// What is wrong with the name, the rate and the options, one sentence each.
  public var problems: [String] {
    var problems = options.problems
    if let problem = algorithm.problem(with: rate) { problems.append(problem) }
    let isName = name.utf8.allSatisfy { byte in
      (97...122).contains(byte | 0x20) || (48...57).contains(byte) || "-_.".utf8.contains(byte)
    }
    if !(1...64).contains(name.utf8.count) || !isName {
      problems.append("a limit named \"\(name)\": 1 to 64 letters, digits, \"-\", \"_\" and \".\" are allowed")
    }
    return problems
  }

  public var keySeed: KeySeed { options.keySeed }

  // MARK: The store

  public func take(
    _ key: LimitKey, cost: Int, rate: Rate?, now: @autoclosure () -> Instant
  ) async throws -> LimitDecision {
    try await step(.take(cost), key, rate, nil)
  }

  public func take(_ key: LimitKey, cost: Int, rate: Rate?, for exchange: Exchange) async throws -> LimitDecision {
    try await step(.take(cost), key, rate, exchange)
  }

  public func peek(_ key: LimitKey, rate: Rate?, now: @autoclosure () -> Instant) async throws -> LimitDecision {
    try await step(.look, key, rate, nil)
  }

  public func refund(_ key: LimitKey, cost: Int, rate: Rate?, now: @autoclosure () -> Instant) async throws {
    _ = try await step(.refund(cost), key, rate, nil)
  }

  public func set(_ key: LimitKey, tokens: Int, interval: Duration, now: @autoclosure () -> Instant) async throws {
    let own = Rate.per(interval, tokens)
    try check(0, own)
    let isSet = try await change(key, nil) { record, now in
      rescale(&record, to: own, at: now)
      record.own = own
    }
    if !isSet { throw LimitStoreError.unavailable("the limit of its own was not set") }
  }

  public func close() async { isClosed.store(true, ordering: .releasing) }

  /// Runs the cache.
  public func run(_ services: any BackgroundServices) async throws { try await cache.run(services) }

  // MARK: Steps

  private func check(_ cost: Int, _ rate: Rate?) throws(LimitStoreError) {
    if isClosed.load(ordering: .acquiring) { throw .closed }
    if !(0...1_000_000_000).contains(cost) {
      throw .invalid("a cost of \(cost): 0 to 1,000,000,000 tokens are allowed")
    }
    if let rate, let problem = algorithm.problem(with: rate) { throw .invalid(problem) }
  }

  private func step(
    _ operation: LimitOperation, _ key: LimitKey, _ rate: Rate?, _ exchange: Exchange?
  ) async throws -> LimitDecision {
    let cost =
      switch operation {
      case .take(let cost), .refund(let cost): cost
      case .look: 0
      }
    try check(cost, rate)
    var decision: LimitDecision?
    let isDone = try await change(key, exchange) { record, now in
      let rate = rate ?? record.own ?? self.rate
      rescale(&record, to: rate, at: now)
      decision = algorithm.run(operation, on: &record.word, at: now, LimitPlan(rate))
    }
    if isDone, let decision { return decision }
    let admits = options.whenUnavailable == .admit
    return .uncounted(isAllowed: admits || cost == 0, retryAfter: admits ? .zero : .seconds(1))
  }

  private func rescale(_ record: inout CacheLimitRecord, to rate: Rate, at now: UInt64) {
    guard record.rate != rate else { return }
    if let old = record.rate { algorithm.rescale(&record.word, from: LimitPlan(old), to: LimitPlan(rate), at: now) }
    record.rate = rate
  }

  /// Changes what is kept of a key, until nobody was faster.
  ///
  /// - Returns: false when the cache could not be asked.
  private func change(
    _ key: LimitKey, _ exchange: Exchange?, _ body: (inout CacheLimitRecord, _ now: UInt64) -> Void
  ) async throws -> Bool {
    let place = CacheKey("limit:\(name):\(String(key.high, radix: 16)):\(String(key.low, radix: 16))")
    do {
      for _ in 0..<options.attempts {
        let old = try await cache.get(place, on: exchange)
        let before = old.flatMap { CacheLimitRecord($0) } ?? CacheLimitRecord(word: algorithm.fresh)
        var record = before
        let now = ticks
        body(&record, now)
        // A refusal and a look leave nothing behind, nor does another rate alone.
        if record.word == before.word, record.own == before.own { return true }
        let idle = algorithm.idle(from: record.word, LimitPlan(record.rate ?? rate))
        let left = Duration.nanoseconds(
          Int64(clamping: (idle > now ? idle - now : 0) / LimitPlan.ticksPerNanosecond))
        let isSet = try await cache.compareAndSet(
          place, expected: old, new: record.bytes, lifetime: .fromChange(left + options.keepIdle), on: exchange)
        if isSet { return true }
      }
      return false
    } catch is CacheError {
      return false
    }
  }

  /// Ticks of the wall clock; from 2025 on, so that they last until 2043.
  private var ticks: UInt64 {
    let now = clock.now
    let seconds = UInt64(max(0, now.seconds - 1_735_689_600))
    return LimitPlan.ticks(Instant(nanoseconds: min(seconds, 1 << 30) * 1_000_000_000 + UInt64(now.nanoseconds)))
  }
}

/// What a ``CacheLimitStore`` keeps of a key: decimal numbers, so that whoever looks into the cache can read it.
struct CacheLimitRecord: Hashable {
  var word: UInt64
  /// Under which the word counts; `nil`: it was never used.
  var rate: Rate?
  /// Set for this key.
  var own: Rate?

  init(word: UInt64) { self.word = word }

  /// `nil` where the bytes are of somebody else.
  init?(_ bytes: [UInt8]) {
    let numbers = String(decoding: bytes, as: UTF8.self).split(separator: " ").compactMap { UInt64($0) }
    guard numbers.count == 4 || numbers.count == 7, let rate = Self.rate(numbers[1...3]) else { return nil }
    word = numbers[0]
    self.rate = rate
    if numbers.count == 7 {
      guard let rate = Self.rate(numbers[4...6]) else { return nil }
      own = rate
    }
  }

  private static func rate(_ numbers: ArraySlice<UInt64>) -> Rate? {
    let rate = Rate.per(
      .nanoseconds(Int64(clamping: numbers[numbers.startIndex + 1])), Int(clamping: numbers[numbers.startIndex]),
      burst: Int(clamping: numbers[numbers.startIndex + 2]))
    return rate.problem == nil ? rate : nil
  }

  var bytes: [UInt8] {
    let numbers = [rate, own].compactMap { $0 }.map { "\($0.count) \($0.period.nanosecondsClamped) \($0.burst)" }
    return Array(([String(word)] + numbers).joined(separator: " ").utf8)
  }
}
