internal import Pipeline

/// How many tokens a bucket gets in how much time, and how many it holds.
///
/// ```swift
/// TokenBucket(.perSecond(50, burst: 100), per: .clientAddress)
/// ```
public struct Rate: Hashable, Sendable, CustomStringConvertible {
  /// Tokens per period: 1...1,000,000,000.
  public let count: Int
  /// 1 ms ... 366 days.
  public let period: Duration
  /// Tokens that a full bucket holds: 1...1,000,000,000. An empty bucket must be full again within 366 days.
  public let burst: Int

  /// `count` tokens in every `period`, added one by one; a full bucket holds `burst`, or `count` where it is not given.
  public static func per(_ period: Duration, _ count: Int, burst: Int? = nil) -> Rate {
    Rate(count: count, period: period, burst: burst ?? count)
  }

  /// `count` tokens a second.
  public static func perSecond(_ count: Int, burst: Int? = nil) -> Rate { .per(.seconds(1), count, burst: burst) }

  /// `count` tokens a minute.
  public static func perMinute(_ count: Int, burst: Int? = nil) -> Rate { .per(.seconds(60), count, burst: burst) }

  /// `count` tokens an hour.
  public static func perHour(_ count: Int, burst: Int? = nil) -> Rate { .per(.seconds(3600), count, burst: burst) }

  public var description: String {
    let span =
      switch period {
      case .seconds(1): "second"
      case .seconds(60): "minute"
      case .seconds(3600): "hour"
      default: "\(period)"
      }
    return "\(count) per \(span), burst \(burst)"
  }

  /// What is wrong with the numbers; `nil` when nothing is.
  public var problem: String? {
    let allowed = 1...1_000_000_000
    if !allowed.contains(count) { return "a rate of \(count): 1 to 1,000,000,000 tokens per period are allowed" }
    if period < .milliseconds(1) || period > Self.longest {
      return "a period of \(period): 1 ms to 366 days are allowed"
    }
    if !allowed.contains(burst) { return "a burst of \(burst): 1 to 1,000,000,000 tokens are allowed" }
    if Double(burst) / Double(count) * period.inSeconds > Self.longest.inSeconds {
      return "\(self): an empty bucket would take more than 366 days to fill"
    }
    return nil
  }

  private static let longest = Duration.seconds(366 * 86_400)
}
