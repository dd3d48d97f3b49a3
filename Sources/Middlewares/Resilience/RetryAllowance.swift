internal import Pipeline
internal import Synchronization

/// What the exchanges of one retry share: its budget and its counts. A reload hands it on.
final class RetryAllowance: Sendable {
  private struct Rest {
    var purse: RetryPurse?
    /// Refused since the last line in the log.
    var untold = 0
    var toldAt: Instant?
  }

  /// Between two lines that say that the budget is used up.
  private static let silence = Duration.seconds(10)

  let budget: RetryBudget
  private let seen = ShardedWindow(RetryPurse.window)
  private let rest = Mutex(Rest())
  private let retried = Atomic<Int>(0)
  private let refused = Atomic<Int>(0)
  private let exhausted = Atomic<Int>(0)

  init(_ budget: RetryBudget) { self.budget = budget }

  /// An exchange begins. All that one without a failure costs.
  func saw(_ exchange: Exchange) { seen.add(on: exchange.shard, now: exchange.now.nanoseconds) }

  /// Takes one retry from the budget.
  func take(_ exchange: Exchange) -> Bool {
    let now = exchange.now
    let seen = seen.counts(now: now.nanoseconds).all
    let (isGranted, toTell) = rest.withLock { rest -> (Bool, Int?) in
      var purse = rest.purse ?? RetryPurse(budget, now: now.nanoseconds)
      let isGranted = purse.take(seen: seen, now: now.nanoseconds)
      rest.purse = purse
      if isGranted { return (true, nil) }
      rest.untold += 1
      if let told = rest.toldAt, now - told < Self.silence { return (false, nil) }
      rest.toldAt = now
      defer { rest.untold = 0 }
      return (false, rest.untold)
    }
    if isGranted {
      retried.add(1, ordering: .relaxed)
      return true
    }
    refused.add(1, ordering: .relaxed)
    if let toTell {
      let (name, budget) = (exchange.listener.name, budget)
      exchange.runtime.log(
        .warning, "\(name): retry: the budget of \(budget) is used up: \(toTell) not retried since it was last said")
    }
    return false
  }

  /// An exchange ends in a failure after its last attempt.
  func gaveUp() { exhausted.add(1, ordering: .relaxed) }

  var report: RetryReport {
    RetryReport(
      retried: retried.load(ordering: .relaxed), withoutBudget: refused.load(ordering: .relaxed),
      exhausted: exhausted.load(ordering: .relaxed))
  }
}

/// What a ``Retry`` has done since it was made.
public struct RetryReport: Hashable, Sendable {
  /// Attempts that were made again.
  public let retried: Int
  /// Failures that were not tried again because the budget was used up.
  public let withoutBudget: Int
  /// Exchanges that failed in their last attempt.
  public let exhausted: Int
}
