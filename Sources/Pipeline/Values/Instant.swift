/// A point of monotonic time, in nanoseconds since an origin that nobody may rely on.
///
/// Comparable within one process only. Deadlines, leases and buckets are kept in it, so that a change of the wall
/// clock moves none of them.
@frozen public struct Instant: Hashable, Comparable, Sendable {
  /// Nanoseconds since the origin of the clock.
  public var nanoseconds: UInt64

  /// Creates an instant from the clock's own count.
  @inlinable public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

  /// Later than every other: "no deadline".
  @inlinable public static var distantFuture: Instant { Instant(nanoseconds: .max) }

  /// The instant `duration` later; stays within the range of the clock, so a huge duration means "never".
  @inlinable public func advanced(by duration: Duration) -> Instant {
    let delta = duration.nanosecondsClamped
    if delta >= 0 {
      let (sum, overflow) = nanoseconds.addingReportingOverflow(UInt64(delta))
      return overflow ? .distantFuture : Instant(nanoseconds: sum)
    }
    let (difference, overflow) = nanoseconds.subtractingReportingOverflow(delta.magnitude)
    return Instant(nanoseconds: overflow ? 0 : difference)
  }

  @inlinable public static func < (a: Instant, b: Instant) -> Bool { a.nanoseconds < b.nanoseconds }

  @inlinable public static func + (a: Instant, b: Duration) -> Instant { a.advanced(by: b) }

  /// The time from `b` to `a`; negative when `a` is the earlier one.
  @inlinable public static func - (a: Instant, b: Instant) -> Duration {
    a >= b
      ? .nanoseconds(Int64(clamping: a.nanoseconds - b.nanoseconds))
      : .nanoseconds(-Int64(clamping: b.nanoseconds - a.nanoseconds))
  }
}

extension Duration {
  /// The duration in nanoseconds, clamped to what 64 bits hold (292 years).
  @inlinable @inline(__always) public var nanosecondsClamped: Int64 {
    // `components` makes two divisions of 128 bits. Below two hours and a half one of 64 bits by a constant does, which is a
    // multiplication: 10^9 is 2^9 times 1,953,125.
    let (high, low) = (UInt64(truncatingIfNeeded: attoseconds >> 64), UInt64(truncatingIfNeeded: attoseconds))
    if high < 512 { return Int64(bitPattern: (high << 55 | low >> 9) / 1_953_125) }
    return longNanoseconds
  }

  /// The same of a duration of any length.
  @usableFromInline @inline(never) var longNanoseconds: Int64 {
    let (high, low) = (UInt64(truncatingIfNeeded: attoseconds >> 64), UInt64(truncatingIfNeeded: attoseconds))
    if high < 500_000_000 {
      return Int64(bitPattern: (1_000_000_000 as UInt64).dividingFullWidth((high, low)).quotient)
    }
    let nanoseconds = attoseconds / 1_000_000_000
    return Int64(clamping: nanoseconds)
  }

  /// The duration in seconds, for messages and rates.
  @inlinable public var inSeconds: Double {
    Double(components.seconds) + Double(components.attoseconds) / 1e18
  }

  /// Whole seconds, rounded up: what a client may be told to wait.
  @inlinable public var secondsRoundedUp: Int {
    let (seconds, attoseconds) = components
    return attoseconds > 0 && seconds < .max ? Int(seconds + 1) : Int(seconds)
  }
}
