public import Pipeline
internal import Synchronization

/// Balances in the memory of this process.
///
/// Every call is synchronous, so that the hot path has no async frame. Exact under contention: the time is read between the
/// load of a state and the compare-and-swap that changes it (or under its lock), so that the takes of a key are in the order of
/// their times, and what they admit is what one thread would have admitted at those times. No allocation for a known key
/// where the algorithm's state is one word.
///
/// A key under another plan than before (another `rate`, a ``set(_:tokens:interval:now:)``, a reload) is rescaled at its next
/// step: the same share of the limit stays used, and nothing is refilled.
public final class MemoryLimitStore<Algorithm: LimitAlgorithm>: LimitStore {
  public let algorithm: Algorithm
  /// Of every key that has none of its own.
  public let rate: Rate
  public let options: LimitStoreOptions
  private let plan: LimitPlan
  // Shared with the store that goes on after a reload.
  private let table: Algorithm.Table
  private let own: OwnLimits
  private let closing: Closing

  private final class Closing: Sendable {
    let isClosed = Atomic<Bool>(false)
  }

  /// Numbers out of range count as the nearest allowed one, or for a rate as one a second: ask ``problems`` first.
  ///
  /// - Parameter rate: of every key that has none of its own.
  public init(_ rate: Rate, algorithm: Algorithm, options: LimitStoreOptions = LimitStoreOptions()) {
    self.algorithm = algorithm
    self.rate = rate
    self.options = options
    plan = LimitPlan(rate)
    table = Algorithm.Table(algorithm, options)
    own = OwnLimits()
    closing = Closing()
  }

  /// A store with another policy that goes on with the balances of `old`, and shares them with it: a key whose limit is the
  /// same keeps its balance, one whose limit is another keeps the share that is used. What `old` shall still refund can be
  /// refunded there. The number of keys, `initialSize` and `maxKeys`, stays that of `old`.
  public init(_ rate: Rate, options: LimitStoreOptions, adopting old: MemoryLimitStore) {
    algorithm = old.algorithm
    self.rate = rate
    self.options = options
    plan = LimitPlan(rate)
    table = old.table
    own = old.own
    closing = old.closing
  }

  /// The same store where nothing has changed; where the algorithm has, balances begin anew.
  public func adopting(_ old: MemoryLimitStore) -> MemoryLimitStore {
    if old === self || old.algorithm.kind != algorithm.kind { return self }
    if old.rate == rate, old.options == options { return old }
    return MemoryLimitStore(rate, options: options, adopting: old)
  }

  /// What is wrong with the rate and the options, one sentence each.
  public var problems: [String] { (algorithm.problem(with: rate).map { [$0] } ?? []) + options.problems }

  /// What has become of the keys.
  public var counts: LimitTableCounts { table.counts }

  @specialized(where Algorithm == TokenBucketAlgorithm)
  @specialized(where Algorithm == GCRA)
  @specialized(where Algorithm == LeakyBucket)
  @specialized(where Algorithm == FixedWindow)
  @specialized(where Algorithm == SlidingWindowCounter)
  @specialized(where Algorithm == SlidingLog)
  public func take(_ key: LimitKey, cost: Int, rate: Rate?, now: @autoclosure () -> Instant) throws -> LimitDecision {
    try check(cost)
    return table.step(.take(cost), key, plan(of: key, rate)) { LimitPlan.ticks(now()) } ?? noRoom
  }

  @specialized(where Algorithm == TokenBucketAlgorithm)
  public func peek(_ key: LimitKey, rate: Rate?, now: @autoclosure () -> Instant) throws -> LimitDecision {
    try check(0)
    return table.step(.look, key, plan(of: key, rate)) { LimitPlan.ticks(now()) } ?? noRoom
  }

  @specialized(where Algorithm == TokenBucketAlgorithm)
  public func refund(_ key: LimitKey, cost: Int, rate: Rate?, now: @autoclosure () -> Instant) throws {
    try check(cost)
    _ = table.step(.refund(cost), key, plan(of: key, rate)) { LimitPlan.ticks(now()) }
  }

