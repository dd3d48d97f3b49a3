/// At most `count` in the last `period`, exactly, wherever the period begins: the time of each take is kept.
///
/// The dearest: up to 16 bytes for each token of the count and key, in powers of two. So `count` is limited to 65,536.
public struct SlidingLog: LimitAlgorithm, Hashable {
  /// The takes of the last period, the oldest first, in a ring.
  public struct State: Sendable {
    struct Entry: Sendable {
      var at: UInt64
      var tokens: Int
    }

    var ring: [Entry] = []
    var first = 0
    var entries = 0
    /// Tokens of all entries.
    var used = 0

    subscript(_ index: Int) -> Entry {
      get { ring[(first + index) & (ring.count - 1)] }
      set { ring[(first + index) & (ring.count - 1)] = newValue }
    }

    mutating func append(_ entry: Entry) {
      if entries > 0, self[entries - 1].at >= entry.at {
        self[entries - 1].tokens += entry.tokens
      } else {
        if entries == ring.count { grow() }
        entries += 1
        self[entries - 1] = entry
      }
      used += entry.tokens
    }

    mutating func dropFirst() {
      used -= self[0].tokens
      first = (first + 1) & (ring.count - 1)
      entries -= 1
    }

    private mutating func grow() {
      let old = (0..<entries).map { self[$0] }
      ring = old + [Entry](repeating: Entry(at: 0, tokens: 0), count: max(4, ring.count))
      // Of 4, 8, 16, ...: positions wrap by a mask.
      if old.isEmpty { ring = [Entry](repeating: Entry(at: 0, tokens: 0), count: 4) }
      first = 0
    }
  }

  public typealias Table = LimitLockedTable<Self>

  static let longest = 65_536

  public init() {}

  public var kind: LimitAlgorithmKind { .slidingLog }
  public var fresh: State { State() }

  public func problem(with rate: Rate) -> String? {
    if let problem = rate.windowProblem { return problem }
    guard rate.count <= Self.longest else {
      return "\(rate), in a log: a count of at most 65,536 is allowed, because each take is kept"
    }
    return nil
  }

  public func take(_ cost: Int, from state: inout State, at now: UInt64, _ plan: LimitPlan) -> LimitDecision {
    forget(&state, now, plan)
    guard cost <= plan.count - state.used else { return decision(state, false, cost, now, plan) }
    if cost > 0 { state.append(State.Entry(at: now, tokens: cost)) }
    return decision(state, true, cost, now, plan)
  }

  /// Takes the newest entries back.
  public func refund(_ cost: Int, to state: inout State, at now: UInt64, _ plan: LimitPlan) {
    forget(&state, now, plan)
    var left = min(cost, state.used)
    state.used -= left
    while left > 0 {
      let newest = state[state.entries - 1].tokens
      if newest > left {
        state[state.entries - 1].tokens -= left
        return
      }
      left -= newest
      state.entries -= 1
    }
  }

  public func look(at state: State, at now: UInt64, _ plan: LimitPlan) -> LimitDecision {
    var state = state
    forget(&state, now, plan)
    return decision(state, state.used < plan.count, 1, now, plan)
  }

  public func idle(from state: State, _ plan: LimitPlan) -> UInt64 {
    state.entries == 0 ? 0 : state[state.entries - 1].at + plan.period
  }

  /// Each entry keeps its share of the count and its place in the period.
  public func rescale(_ state: inout State, from old: LimitPlan, to new: LimitPlan, at now: UInt64) {
    forget(&state, now, old)
    var rescaled = State()
    var seen = 0
    for index in 0..<state.entries {
      seen += state[index].tokens
      let upToHere = Int(LimitPlan.scaled(UInt64(seen), by: UInt64(new.count), over: UInt64(old.count)))
      guard upToHere > rescaled.used else { continue }
      // What is left of its time is rounded up: an entry leaves the period late rather than early.
      let left = LimitPlan.scaled(
        min(state[index].at + old.period - now, old.period), by: new.period, over: old.period)
      let age = min(new.period - left, now)
      rescaled.append(State.Entry(at: now - age, tokens: upToHere - rescaled.used))
    }
    state = rescaled
  }

  private func forget(_ state: inout State, _ now: UInt64, _ plan: LimitPlan) {
    while state.entries > 0, state[0].at + plan.period <= now { state.dropFirst() }
  }

  private func decision(
    _ state: State, _ isAllowed: Bool, _ cost: Int, _ now: UInt64, _ plan: LimitPlan
  ) -> LimitDecision {
    let idle = idle(from: state, plan)
    return LimitDecision(
      isAllowed: isAllowed, limit: plan.count, remaining: max(0, plan.count - state.used),
      resetTicks: idle > now ? idle - now : 0,
      retryTicks: isAllowed ? 0 : cost > plan.count ? nil : wait(for: cost, state, now, plan))
  }

  /// Until so many of the oldest entries have left the period that `cost` fits.
  private func wait(for cost: Int, _ state: State, _ now: UInt64, _ plan: LimitPlan) -> UInt64 {
    var needed = state.used + cost - plan.count
    for index in 0..<state.entries {
      needed -= state[index].tokens
      if needed <= 0 { return state[index].at + plan.period - now }
    }
    return 0
  }
}

extension LimitAlgorithm where Self == SlidingLog {
  /// At most the count in the last period, exactly; keeps the time of each take.
  public static var slidingLog: Self { Self() }
}
