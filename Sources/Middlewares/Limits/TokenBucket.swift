public import Pipeline

/// Admits exchanges at a rate, with bursts: each takes a token, and a bucket without tokens refuses.
///
/// ```swift
/// TokenBucket(.perSecond(50, burst: 100), per: .clientAddress)
/// TokenBucket(.perMinute(600), per: .identity)                     // needs an authenticator above
/// ```
/// Exact: never more than `burst + rate × time` are admitted, however many loops ask at once.
///
/// A refused client sees HTTP 429 with `retry-after` and `ratelimit-*`, SOCKS5 reply 2, or a closed TCP connection.
/// The state of a key is one 64-bit word, and a take one compare-and-swap; no allocation for a key that is known.
/// Memory is fixed when the bucket is made: 24 bytes a slot, 29 to 58 bytes per key of `maxKeys`.
public struct TokenBucket<Key: BucketKey>: TransparentElement {
  @inlinable public static var throwsLate: Bool { false }

  public typealias Carrier = Exchange
  public typealias Needs = Key.Needs
  public typealias Gives = Unchanged

  /// What happens to a new key when more than `maxKeys` are in use.
  public struct FullPolicy: Hashable, Sendable {
    enum Policy: String { case refuse, admit }
    let policy: Policy

    /// Refuse it, as `overloaded`: an attacker with many addresses cannot pass, but may keep out clients who are new.
    public static var refuse: Self { Self(policy: .refuse) }
    /// Admit it without counting: nobody is kept out, but an attacker with many addresses is not limited either.
    public static var admit: Self { Self(policy: .admit) }
  }

  private let rate: Rate
  private let per: Per<Key>
  private let maxKeys: Int
  private let whenFull: FullPolicy
  private let time: BucketTime
  /// Made once: a flood of refusals builds no text.
  private let refusal: String
  private let noRoom: String
  private var table: BucketTable

  /// - Parameters:
  ///   - rate: tokens per time and the size of a bucket; out of range: the chain is refused when it is built.
  ///   - per: whose bucket.
  ///   - maxKeys: keys that can be in use (not full) at once: 1...16,777,216.
  ///   - whenFull: what happens to one more.
  public init(_ rate: Rate, per: Per<Key>, maxKeys: Int = 50_000, whenFull: FullPolicy = .refuse) {
    self.rate = rate
    self.per = per
    self.maxKeys = maxKeys
    self.whenFull = whenFull
    time = BucketTime(rate)
    refusal = "\(rate), per \(per.label)"
    noRoom = "no room for another key: \(rate), per \(per.label)"
    table = BucketTable(keys: maxKeys)
  }

  public func through(_ exchange: Exchange, _ needed: Key.Needs.Value, next: Next) async throws -> Summary {
    if let key = try await per.key(of: exchange, needed) { try take(key, for: exchange) }
    return try await next()
  }

  private func take(_ key: LimitKey, for exchange: Exchange) throws {
    let now = BucketTime.ticks(exchange.now)
    switch table.take(key, now: now, time) {
    case .admitted(let fullAt):
      let owed = fullAt - now
      exchange.annotate(
        .rateLimit(
          .init(
            limit: time.burst, remaining: Int((time.capacity - owed) / time.cost),
            resetSeconds: BucketTime.seconds(owed))))
    case .refused(let fullAt):
      let owed = fullAt - now
      exchange.annotate(
        .rateLimit(.init(limit: time.burst, remaining: 0, resetSeconds: BucketTime.seconds(owed))))
      let wait = max(1, BucketTime.seconds(owed + time.cost - time.capacity))
      throw Rejection(.rateLimited, retryAfter: .seconds(wait), detail: refusal)
    case .noRoom where whenFull == .admit:
      return
    case .noRoom:
      throw Rejection(.overloaded, detail: noRoom)
    }
  }
}

extension TokenBucket: Middleware where Key.Needs == Anyone {
  public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    try await through(exchange, (), next: next)
  }
}

extension TokenBucket {
  public var parameters: [Parameter] { [Parameter("rate", "\(rate)"), Parameter("per", per.label)] }
  public var uses: Uses { per.uses }
  public var state: AnyObject? { table }

  public func validate(into problems: inout Problems) {
    if let problem = rate.problem { problems.refuse(problem) }
    if !(1...(1 << 24)).contains(maxKeys) { problems.refuse("maxKeys of \(maxKeys): 1 to 16,777,216 are allowed") }
  }

  /// Forgets full buckets every minute, so that no address stays in memory longer than it has to, and says when new keys
  /// found no room.
  public func run(_ services: any BackgroundServices) async throws {
    var reported = table.turnedAway
    while true {
      try await services.sleep(for: .seconds(60))
      let used = table.sweep(now: BucketTime.ticks(services.now))
      let turnedAway = table.turnedAway
      if turnedAway > reported {
        let count = turnedAway - reported
        services.log(
          .warning, "token-bucket (\(refusal)): no room for a new key \(count) times, \(used) in use: raise maxKeys")
        reported = turnedAway
      }
    }
  }

  /// Balances are kept as the time until a bucket is full again. Under a new rate a bucket is full at the same time as it
  /// would have been under the old one; it is never filled up by a reload. The table keeps its size: another `maxKeys`
  /// takes effect at the next start.
  public mutating func adopt(from old: Self) { table = old.table }
}