  public func set(_ key: LimitKey, tokens: Int, interval: Duration, now: @autoclosure () -> Instant) throws {
    try check(0)
    let rate = Rate.per(interval, tokens)
    if let problem = algorithm.problem(with: rate) { throw LimitStoreError.invalid(problem) }
    guard own.set(key, LimitPlan(rate), at: LimitPlan.ticks(now()), atMost: options.maxKeys) else {
      throw LimitStoreError.unavailable("\(options.maxKeys) keys have a limit of their own, which is maxKeys")
    }
  }

  public func close() { closing.isClosed.store(true, ordering: .releasing) }

  /// Forgets the keys that have been idle for `minTTL`, every `ttlInterval`, and writes a line when new keys found no room.
  public func run(_ services: any BackgroundServices) async throws {
    var reported = counts.turnedAway
    while !closing.isClosed.load(ordering: .acquiring) {
      try await services.sleep(for: options.ttlInterval)
      let now = services.now
      // A look at every slot: long, for a table of millions.
      let used = try await services.offload { [self] in collect(now: now) }
      let turnedAway = counts.turnedAway
      if turnedAway > reported {
        let count = turnedAway - reported
        services.log(
          .warning,
          "\(algorithm.kind.name) (\(rate)): no room for a new key \(count) times, \(used) in use: raise maxKeys")
        reported = turnedAway
      }
    }
  }

  /// Forgets the keys that have been idle for `minTTL`.
  ///
  /// - Returns: how many keys are in use.
  @discardableResult
  public func collect(now: Instant) -> Int {
    let tick = LimitPlan.ticks(now)
    let age = LimitPlan.ticks(options.minTTL)
    let used = table.collect(now: tick, age: age)
    own.collect(now: tick, age: age) { table.holds($0) }
    return used
  }

  private var noRoom: LimitDecision {
    .uncounted(isAllowed: options.whenFull == .admit, retryAfter: options.whenFull == .admit ? .zero : .seconds(1))
  }

  @inline(__always)
  private func plan(of key: LimitKey, _ rate: Rate?) -> LimitPlan {
    if let rate { return rate == self.rate ? plan : LimitPlan(rate) }
    return own.plan(of: key) ?? plan
  }

  @inline(__always)
  private func check(_ cost: Int) throws {
    if closing.isClosed.load(ordering: .acquiring) { throw LimitStoreError.closed }
    if !(0...1_000_000_000).contains(cost) {
      throw LimitStoreError.invalid("a cost of \(cost): 0 to 1,000,000,000 tokens are allowed")
    }
  }
}

/// The limits that were set for single keys.
private final class OwnLimits: Sendable {
  private struct Own {
    var plan: LimitPlan
    var since: UInt64
  }

  private let limits = Mutex<[LimitKey: Own]>([:])
  /// Spares a lock where there are none.
  private let count = Atomic<Int>(0)

  @inline(__always)
  func plan(of key: LimitKey) -> LimitPlan? {
    guard count.load(ordering: .acquiring) > 0 else { return nil }
    return limits.withLock { $0[key]?.plan }
  }

  /// False when there are too many.
  func set(_ key: LimitKey, _ plan: LimitPlan, at now: UInt64, atMost most: Int) -> Bool {
    limits.withLock { limits in
      guard limits[key] != nil || limits.count < most else { return false }
      limits[key] = Own(plan: plan, since: now)
      count.store(limits.count, ordering: .releasing)
      return true
    }
  }

  /// Forgets those that were set `age` ticks ago for keys of which nothing is kept.
  func collect(now: UInt64, age: UInt64, unless isKept: (LimitKey) -> Bool) {
    guard count.load(ordering: .acquiring) > 0 else { return }
    limits.withLock { limits in
      limits = limits.filter { isKept($0.key) || $0.value.since + age > now }
      count.store(limits.count, ordering: .releasing)
    }
  }
}
