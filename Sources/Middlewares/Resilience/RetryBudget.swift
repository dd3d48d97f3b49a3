internal import Pipeline

/// How many retries there may be, over all exchanges together: so that retries cannot multiply the load of upstreams that
/// are down.
///
/// ```swift
/// Retry(attempts: 3, budget: .share(0.1, plus: 5))
/// ```
/// A share of the exchanges that were seen in the last ten seconds, and so many a second besides, which serve a listener that
/// has little to do. (Finagle's `RetryBudget`, linkerd's, Envoy's `retry_budget`.)
public struct RetryBudget: Hashable, Sendable, CustomStringConvertible {
  /// Retries for each exchange seen: 0...10, where 0.2 is 20 %.
  public let share: Double
  /// Retries a second besides: 0...1,000,000. One second's worth may be used at once.
  public let perSecond: Int

  /// `share` of the exchanges seen, plus `perSecond` every second.
  public static func share(_ share: Double, plus perSecond: Int) -> RetryBudget {
    RetryBudget(share: share, perSecond: perSecond)
  }

  /// 20 % of the exchanges seen, plus 10 a second.
  public static var standard: RetryBudget { .share(0.2, plus: 10) }

  /// No budget: as many retries as there are failures and attempts. With upstreams that are down, three attempts are three
  /// times the load.
  public static var unlimited: RetryBudget { RetryBudget(share: .infinity, perSecond: 0) }

  var isUnlimited: Bool { share == .infinity }

  public var description: String {
    if isUnlimited { return "unlimited" }
    let percent = share * 100
    let number = percent == percent.rounded() && percent < 1e6 ? "\(Int(percent))" : "\(percent)"
    return "\(number) % plus \(perSecond) per second"
  }

  var problem: String? {
    if isUnlimited { return nil }
    if !(0...10).contains(share) { return "a budget of \(share) retries for each exchange: 0 to 10 are allowed" }
    if !(0...1_000_000).contains(perSecond) {
      return "a budget of \(perSecond) retries per second: 0 to 1,000,000 are allowed"
    }
    if share == 0, perSecond == 0 { return "a budget of 0 % plus 0 per second allows no retry: leave the retry out" }
    return nil
  }
}

/// What a budget has left. Pure: time and what was seen come in.
struct RetryPurse: Sendable {
  static let window = Duration.seconds(10)
  private static let slot: UInt64 = 1_000_000_000

  private let budget: RetryBudget
  private var reserve: Double
  private var filledAt: UInt64
  /// Retries that were charged to the share, by second.
  private var spent: [(second: UInt64, count: Int)] = []

  init(_ budget: RetryBudget, now: UInt64) {
    self.budget = budget
    reserve = Double(budget.perSecond)
    filledAt = now
  }

  /// Takes one retry; false: there is none left.
  ///
  /// - Parameter seen: exchanges of the last ten seconds.
  mutating func take(seen: Int, now: UInt64) -> Bool {
    if budget.isUnlimited { return true }
    let second = now / Self.slot
    spent.removeAll { $0.second + 10 <= second }
    let used = spent.reduce(0) { $0 + $1.count }
    // What a multiplication loses must not cost a retry.
    if Double(used + 1) <= Double(seen) * budget.share + 1e-9 {
      if spent.last?.second == second { spent[spent.count - 1].count += 1 } else { spent.append((second, 1)) }
      return true
    }
    let elapsed = Double(now - min(now, filledAt)) / 1e9
    reserve = min(Double(budget.perSecond), reserve + elapsed * Double(budget.perSecond))
    filledAt = max(now, filledAt)
    guard reserve >= 1 else { return false }
    reserve -= 1
    return true
  }
}
