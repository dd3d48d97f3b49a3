/// At most `count` in each window of one `period`; windows begin at the origin of the clock, for all keys at once.
///
/// The cheapest to explain and the loosest: around the end of a window twice `count` may pass within a moment.
public struct FixedWindow: LimitAlgorithm, Hashable {
  /// What was taken in the window that begins at `start`.
  public struct State: Hashable, Sendable {
    var start: UInt64 = 0
    var used = 0
  }

  public typealias Table = LimitLockedTable<Self>

  public init() {}

  public var kind: LimitAlgorithmKind { .fixedWindow }
  public var fresh: State { State() }

  public func problem(with rate: Rate) -> String? { rate.windowProblem }

  public func take(_ cost: Int, from state: inout State, at now: UInt64, _ plan: LimitPlan) -> LimitDecision {
    let window = current(state, now, plan)
    guard cost <= plan.count - window.used else { return decision(window, false, cost, now, plan) }
    guard cost > 0 else { return decision(window, true, 0, now, plan) }
    state = State(start: window.start, used: window.used + cost)
    return decision(state, true, cost, now, plan)
  }

  public func refund(_ cost: Int, to state: inout State, at now: UInt64, _ plan: LimitPlan) {
    state = current(state, now, plan)
    state.used -= min(cost, state.used)
  }

  public func look(at state: State, at now: UInt64, _ plan: LimitPlan) -> LimitDecision {
    let window = current(state, now, plan)
    return decision(window, window.used < plan.count, 1, now, plan)
  }

  public func idle(from state: State, _ plan: LimitPlan) -> UInt64 { state.used > 0 ? state.start + plan.period : 0 }

  public func rescale(_ state: inout State, from old: LimitPlan, to new: LimitPlan, at now: UInt64) {
    let used = current(state, now, old).used
    state = current(State(), now, new)
    state.used = Int(LimitPlan.scaled(UInt64(used), by: UInt64(new.count), over: UInt64(old.count)))
  }

  private func current(_ state: State, _ now: UInt64, _ plan: LimitPlan) -> State {
    let start = now - now % plan.period
    // A clock that lags behind that of another thread does not bring a window back.
    return state.start >= start ? state : State(start: start, used: 0)
  }

  private func decision(
    _ window: State, _ isAllowed: Bool, _ cost: Int, _ now: UInt64, _ plan: LimitPlan
  ) -> LimitDecision {
    let end = window.start + plan.period - now
    return LimitDecision(
      isAllowed: isAllowed, limit: plan.count, remaining: plan.count - window.used,
      resetTicks: window.used > 0 ? end : 0,
      retryTicks: isAllowed ? 0 : cost > plan.count ? nil : end)
  }
}

extension LimitAlgorithm where Self == FixedWindow {
  /// At most the count in each window; loose around its end.
  public static var fixedWindow: Self { Self() }
}

extension Rate {
  /// What keeps an algorithm of windows from holding this rate.
  var windowProblem: String? {
    if let problem { return problem }
    guard burst == count else {
      return "\(self): an algorithm of windows has no burst beside the count; leave burst out"
    }
    return nil
  }
}
