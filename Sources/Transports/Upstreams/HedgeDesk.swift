internal import Pipeline
internal import Synchronization

/// What the hedges of a group share: when they begin, how many there may be, what they brought. Atomics only.
final class HedgeDesk: Sendable {
  private static let thousandths = 1000
  /// Hedges that may be saved up, in thousandths.
  private static let mostCredit = 10 * thousandths
  /// Answers before a percentile means something.
  private static let leastSeen = 100
  /// How far one answer moves the percentile: Robbins and Monro's step, of the estimate itself.
  private static let step = 0.05

  let policy: Hedging
  private let credit = Atomic<Int>(thousandths)
  /// Nanoseconds, as the bits of a `Double`.
  private let estimate = Atomic<UInt64>((50e6).bitPattern)
  private let seen = Atomic<Int>(0)
  private let asked = Atomic<Int>(0)
  private let won = Atomic<Int>(0)
  private let withoutSecond = Atomic<Int>(0)

  init(_ policy: Hedging) { self.policy = policy }

  /// How long an answer is waited for.
  var patience: Duration {
    switch policy.delay {
    case .fixed(let delay): return delay
    case .percentile(_, let least):
      guard seen.load(ordering: .relaxed) >= Self.leastSeen else { return .seconds(86_400) }
      return max(least, .nanoseconds(Int64(Double(bitPattern: estimate.load(ordering: .relaxed)))))
    }
  }

  /// A request comes: a part of a hedge is earned.
  func earn() {
    let now = credit.load(ordering: .relaxed)
    if now < Self.mostCredit { credit.add(max(1, Int(policy.share * Double(Self.thousandths))), ordering: .relaxed) }
  }

  /// Takes one hedge; false: the share is used up.
  func take() -> Bool {
    let left = credit.subtract(Self.thousandths, ordering: .relaxed).newValue
    if left >= 0 { return true }
    credit.add(Self.thousandths, ordering: .relaxed)
    noteWithoutSecond()
    return false
  }

  /// An answer took so long, from when the first backend was asked.
  ///
  /// Up by a large step where it was slower, down by a small one where it was not: at rest where the two are as frequent as the
  /// percentile says. Two loops that do it at the same time lose one of the two steps, which does not matter.
  func note(_ latency: Duration) {
    guard case .percentile(let percentile, _) = policy.delay else { return }
    let value = Double(max(0, latency.nanosecondsClamped))
    var estimate = Double(bitPattern: estimate.load(ordering: .relaxed))
    if value > estimate {
      estimate *= 1 + Self.step * percentile
    } else {
      estimate *= 1 - Self.step * (1 - percentile)
    }
    self.estimate.store(min(max(estimate, 1e4), 3600e9).bitPattern, ordering: .relaxed)
    if seen.load(ordering: .relaxed) < Self.leastSeen { seen.add(1, ordering: .relaxed) }
  }

  func noteAsked() { asked.add(1, ordering: .relaxed) }
  func noteWon() { won.add(1, ordering: .relaxed) }

  func noteWithoutSecond() { withoutSecond.add(1, ordering: .relaxed) }

  var report: HedgeReport {
    HedgeReport(
      asked: asked.load(ordering: .relaxed), won: won.load(ordering: .relaxed),
      withoutSecond: withoutSecond.load(ordering: .relaxed))
  }
}
