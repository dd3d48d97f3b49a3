/// The generic cell rate algorithm of ATM Forum TM 4.0 and ITU-T I.371, in its form of virtual scheduling.
///
/// `GCRA(T, τ)` with the emission interval `T = period / count` and the tolerance `τ = (burst - 1) × T`: an arrival conforms
/// when it is not earlier than the theoretical arrival time less `τ`. It decides as the token bucket with continuous refill
/// does, arrival by arrival; choose it for a `burst` of 1, which spaces exchanges at least `T` apart.
public struct GCRA: LimitWordAlgorithm, Hashable {
  public typealias State = UInt64
  public typealias Table = LimitWordTable<Self>

  public init() {}

  public var kind: LimitAlgorithmKind { .gcra }

  public func problem(with rate: Rate) -> String? { rate.problem }

  public func take(_ cost: Int, from state: inout UInt64, at now: UInt64, _ plan: LimitPlan) -> LimitDecision {
    let before = EarliestTime(state, now, plan)
    guard cost > 0 else { return before.allowed() }
    guard let after = before.taking(cost) else { return before.refused(cost) }
    state = after.word
    return after.allowed()
  }

  public func refund(_ cost: Int, to state: inout UInt64, at now: UInt64, _ plan: LimitPlan) {
    if state > now { state = EarliestTime(state, now, plan).refunding(cost) }
  }

  public func look(at state: UInt64, at now: UInt64, _ plan: LimitPlan) -> LimitDecision {
    let arrival = EarliestTime(state, now, plan)
    return arrival.taking(1) == nil ? arrival.refused(1) : arrival.allowed()
  }

  public func rescale(_ state: inout UInt64, from old: LimitPlan, to new: LimitPlan, at now: UInt64) {
    state = EarliestTime.rescaled(state, from: old, to: new, at: now)
  }
}

extension LimitAlgorithm where Self == GCRA {
  /// The generic cell rate algorithm of ATM: a token bucket by another name, best with a burst of 1.
  public static var gcra: Self { Self() }
}
