/// A queue that lets one out in every `period / count` and holds `burst`, the one that leaves included: it shapes.
///
/// An admitted exchange must be held back for ``LimitDecision/delay``; then they leave evenly, whatever the bursts in which they
/// come. One that finds the queue full is refused. Whoever ignores the delay has a token bucket. An exchange of cost `n` leaves
/// as soon as its turn comes and keeps the next one waiting for `n` intervals.
public struct LeakyBucket: LimitWordAlgorithm, Hashable {
  public typealias State = UInt64
  public typealias Table = LimitWordTable<Self>

  public init() {}

  public var kind: LimitAlgorithmKind { .leakyBucket }

  public func problem(with rate: Rate) -> String? { rate.problem }

  public func take(_ cost: Int, from state: inout UInt64, at now: UInt64, _ plan: LimitPlan) -> LimitDecision {
    let before = EarliestTime(state, now, plan)
    guard cost > 0 else { return before.allowed() }
    guard let after = before.taking(cost) else { return before.refused(cost) }
    state = after.word
    return after.allowed(delay: before.owed)
  }

  /// The place in the queue becomes free for who comes next; who waits behind it does not leave earlier.
  public func refund(_ cost: Int, to state: inout UInt64, at now: UInt64, _ plan: LimitPlan) {
    if state > now { state = EarliestTime(state, now, plan).refunding(cost) }
  }

  public func look(at state: UInt64, at now: UInt64, _ plan: LimitPlan) -> LimitDecision {
    let queue = EarliestTime(state, now, plan)
    return queue.taking(1) == nil ? queue.refused(1) : queue.allowed(delay: queue.owed)
  }

  public func rescale(_ state: inout UInt64, from old: LimitPlan, to new: LimitPlan, at now: UInt64) {
    state = EarliestTime.rescaled(state, from: old, to: new, at: now)
  }
}

extension LimitAlgorithm where Self == LeakyBucket {
  /// Shapes: admitted exchanges are held back so that they leave evenly.
  public static var leakyBucket: Self { Self() }
}
