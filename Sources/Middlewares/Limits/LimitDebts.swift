internal import Pipeline
internal import Synchronization

/// What exchanges have cost beyond what their key had.
///
/// A store never gives more than there is. So what a settlement cannot take stays here, in this process, and holds the key
/// until the rate has paid it. By then a bucket has filled again: what came into it belongs to the debt, too.
final class LimitDebts: Sendable {
  private struct Debt {
    var tokens: Int
    /// When the rate has paid it.
    var until: Instant
  }

  enum Standing: Equatable {
    case clear
    /// The key gets nothing for so long.
    case held(Duration)
    /// The key gets something again once so many tokens have been taken: they paid the debt.
    case due(Int)
  }

  private let debts = Mutex<[LimitKey: Debt]>([:])
  /// Spares the lock where there are none.
  private let count = Atomic<Int>(0)
  /// More keys than that owe nothing.
  private static let most = 100_000

  /// `.due` is said once.
  func standing(of key: LimitKey, _ rate: Rate, now: Instant) -> Standing {
    guard count.load(ordering: .acquiring) > 0 else { return .clear }
    return debts.withLock { debts in
      guard let debt = debts[key] else { return .clear }
      if debt.until > now { return .held(debt.until - now) }
      debts[key] = nil
      count.store(debts.count, ordering: .releasing)
      let since = (now - debt.until).inSeconds / rate.period.inSeconds * Double(rate.count)
      let due = min(Double(debt.tokens), Double(rate.burst) - since)
      return due > 0 ? .due(Int(due.rounded(.up))) : .clear
    }
  }

  func add(_ tokens: Int, to key: LimitKey, _ rate: Rate, now: Instant) {
    debts.withLock { debts in
      if debts.count >= Self.most { debts = debts.filter { $0.value.until > now } }
      guard debts[key] != nil || debts.count < Self.most else { return }
      var debt = debts[key] ?? Debt(tokens: 0, until: now)
      debt.tokens = min(debt.tokens + tokens, LimitCost.most)
      debt.until = max(debt.until, now) + rate.time(for: tokens)
      debts[key] = debt
      count.store(debts.count, ordering: .releasing)
    }
  }
}

extension Rate {
  /// In which it gives so many tokens.
  func time(for tokens: Int) -> Duration { .seconds(Double(tokens) / Double(max(1, count)) * period.inSeconds) }
}
