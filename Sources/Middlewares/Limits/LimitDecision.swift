internal import Pipeline

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
  public var reset: Duration {
    get { Self.duration(resetNanoseconds) }
    set { resetNanoseconds = Self.nanoseconds(newValue) }
  }
  /// Zero when allowed; otherwise the time after which the same cost fits, if nobody else takes; ``never`` when it is more
  /// than the limit ever holds.
  public var retryAfter: Duration {
    get { Self.duration(retryNanoseconds) }
    set { retryNanoseconds = Self.nanoseconds(newValue) }
  }
  /// How long an admitted exchange must be held back, where the algorithm shapes (``LeakyBucket``); zero otherwise.
  public var delay: Duration {
    get { Self.duration(delayNanoseconds) }
    set { delayNanoseconds = Self.nanoseconds(newValue) }
  }

  // A `Duration` is 128 bits of attoseconds: made only for who looks.
  private var resetNanoseconds: Int64
  private var retryNanoseconds: Int64
  private var delayNanoseconds: Int64

  public init(
    isAllowed: Bool, isCounted: Bool = true, limit: Int, remaining: Int, reset: Duration, retryAfter: Duration = .zero,
    delay: Duration = .zero
  ) {
    self.isAllowed = isAllowed
    self.isCounted = isCounted
    self.limit = limit
    self.remaining = remaining
    resetNanoseconds = Self.nanoseconds(reset)
    retryNanoseconds = Self.nanoseconds(retryAfter)
    delayNanoseconds = Self.nanoseconds(delay)
  }

  /// In ticks (see ``LimitPlan``), rounded up to nanoseconds: a client that waits so long has waited long enough.
  ///
  /// - Parameter retryTicks: `nil`: never.
  @inline(__always)
  init(
    isAllowed: Bool, limit: Int, remaining: Int, resetTicks: UInt64, retryTicks: UInt64? = 0, delayTicks: UInt64 = 0
  ) {
    self.isAllowed = isAllowed
    isCounted = true
    self.limit = limit
    self.remaining = remaining
    resetNanoseconds = Self.nanoseconds(resetTicks)
    retryNanoseconds = retryTicks.map { Self.nanoseconds($0) } ?? .max
    delayNanoseconds = Self.nanoseconds(delayTicks)
  }

  @inline(__always)
  private static func nanoseconds(_ ticks: UInt64) -> Int64 { Int64((ticks + 15) / LimitPlan.ticksPerNanosecond) }

  private static func nanoseconds(_ duration: Duration) -> Int64 { duration.nanosecondsClamped }

  private static func duration(_ nanoseconds: Int64) -> Duration {
    nanoseconds == .max ? never : .nanoseconds(nanoseconds)
  }

  /// The answer where no balance is known.
  public static func uncounted(isAllowed: Bool, retryAfter: Duration = .zero) -> LimitDecision {
    LimitDecision(
      isAllowed: isAllowed, isCounted: false, limit: 0, remaining: 0, reset: .zero, retryAfter: retryAfter)
  }

  /// The `retryAfter` of a cost that never fits.
  public static let never = Duration.seconds(Int64.max)
}
