internal import Pipeline

/// Pauses between attempts: exponential, with full jitter.
///
/// Before attempt n + 1 the pause is drawn evenly from 0 to `min(longest, first × 2ⁿ⁻¹)`. Drawing from the whole range
/// spreads clients that failed together better than a fixed pause with some jitter on top.
public struct Backoff: Hashable, Sendable {
  /// Upper bound of the first pause; 0 or more.
  public let first: Duration
  /// Upper bound of every pause; at least `first`.
  public let longest: Duration

  /// - Parameters:
  ///   - first: upper bound of the first pause: 0 or more; 0 means no pause at all.
  ///   - longest: upper bound of every pause: at least `first`. Default: 2 s, or `first` where that is longer.
  public static func exponential(from first: Duration, upTo longest: Duration? = nil) -> Backoff {
    Backoff(first: first, longest: longest ?? max(first, .seconds(2)))
  }

  /// No pause.
  public static var none: Backoff { Backoff(first: .zero, longest: .zero) }

  /// Upper bound of the pause after so many failed attempts, 1 or more.
  func bound(after failures: Int) -> Duration {
    var bound = first
    for _ in 1..<max(failures, 1) where bound < longest { bound += bound }
    return min(bound, longest)
  }

  /// The pause after so many failed attempts, drawn with 64 random bits.
  func pause(after failures: Int, randomBits: UInt64) -> Duration {
    let nanoseconds = UInt64(max(0, bound(after: failures).nanosecondsClamped))
    return .nanoseconds(Int64(randomBits.multipliedFullWidth(by: nanoseconds + 1).high))
  }

  /// Upper bound of all pauses together.
  func total(attempts: Int) -> Duration {
    var sum = Duration.zero
    for failures in 1..<max(attempts, 1) { sum += bound(after: failures) }
    return sum
  }

  var problem: String? {
    if first < .zero { return "a backoff from \(first): it must be 0 or more" }
    if longest < first { return "a backoff from \(first) up to \(longest): the second must not be less than the first" }
    return nil
  }
}
