internal import Pipeline

/// A ``Rate`` in the units in which algorithms count: ticks of a sixteenth of a nanosecond.
///
/// The unit makes the time between two tokens exact for every rate that divides a second; for others it is rounded up by
/// less than 1/16 ns, so that a limit never gives more than its rate. Tick 0 is the origin of the clock, and ticks run for
/// 18 years and then stand still.
public struct LimitPlan: Hashable, Sendable {
  /// Tokens per period.
  public let count: Int
  /// Tokens that a full bucket holds.
  public let burst: Int
  /// Ticks of a period.
  public let period: UInt64
  /// Ticks between two tokens, rounded up.
  public let cost: UInt64
  /// Ticks in which an empty bucket becomes full: at most 366 days.
  public let capacity: UInt64
  /// Tells plans apart where there is room for 32 bits only.
  let code: UInt32

  /// Numbers out of range count as one token a second: whoever takes a rate from outside asks ``Rate/problem`` first.
  public init(_ rate: Rate) {
    let rate = rate.problem == nil ? rate : .perSecond(1)
    count = rate.count
    burst = rate.burst
    period = UInt64(rate.period.nanosecondsClamped) * Self.ticksPerNanosecond
    cost = (period + UInt64(count) - 1) / UInt64(count)
    capacity = cost * UInt64(burst)
    let mixed = (period ^ (UInt64(burst) &* 0x9E37_79B9_7F4A_7C15)).multipliedFullWidth(
      by: 0xD6E8_FEB8_6659_FD93 ^ (UInt64(count) << 1))
    let folded = mixed.high ^ mixed.low
    code = UInt32(truncatingIfNeeded: folded ^ (folded >> 32))
  }

  static let ticksPerNanosecond: UInt64 = 16

  static func ticks(_ instant: Instant) -> UInt64 { min(instant.nanoseconds, 1 << 59) * ticksPerNanosecond }

  static func ticks(_ duration: Duration) -> UInt64 {
    min(UInt64(max(0, duration.nanosecondsClamped)), 1 << 59) * ticksPerNanosecond
  }

  /// `value * numerator / denominator`, rounded up; the result must fit.
  static func scaled(_ value: UInt64, by numerator: UInt64, over denominator: UInt64) -> UInt64 {
    let product = value.multipliedFullWidth(by: numerator)
    let (quotient, remainder) = denominator.dividingFullWidth(product)
    return remainder == 0 ? quotient : quotient + 1
  }
}
