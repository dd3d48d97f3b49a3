public import Pipeline
internal import Synchronization

/// Balances in the memory of this process. Every call is synchronous, so that the hot path has no async frame.
public final class MemoryLimitStore<Algorithm: LimitAlgorithm>: LimitStore {
  public let algorithm: Algorithm
  public let rate: Rate
  public let options: LimitStoreOptions
  private let time: BucketTime
  private let table: BucketTable
  private let isClosed = Atomic<Bool>(false)

  /// - Parameters:
  ///   - rate: of every key that has none of its own.
  ///   - options: out of range: ``LimitStoreOptions/problems`` says what; the nearest allowed number is used.
  public init(_ rate: Rate, algorithm: Algorithm, options: LimitStoreOptions = LimitStoreOptions()) {
    self.algorithm = algorithm
    self.rate = rate
    self.options = options
    time = BucketTime(rate)
    table = BucketTable(keys: options.maxKeys)
  }

  public func take(_ key: LimitKey, cost: Int, rate: Rate?, now: @autoclosure () -> Instant) throws -> LimitDecision {
    try check(cost)
    let time = rate.map(BucketTime.init) ?? time
    var decision = peek(time, fullAt: 0, now: 0)
    for _ in 0..<cost {
      let ticks = BucketTime.ticks(now())
      switch table.take(key, now: ticks, time) {
      case .admitted(let fullAt): decision = peek(time, fullAt: fullAt, now: ticks)
      case .refused(let fullAt):
        decision = peek(time, fullAt: fullAt, now: ticks)
        decision.isAllowed = false
        return decision
      case .noRoom: return .uncounted(isAllowed: options.whenFull == .admit)
      }
    }
    return decision
  }

  public func peek(_ key: LimitKey, rate: Rate?, now: @autoclosure () -> Instant) throws -> LimitDecision {
    try check(0)
    return peek(rate.map(BucketTime.init) ?? time, fullAt: 0, now: 0)
  }

  public func set(_ key: LimitKey, tokens: Int, interval: Duration, now: @autoclosure () -> Instant) throws {
    try check(0)
  }

  public func refund(_ key: LimitKey, cost: Int, rate: Rate?, now: @autoclosure () -> Instant) throws {
    try check(cost)
  }

  public func close() { isClosed.store(true, ordering: .releasing) }

  public func run(_ services: any BackgroundServices) async throws {
    while !isClosed.load(ordering: .acquiring) {
      try await services.sleep(for: options.ttlInterval)
      _ = table.sweep(now: BucketTime.ticks(services.now))
    }
  }

  private func check(_ cost: Int) throws {
    if isClosed.load(ordering: .acquiring) { throw LimitStoreError.closed }
    if !(0...1_000_000_000).contains(cost) {
      throw LimitStoreError.invalid("a cost of \(cost): 0 to 1,000,000,000 tokens are allowed")
    }
  }

  private func peek(_ time: BucketTime, fullAt: UInt64, now: UInt64) -> LimitDecision {
    let owed = max(fullAt, now) - now
    let wait = owed + time.cost > time.capacity ? owed + time.cost - time.capacity : 0
    return LimitDecision(
      isAllowed: wait == 0, limit: time.burst, remaining: Int((time.capacity - owed) / time.cost),
      reset: .nanoseconds(Int64((owed + 15) / 16)), retryAfter: .nanoseconds(Int64((wait + 15) / 16)))
  }
}
