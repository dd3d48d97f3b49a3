/// A bucket that holds `burst` tokens and gets `count` new ones in every `period`.
public struct TokenBucketAlgorithm: LimitAlgorithm, Hashable {
  /// When tokens are added.
  public enum Refill: Hashable, Sendable {
    /// One by one, evenly over the period.
    case continuous
    /// All of a period at once, at its end. Periods begin at the origin of the clock.
    case wholeInterval
  }

  public let refill: Refill

  public init(refill: Refill = .continuous) { self.refill = refill }

  public var kind: LimitAlgorithmKind { .tokenBucket(refill: refill) }

  public func problem(with rate: Rate) -> String? { rate.problem }
}
