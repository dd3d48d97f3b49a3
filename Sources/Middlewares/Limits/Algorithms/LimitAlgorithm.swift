/// Which algorithm it is, for stores that have their own implementation of each (a script in Redis).
public enum LimitAlgorithmKind: Hashable, Sendable {
  case tokenBucket(refill: TokenBucketAlgorithm.Refill)
  case gcra
  case leakyBucket
  case fixedWindow
  case slidingWindowCounter
  case slidingLog

  /// The name by which plans, logs and settings know it.
  public var name: String {
    switch self {
    case .tokenBucket(.continuous): "token-bucket"
    case .tokenBucket(.wholeInterval): "token-bucket-whole-interval"
    case .gcra: "gcra"
    case .leakyBucket: "leaky-bucket"
    case .fixedWindow: "fixed-window"
    case .slidingWindowCounter: "sliding-window"
    case .slidingLog: "sliding-log"
    }
  }
}

/// How a limit counts: a pure step over the state of one key.
public protocol LimitAlgorithm: Sendable {
  var kind: LimitAlgorithmKind { get }

  /// Why this algorithm cannot hold `rate`, as a sentence; `nil` when it can.
  func problem(with rate: Rate) -> String?
}

extension LimitAlgorithm where Self == TokenBucketAlgorithm {
  /// Tokens are added at the rate, up to the burst; each exchange takes some.
  public static func tokenBucket(refill: TokenBucketAlgorithm.Refill) -> Self { Self(refill: refill) }
  /// Tokens are added one by one at the rate, up to the burst; each exchange takes some.
  public static var tokenBucket: Self { Self(refill: .continuous) }
}
