/// The arithmetic of the virtual scheduling algorithm of ITU-T I.371 and ATM Forum TM 4.0, on which token bucket, GCRA and
/// leaky bucket rest: the state is the time at which the bucket is full again (there: TAT, the theoretical arrival time). A
/// take moves it by the time that its tokens need to be added, and is refused where it would lie more than the capacity
/// ahead.
struct EarliestTime {
  /// Ticks of tokens that are taken and not added again yet.
  let owed: UInt64
  let now: UInt64
  let plan: LimitPlan

  init(_ word: UInt64, _ now: UInt64, _ plan: LimitPlan) {
    owed = word > now ? word - now : 0
    self.now = now
    self.plan = plan
  }

  /// `nil`: they do not fit.
  func taking(_ cost: Int) -> EarliestTime? {
    guard cost <= plan.burst else { return nil }
    let then = owed + plan.cost * UInt64(cost)
    return then <= plan.capacity ? EarliestTime(now + then, now, plan) : nil
  }

  var word: UInt64 { now + owed }

  func allowed(delay: UInt64 = 0) -> LimitDecision {
    LimitDecision(
      isAllowed: true, limit: plan.burst, remaining: remaining, resetTicks: owed, delayTicks: delay)
  }

  func refused(_ cost: Int) -> LimitDecision {
    LimitDecision(
      isAllowed: false, limit: plan.burst, remaining: remaining, resetTicks: owed,
      retryTicks: cost > plan.burst ? nil : owed + plan.cost * UInt64(cost) - plan.capacity)
  }

  /// The word after `cost` tokens were given back.
  func refunding(_ cost: Int) -> UInt64 {
    let (back, overflow) = plan.cost.multipliedReportingOverflow(by: UInt64(cost))
    return now + (overflow || back > owed ? 0 : owed - back)
  }

  private var remaining: Int { owed >= plan.capacity ? 0 : Int((plan.capacity - owed) / plan.cost) }

  static func rescaled(_ word: UInt64, from old: LimitPlan, to new: LimitPlan, at now: UInt64) -> UInt64 {
    guard word > now else { return word }
    return now + LimitPlan.scaled(min(word - now, old.capacity), by: new.capacity, over: old.capacity)
  }
}
