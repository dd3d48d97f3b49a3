/// What a limit says about one take.
public struct LimitDecision: Hashable, Sendable {
  public var isAllowed: Bool
  /// False when no balance stands behind the answer, because the store found no room for the key or was out of reach: then
  /// `isAllowed` is what the store's policy says, and the other figures are 0.
  public var isCounted: Bool
  /// Tokens of a full bucket, or of a window.
  public var limit: Int
  /// Whole tokens left.
  public var remaining: Int
  /// Until the limit is whole again, if nothing more is taken.
  public var reset: Duration
  /// Zero when allowed; otherwise the time after which the same cost fits, if nobody else takes; ``never`` when it is more
  /// than the limit ever holds.
  public var retryAfter: Duration
  /// How long an admitted exchange must be held back, where the algorithm shapes (``LeakyBucket``); zero otherwise.
  public var delay: Duration

  public init(
    isAllowed: Bool, isCounted: Bool = true, limit: Int, remaining: Int, reset: Duration, retryAfter: Duration = .zero,
    delay: Duration = .zero
  ) {
    self.isAllowed = isAllowed
    self.isCounted = isCounted
    self.limit = limit
    self.remaining = remaining
    self.reset = reset
    self.retryAfter = retryAfter
    self.delay = delay
  }

  /// The answer where no balance is known.
  public static func uncounted(isAllowed: Bool, retryAfter: Duration = .zero) -> LimitDecision {
    LimitDecision(
      isAllowed: isAllowed, isCounted: false, limit: 0, remaining: 0, reset: .zero, retryAfter: retryAfter)
  }

  /// The `retryAfter` of a cost that never fits.
  public static let never = Duration.seconds(Int64.max)
}
