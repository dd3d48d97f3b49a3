/// At most `count` in the last `period`, estimated from two counters: that of the current window, and that of the one before it
/// weighted by the share of it which the last period still covers.
///
/// The estimate takes the earlier window's exchanges as evenly spread. Where they came at its end, up to twice `count` less a
/// few can pass within a period; where at its beginning, fewer pass than could. Two counters a key, whatever the count.
public struct SlidingWindowCounter: LimitAlgorithm, Hashable {
  /// What was taken in the window that begins at `start`, and in the one before it.
  public struct State: Hashable, Sendable {
    var start: UInt64 = 0
    var used = 0
    var before = 0
  }

  public typealias Table = LimitLockedTable<Self>

  public init() {}

  public var kind: LimitAlgorithmKind { .slidingWindowCounter }
  public var fresh: State { State() }

  public func problem(with rate: Rate) -> String? { rate.windowProblem }

  public func take(_ cost: Int, from state: inout State, at now: UInt64, _ plan: LimitPlan) -> LimitDecision {
    let window = current(state, now, plan)
    guard cost > 0 else { return decision(window, true, 0, now, plan) }
    guard cost <= plan.count - estimate(window, now, plan) else { return decision(window, false, cost, now, plan) }
    state = window
    state.used += cost
    return decision(state, true, cost, now, plan)
  }

  /// Gives back to the current window only: what the one before it took fades by itself.
  public func refund(_ cost: Int, to state: inout State, at now: UInt64, _ plan: LimitPlan) {
    state = current(state, now, plan)
    state.used -= min(cost, state.used)
  }

  public func look(at state: State, at now: UInt64, _ plan: LimitPlan) -> LimitDecision {
    let window = current(state, now, plan)
    return decision(window, estimate(window, now, plan) < plan.count, 1, now, plan)
  }

  public func idle(from state: State, _ plan: LimitPlan) -> UInt64 {
    if state.used > 0 { return state.start + 2 * plan.period }
    return state.before > 0 ? state.start + plan.period : 0
  }

  public func rescale(_ state: inout State, from old: LimitPlan, to new: LimitPlan, at now: UInt64) {
    func share(_ used: Int) -> Int {
      Int(LimitPlan.scaled(UInt64(used), by: UInt64(new.count), over: UInt64(old.count)))
    }
    let window = current(state, now, old)
    if old.period == new.period {
      state = State(start: window.start, used: share(window.used), before: share(window.before))
    } else {
      // Windows of another length begin elsewhere: what counts now counts as taken in the current one.
      state = State(start: now - now % new.period, used: share(estimate(window, now, old)), before: 0)
    }
  }

  private func current(_ state: State, _ now: UInt64, _ plan: LimitPlan) -> State {
    let start = now - now % plan.period
    // A clock that lags behind that of another thread does not bring a window back.
    if state.start >= start { return state }
    let isNext = state.start + plan.period == start
    return State(start: start, used: 0, before: isNext ? state.used : 0)
  }

  /// Rounded up, so that it admits less rather than more.
  private func estimate(_ window: State, _ now: UInt64, _ plan: LimitPlan) -> Int {
    let left = min(window.start + plan.period - now, plan.period)
    return window.used + Int(LimitPlan.scaled(UInt64(window.before), by: left, over: plan.period))
  }

  private func decision(
    _ window: State, _ isAllowed: Bool, _ cost: Int, _ now: UInt64, _ plan: LimitPlan
  ) -> LimitDecision {
    let idle = idle(from: window, plan)
    return LimitDecision(
      isAllowed: isAllowed, limit: plan.count, remaining: max(0, plan.count - estimate(window, now, plan)),
      resetTicks: idle > now ? idle - now : 0,
      retryTicks: isAllowed ? 0 : cost > plan.count ? nil : wait(for: cost, window, now, plan))
  }

  /// Until so much of the earlier window has passed that the estimate leaves room.
  private func wait(for cost: Int, _ window: State, _ now: UInt64, _ plan: LimitPlan) -> UInt64 {
    /// The age at which a window begins to leave `room`, when the one before it took `before`.
    func age(leaving room: Int, _ before: Int) -> UInt64 {
      guard before > room else { return 0 }
      let left = UInt64(before).dividingFullWidth(plan.period.multipliedFullWidth(by: UInt64(room))).quotient
      return plan.period - left
    }
    if window.used + cost <= plan.count {
      return window.start + age(leaving: plan.count - window.used - cost, window.before) - now
    }
    return window.start + plan.period + age(leaving: plan.count - cost, window.used) - now
  }
}

extension LimitAlgorithm where Self == SlidingWindowCounter {
  /// At most the count in the last period, estimated from two counters.
  public static var slidingWindow: Self { Self() }
}
