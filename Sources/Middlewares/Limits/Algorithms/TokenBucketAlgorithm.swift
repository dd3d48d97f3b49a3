/// A bucket that holds `burst` tokens and gets `count` new ones in every `period`.
///
/// With `refill: .continuous` any stretch of time `t` admits at most `burst + rate × t`. With `.wholeInterval` tokens are
/// added at the boundaries of periods only: at most `burst + count × boundaries`, hence up to `burst + count` within a moment
/// around a boundary. Periods begin at the origin of the clock, for all keys at once.
public struct TokenBucketAlgorithm: LimitWordAlgorithm, Hashable {
  /// When tokens are added.
  public enum Refill: Hashable, Sendable {
    /// One by one, evenly over the period.
    case continuous
    /// All of a period at once, at its end.
    case wholeInterval
  }

  public typealias State = UInt64
  public typealias Table = LimitWordTable<Self>

  public let refill: Refill

  public init(refill: Refill = .continuous) { self.refill = refill }

  public var kind: LimitAlgorithmKind { .tokenBucket(refill: refill) }

  public func problem(with rate: Rate) -> String? {
    if let problem = rate.problem { return problem }
    switch refill {
    case .continuous: return nil
    case .wholeInterval: return WholeIntervals.problem(with: rate)
    }
  }

  public func take(_ cost: Int, from state: inout UInt64, at now: UInt64, _ plan: LimitPlan) -> LimitDecision {
    switch refill {
    case .continuous:
      let before = EarliestTime(state, now, plan)
      guard cost > 0 else { return before.allowed() }
      guard let after = before.taking(cost) else { return before.refused(cost) }
      state = after.word
      return after.allowed()
    case .wholeInterval:
      var bucket = WholeIntervals(state, now, plan)
      guard cost > 0 else { return bucket.allowed }
      guard cost <= plan.burst - bucket.used else { return bucket.refused(cost) }
      bucket.used += cost
      state = bucket.word
      return bucket.allowed
    }
  }

  public func refund(_ cost: Int, to state: inout UInt64, at now: UInt64, _ plan: LimitPlan) {
    guard state > now else { return }
    switch refill {
    case .continuous: state = EarliestTime(state, now, plan).refunding(cost)
    case .wholeInterval:
      var bucket = WholeIntervals(state, now, plan)
      guard bucket.used > 0 else { return }
      bucket.used -= min(cost, bucket.used)
      state = bucket.word
    }
  }

  public func look(at state: UInt64, at now: UInt64, _ plan: LimitPlan) -> LimitDecision {
    switch refill {
    case .continuous:
      let bucket = EarliestTime(state, now, plan)
      return bucket.taking(1) == nil ? bucket.refused(1) : bucket.allowed()
    case .wholeInterval:
      let bucket = WholeIntervals(state, now, plan)
      return bucket.used < plan.burst ? bucket.allowed : bucket.refused(1)
    }
  }

  public func rescale(_ state: inout UInt64, from old: LimitPlan, to new: LimitPlan, at now: UInt64) {
    switch refill {
    case .continuous: state = EarliestTime.rescaled(state, from: old, to: new, at: now)
    case .wholeInterval:
      let used = WholeIntervals(state, now, old).used
      var bucket = WholeIntervals(0, now, new)
      bucket.used = Int(LimitPlan.scaled(UInt64(used), by: UInt64(new.burst), over: UInt64(old.burst)))
      state = used == 0 ? state : bucket.word
    }
  }
}

/// A bucket that is refilled at the boundaries of periods, in one word.
///
/// `used` tokens are kept as the time in which the rate adds them, counted from the last boundary and rounded up to a tick.
/// With at most one token a tick that rounding can be undone, and a boundary takes off a period, which is exactly `count`
/// tokens: nothing drifts. The word is later by one period than the time so found, because a bucket which would be full
/// between two boundaries is so at the next one only.
private struct WholeIntervals {
  var used: Int
  private let boundary: UInt64
  private let now: UInt64
  private let plan: LimitPlan

  init(_ word: UInt64, _ now: UInt64, _ plan: LimitPlan) {
    self.now = now
    self.plan = plan
    boundary = now - now % plan.period
    let start = boundary + plan.period
    guard word > start else {
      used = 0
      return
    }
    let product = min(word - start, plan.capacity).multipliedFullWidth(by: UInt64(plan.count))
    used = min(Int(plan.period.dividingFullWidth(product).quotient), plan.burst)
  }

  var word: UInt64 {
    boundary + plan.period + LimitPlan.scaled(UInt64(used), by: plan.period, over: UInt64(plan.count))
  }

  var allowed: LimitDecision {
    LimitDecision(isAllowed: true, limit: plan.burst, remaining: plan.burst - used, resetTicks: wait(for: used))
  }

  func refused(_ cost: Int) -> LimitDecision {
    LimitDecision(
      isAllowed: false, limit: plan.burst, remaining: plan.burst - used, resetTicks: wait(for: used),
      retryTicks: cost > plan.burst ? nil : wait(for: used + cost - plan.burst))
  }

  /// Until the boundary at which so many tokens have been added.
  private func wait(for tokens: Int) -> UInt64 {
    guard tokens > 0 else { return 0 }
    let periods = UInt64((tokens - 1) / plan.count + 1)
    return boundary + periods * plan.period - now
  }

  static func problem(with rate: Rate) -> String? {
    let plan = LimitPlan(rate)
    guard UInt64(plan.count) > plan.period else { return nil }
    return "\(rate), added at whole intervals: at most 16 tokens a nanosecond are allowed"
  }
}

extension LimitAlgorithm where Self == TokenBucketAlgorithm {
  /// Tokens are added at the rate, up to the burst; each exchange takes some.
  public static func tokenBucket(refill: TokenBucketAlgorithm.Refill) -> Self { Self(refill: refill) }
  /// Tokens are added one by one at the rate, up to the burst; each exchange takes some.
  public static var tokenBucket: Self { Self(refill: .continuous) }
}
