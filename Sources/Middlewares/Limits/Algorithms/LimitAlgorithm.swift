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

/// How a limit counts: pure steps over the state of one key. It knows no clock, no lock and no other key.
///
/// Times are ticks of a sixteenth of a nanosecond (see ``LimitPlan``). A step may see a time that is a little before that of
/// the step before it, where the clock of one thread lags behind another's: nothing may be won by that.
public protocol LimitAlgorithm: Sendable {
  /// What is kept of one key.
  associatedtype State: Sendable
  /// Where states are kept.
  associatedtype Table: LimitTable where Table.Algorithm == Self

  var kind: LimitAlgorithmKind { get }

  /// Why this algorithm cannot hold `rate`, as a sentence; `nil` when it can.
  func problem(with rate: Rate) -> String?

  /// The state of a key that was never seen.
  var fresh: State { get }

  /// Takes `cost` tokens, or leaves the state as it is when they are not there.
  func take(_ cost: Int, from state: inout State, at now: UInt64, _ plan: LimitPlan) -> LimitDecision

  /// Gives back what was taken; never more than was taken and still counts.
  func refund(_ cost: Int, to state: inout State, at now: UInt64, _ plan: LimitPlan)

  /// What a take of one token would be told.
  func look(at state: State, at now: UInt64, _ plan: LimitPlan) -> LimitDecision

  /// The tick from which on `state` decides as a fresh one does, if nothing more is taken; may be late, never early.
  func idle(from state: State, _ plan: LimitPlan) -> UInt64

  /// Passes to another plan. The same share of the limit stays used, rounded up: nothing is refilled.
  func rescale(_ state: inout State, from old: LimitPlan, to new: LimitPlan, at now: UInt64)
}

/// An algorithm whose whole state is one word: the tick from which on the key is idle. Fresh is 0, and after a take the word
/// is later than now. So a table can keep it in one atomic, and see whether a key is idle without knowing its plan.
public protocol LimitWordAlgorithm: LimitAlgorithm where State == UInt64 {}

extension LimitWordAlgorithm {
  @inlinable public var fresh: UInt64 { 0 }
  @inlinable public func idle(from state: UInt64, _ plan: LimitPlan) -> UInt64 { state }
}

/// Where the states of an algorithm's keys are kept.
public protocol LimitTable<Algorithm>: AnyObject, Sendable {
  associatedtype Algorithm: LimitAlgorithm

  init(_ algorithm: Algorithm, _ options: LimitStoreOptions)

  /// Runs one step. `now` is read while nobody else can step on the same key, or again when somebody did.
  ///
  /// - Returns: `nil` when a new key found no room.
  func step(_ operation: LimitOperation, _ key: LimitKey, _ plan: LimitPlan, now: () -> UInt64) -> LimitDecision?

  /// Whether something is kept of this key.
  func holds(_ key: LimitKey) -> Bool

  /// Forgets the keys that have been idle for `age` ticks.
  ///
  /// - Returns: how many keys are in use.
  func collect(now: UInt64, age: UInt64) -> Int

  var counts: LimitTableCounts { get }
}

/// What one call does with the state of a key.
public enum LimitOperation: Hashable, Sendable {
  case take(Int)
  case look
  case refund(Int)
}

/// What has become of the keys of a store.
public struct LimitTableCounts: Hashable, Sendable {
  /// Keys that are kept now.
  public var kept = 0
  /// New keys that found no room, since the start.
  public var turnedAway = 0
  /// Idle keys that were forgotten to make room for a new one, since the start.
  public var evicted = 0
  /// Keys for which there is memory.
  public var room = 0
}

extension LimitAlgorithm {
  func run(
    _ operation: LimitOperation, on state: inout State, at now: UInt64, _ plan: LimitPlan
  ) -> LimitDecision {
    switch operation {
    case .take(let cost): return take(cost, from: &state, at: now, plan)
    case .look: return look(at: state, at: now, plan)
    case .refund(let cost):
      refund(cost, to: &state, at: now, plan)
      return look(at: state, at: now, plan)
    }
  }
}
