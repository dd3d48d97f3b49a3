public import Middlewares

/// What a ``RedisLimitStore`` says while Redis cannot be asked.
public struct RedisTrouble: Hashable, Sendable, CustomStringConvertible {
  enum Policy: Hashable, Sendable {
    case failOpen, failClosed
    case local(processes: Int)
  }

  let policy: Policy

  /// Everything is admitted, uncounted: the limit is off until Redis is back.
  public static let failOpen = RedisTrouble(policy: .failOpen)
  /// Everything is refused, uncounted.
  public static let failClosed = RedisTrouble(policy: .failClosed)
  /// Each process limits by itself, with its share of the rate and the burst (rounded down, at least 1): all of them
  /// together stay within the limit as long as there are no more than `processes`, 1...10,000. Balances begin full.
  public static func local(processes: Int) -> RedisTrouble { RedisTrouble(policy: .local(processes: processes)) }

  public var description: String {
    switch policy {
    case .failOpen: "fail-open"
    case .failClosed: "fail-closed"
    case .local(let processes): "local, one of \(processes)"
    }
  }
}

/// How a ``RedisLimitStore`` behaves.
public struct RedisLimitOptions: Hashable, Sendable {
  /// Tokens that a process takes at once and serves from its memory.
  public struct LocalTier: Hashable, Sendable {
    /// Tokens in one lease: 2...1,000,000. Costs of so many or more are asked for one by one.
    public var batch: Int
    /// How long a lease may be used; what is left goes back. 10 ms to 1 hour.
    public var holdFor: Duration
    /// Keys with a lease at once: 16...1,048,576. Others are asked for one by one.
    public var maxKeys: Int

    public init(batch: Int, holdFor: Duration = .seconds(1), maxKeys: Int = 65_536) {
      self.batch = batch
      self.holdFor = holdFor
      self.maxKeys = maxKeys
    }
  }

  /// Begins every key in Redis: 1 to 100 bytes, no braces (they would keep all keys on one node of a cluster).
  public var prefix: String
  public var whenInTrouble: RedisTrouble
  /// What keys are hashed with that are no addresses: `KeySeed(secret:)`, the same in every process that shares the limit.
  public var keySeed: KeySeed
  /// `nil`: every take asks Redis, and the limit is exact over all processes.
  public var localTier: LocalTier?
  /// Failures in a row after which Redis is left alone: 1...1,000.
  public var breakAfter: Int
  /// For how long; then one probe decides. 10 ms to 1 hour.
  public var breakFor: Duration
  /// How long Redis keeps a key whose limit is whole again: 0 to 366 days. Forgetting such a key changes no decision; what
  /// is lost is a limit of its own (`set`).
  public var keepIdle: Duration
  /// Of the local balances while Redis is in trouble.
  public var local: LimitStoreOptions

  public init(
    prefix: String = "sluice", whenInTrouble: RedisTrouble = .failClosed, keySeed: KeySeed = .process,
    localTier: LocalTier? = nil,
    breakAfter: Int = 5, breakFor: Duration = .seconds(1), keepIdle: Duration = .seconds(60),
    local: LimitStoreOptions = LimitStoreOptions()
  ) {
    self.prefix = prefix
    self.whenInTrouble = whenInTrouble
    self.keySeed = keySeed
    self.localTier = localTier
    self.breakAfter = breakAfter
    self.breakFor = breakFor
    self.keepIdle = keepIdle
    self.local = local
  }

  /// What is wrong with the numbers, one sentence each.
  public var problems: [String] {
    var problems: [String] = local.problems
    let span = Duration.milliseconds(10)...Duration.seconds(3600)
    if !(1...100).contains(prefix.utf8.count) || prefix.utf8.contains(where: { $0 == 0x7b || $0 == 0x7d }) {
      problems.append("prefix of \"\(prefix)\": 1 to 100 bytes without braces are allowed")
    }
    if case .local(let processes) = whenInTrouble.policy, !(1...10_000).contains(processes) {
      problems.append("local(processes: \(processes)): 1...10,000 are allowed")
    }
    if !(1...1000).contains(breakAfter) { problems.append("breakAfter of \(breakAfter): 1...1,000 are allowed") }
    if !span.contains(breakFor) { problems.append("breakFor of \(breakFor): 10 ms to 1 hour are allowed") }
    if keepIdle < .zero || keepIdle > .seconds(366 * 86_400) {
      problems.append("keepIdle of \(keepIdle): 0 to 366 days are allowed")
    }
    if let tier = localTier {
      if !(2...1_000_000).contains(tier.batch) {
        problems.append("localTier.batch of \(tier.batch): 2...1,000,000 are allowed")
      }
      if !span.contains(tier.holdFor) {
        problems.append("localTier.holdFor of \(tier.holdFor): 10 ms to 1 hour are allowed")
      }
      if !(16...(1 << 20)).contains(tier.maxKeys) {
        problems.append("localTier.maxKeys of \(tier.maxKeys): 16...1,048,576 are allowed")
      }
    }
    return problems
  }
}

/// What has become of the calls of a ``RedisLimitStore``, since the start.
public struct RedisLimitCounts: Hashable, Sendable {
  /// Calls of Redis.
  public var asked = 0
  /// Of these, those without a decision.
  public var failed = 0
  /// Takes that were answered by the policy, Redis being in trouble.
  public var byPolicy = 0
  /// Takes that were served from a lease.
  public var fromLease = 0
  /// How often Redis was given up.
  public var opened = 0
  /// How often it was found well again.
  public var closed = 0
}
