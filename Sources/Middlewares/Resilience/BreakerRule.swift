/// When a ``CircuitBreaker`` opens.
public struct BreakerRule: Hashable, Sendable, CustomStringConvertible {
  enum Kind: Hashable, Sendable {
    case consecutive(Int)
    case failures(ratio: Double, of: Int, window: Duration)
    case slow(than: Duration, ratio: Double, of: Int, window: Duration)
  }

  let kind: Kind

  /// So many failures in a row, over all loops: 1...1,000,000.
  public static func consecutive(_ count: Int) -> BreakerRule { BreakerRule(kind: .consecutive(count)) }

  /// This share of what ended in a window failed.
  ///
  /// - Parameters:
  ///   - ratio: more than 0, at most 1.
  ///   - least: how many there must have been for it to mean something: 1...1,000,000.
  ///   - window: 100 ms...1 h.
  public static func failures(
    _ ratio: Double, ofAtLeast least: Int = 20, in window: Duration = .seconds(10)
  ) -> BreakerRule {
    BreakerRule(kind: .failures(ratio: ratio, of: least, window: window))
  }

  /// This share of the answers in a window was slow.
  ///
  /// - Parameters:
  ///   - limit: an answer that took longer is slow: from here to the connected tunnel, or to the head of the response; more
  ///     than zero.
  ///   - ratio: more than 0, at most 1.
  ///   - least: how many answers there must have been: 1...1,000,000.
  ///   - window: 100 ms...1 h.
  public static func slow(
    than limit: Duration, _ ratio: Double = 0.5, ofAtLeast least: Int = 20, in window: Duration = .seconds(10)
  ) -> BreakerRule {
    BreakerRule(kind: .slow(than: limit, ratio: ratio, of: least, window: window))
  }

  public var description: String {
    switch kind {
    case .consecutive(let count): "\(count) failures in a row"
    case .failures(let ratio, let least, let window): "\(Self.percent(ratio)) failures of \(least) or more in \(window)"
    case .slow(let limit, let ratio, let least, let window):
      "\(Self.percent(ratio)) of \(least) or more answers in \(window) slower than \(limit)"
    }
  }

  private static func percent(_ ratio: Double) -> String {
    let percent = ratio * 100
    return percent == percent.rounded() && percent < 1e6 ? "\(Int(percent)) %" : "\(percent) %"
  }

  var problem: String? {
    func check(_ ratio: Double, _ least: Int, _ window: Duration) -> String? {
      if !(ratio > 0 && ratio <= 1) { return "a ratio of \(ratio): more than 0 and at most 1 is allowed" }
      if !(1...1_000_000).contains(least) { return "at least \(least) exchanges: 1 to 1,000,000 are allowed" }
      if window < .milliseconds(100) || window > .seconds(3600) {
        return "a window of \(window): 100 ms to 1 hour are allowed"
      }
      return nil
    }
    switch kind {
    case .consecutive(let count):
      return (1...1_000_000).contains(count) ? nil : "\(count) failures in a row: 1 to 1,000,000 are allowed"
    case .failures(let ratio, let least, let window): return check(ratio, least, window)
    case .slow(let limit, let ratio, let least, let window):
      return limit <= .zero ? "slower than \(limit): it must be more than 0 seconds" : check(ratio, least, window)
    }
  }
}
