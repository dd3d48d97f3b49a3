public import Pipeline

/// What a store does with a new key when `maxKeys` keys are in use.
public enum LimitTableFull: String, Sendable, Hashable {
  /// Refuses it: an attacker with many keys cannot pass, but may keep out clients who are new.
  case refuse
  /// Admits it without counting: nobody is kept out, but an attacker with many keys is not limited either.
  case admit
}

/// How a store keeps its keys.
public struct LimitStoreOptions: Hashable, Sendable {
  /// How often idle keys are collected: 1 ms to 1 day.
  public var ttlInterval: Duration
  /// How long an idle key, one whose limit is whole again, is kept at least, unless a new key needs its place: zero to 366
  /// days. Forgetting an idle key changes no decision; what is lost is a limit of its own (``LimitStore/set(_:tokens:interval:now:)``).
  public var minTTL: Duration
  /// Keys for which there is memory at the start: 1 to `maxKeys`. The store grows when more are in use.
  public var initialSize: Int
  /// Keys that are kept at most: 1 to 16,777,216.
  public var maxKeys: Int
  /// What happens to a new key when `maxKeys` are in use.
  public var whenFull: LimitTableFull

  /// - Parameter initialSize: `maxKeys` where it is not given, up to 50,000.
  public init(
    ttlInterval: Duration = .seconds(60), minTTL: Duration = .zero, initialSize: Int? = nil, maxKeys: Int = 50_000,
    whenFull: LimitTableFull = .refuse
  ) {
    self.ttlInterval = ttlInterval
    self.minTTL = minTTL
    self.initialSize = initialSize ?? min(maxKeys, 50_000)
    self.maxKeys = maxKeys
    self.whenFull = whenFull
  }

  /// What is wrong with the numbers, one sentence each.
  public var problems: [String] {
    var problems: [String] = []
    if !(1...(1 << 24)).contains(maxKeys) { problems.append("maxKeys of \(maxKeys): 1 to 16,777,216 are allowed") }
    if initialSize < 1 || initialSize > max(maxKeys, 1) {
      problems.append("initialSize of \(initialSize): 1 to maxKeys (\(maxKeys)) are allowed")
    }
    if ttlInterval < .milliseconds(1) || ttlInterval > .seconds(86_400) {
      problems.append("ttlInterval of \(ttlInterval): 1 ms to 1 day are allowed")
    }
    if minTTL < .zero || minTTL > .seconds(366 * 86_400) {
      problems.append("minTTL of \(minTTL): 0 to 366 days are allowed")
    }
    return problems
  }
}

/// Why a store gave no decision.
public enum LimitStoreError: Error, Hashable, Sendable, CustomStringConvertible {
  /// ``LimitStore/close()`` was called.
  case closed
  /// A cost, a number of tokens or an interval out of its domain; the sentence names it and says what is allowed.
  case invalid(String)
  /// The store cannot be asked at present; the sentence is for the log.
  case unavailable(String)

  public var description: String {
    switch self {
    case .closed: "the limit store is closed"
    case .invalid(let problem): problem
    case .unavailable(let reason): "the limit store is not available: \(reason)"
    }
  }
}

/// Where the balances of a limit live: in this process (``MemoryLimitStore``) or shared by several.
///
/// `now` is monotonic time. It is a closure because a store in memory reads it again whenever another thread was faster; a
/// store with a clock of its own does not read it. `rate` is the key's own limit (its plan); `nil` is the store's.
/// A cost is 0...1,000,000,000 tokens; 0 takes nothing and is always allowed.
public protocol LimitStore: Sendable {
  /// Of every key that has none of its own.
  var rate: Rate { get }

  /// What is wrong with the rate and the settings, one sentence each. Default: nothing.
  var problems: [String] { get }

  /// What keys are hashed with; processes that share balances need the same. Default: ``KeySeed/process``.
  var keySeed: KeySeed { get }

  /// What goes on in the place of `old` after a reload: the balances of an unchanged limit are kept, and of a changed one the
  /// share that is used. Default: this very store, for one whose balances are elsewhere.
  func adopting(_ old: Self) -> Self

  /// Takes `cost` tokens if they are there, all or none.
  ///
  /// - Throws: ``LimitStoreError``.
  func take(_ key: LimitKey, cost: Int, rate: Rate?, now: @autoclosure () -> Instant) async throws -> LimitDecision

  /// As ``take(_:cost:rate:now:)``, on behalf of an exchange: a store that has to wait for its answer waits as the exchange
  /// does, under its deadline and no longer than its client stays.
  ///
  /// - Throws: ``LimitStoreError``, or what ends a wait of the exchange (see ``ConnectionRuntime``).
  func take(_ key: LimitKey, cost: Int, rate: Rate?, for exchange: Exchange) async throws -> LimitDecision

  /// What ``take(_:cost:rate:now:)`` would say for a cost of 1, without taking.
  func peek(_ key: LimitKey, rate: Rate?, now: @autoclosure () -> Instant) async throws -> LimitDecision

  /// Gives this key a limit of its own: `tokens` per `interval`, with a burst of as many. It holds until the key is collected
  /// or the store is closed, and for takes without a `rate`. The same share of the limit stays used.
  func set(_ key: LimitKey, tokens: Int, interval: Duration, now: @autoclosure () -> Instant) async throws

  /// Gives back tokens that were taken and not used; never more than a full limit.
  func refund(_ key: LimitKey, cost: Int, rate: Rate?, now: @autoclosure () -> Instant) async throws

  /// Ends the store: every later call throws ``LimitStoreError/closed``. Closing twice is no error.
  func close() async

  /// Collects idle keys, and whatever else goes on behind the calls; ends with `CancellationError`, or when the store is closed.
  func run(_ services: any BackgroundServices) async throws
}

extension LimitStore {
  public var problems: [String] { [] }
  public var keySeed: KeySeed { .process }
  public func adopting(_ old: Self) -> Self { self }

  public func take(_ key: LimitKey, cost: Int, rate: Rate?, for exchange: Exchange) async throws -> LimitDecision {
    try await take(key, cost: cost, rate: rate, now: exchange.now)
  }
}
