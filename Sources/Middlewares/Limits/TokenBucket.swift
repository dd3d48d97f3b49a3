public import Pipeline

/// Admits exchanges at a rate, with bursts: each takes a token, and a bucket without tokens refuses.
///
/// ```swift
/// TokenBucket(.perSecond(50, burst: 100), per: .clientAddress)
/// TokenBucket(.perMinute(600), per: .identity, overrides: [.identity("bot"): .perMinute(10)])   // needs an authenticator above
/// TokenBucket(.perMinute(60), per: .clientAddress & .route, headers: .always)                   // HTTP only
/// ```
/// Exact: never more than `burst + rate × time` are admitted, however many loops ask at once.
///
/// A refused client sees HTTP 429 with `retry-after`, `ratelimit` and `x-ratelimit-*`, SOCKS5 reply 2, or a closed TCP
/// connection. The state of a key is one 64-bit word, and a take one compare-and-swap; no allocation for a key that is known.
/// For other algorithms, waiting, costs and limits that processes share there is ``RateLimit``.
public struct TokenBucket<Key: BucketKey>: TransparentElement {
  @inlinable public static var throwsLate: Bool { false }

  public typealias Carrier = Key.Carrier
  public typealias Needs = Key.Needs
  public typealias Gives = Unchanged

  private let rate: Rate
  private let reader: KeyReader<Key, Rate>
  private let headers: LimitHeaders
  private let teller: LimitTeller
  /// Made once: a flood of refusals builds no text.
  private let refusal: String
  private let noRoom: String
  private var store: MemoryLimitStore<TokenBucketAlgorithm>

  /// - Parameters:
  ///   - rate: tokens per time and the size of a bucket; out of range: the chain is refused when it is built.
  ///   - per: whose bucket.
  ///   - overrides: other rates for some keys: a user's plan.
  ///   - headers: when an HTTP client is told how its bucket stands.
  ///   - maxKeys: keys that can be in use (not full) at once: 1...16,777,216.
  ///   - whenFull: what happens to one more.
  public init(
    _ rate: Rate, per: Per<Key>, overrides: Overrides<Key, Rate> = .none, headers: LimitHeaders = .onRefusal,
    maxKeys: Int = 50_000, whenFull: LimitTableFull = .refuse
  ) {
    self.rate = rate
    self.headers = headers
    reader = KeyReader(per, overrides, seed: .process)
    teller = LimitTeller(headers, label: per.label, rate)
    refusal = "\(rate), per \(per.label)"
    noRoom = "no room for another key: \(rate), per \(per.label)"
    store = MemoryLimitStore(
      rate, algorithm: .tokenBucket, options: LimitStoreOptions(maxKeys: maxKeys, whenFull: whenFull))
  }

  @inlinable public var isImmediate: Bool { !Key.mayWait }

  @specialized(where Key == ClientAddressKey)
  @specialized(where Key == IdentityKey)
  @specialized(where Key == GlobalKey)
  public func before(_ exchange: Key.Carrier, _ needed: Key.Needs.Value) throws {
    if let plain = reader.plainKey(of: exchange, needed) {
      if let key = plain { try take(key, nil, exchange) }
    } else if let (key, own) = reader.readNow(exchange, needed) {
      try take(key, own, exchange)
    }
  }

  public func through(_ exchange: Key.Carrier, _ needed: Key.Needs.Value, next: Next) async throws -> Summary {
    guard Key.mayWait else { return try await surround(exchange, needed, next: next) }
    if let (key, own) = try await reader.read(exchange, needed) { try take(key, own, exchange) }
    return try await next()
  }

  // Inlined: it would get a copy of the bucket's settings.
  @inline(__always)
  private func take(_ key: LimitKey, _ own: Rate?, _ exchange: Exchange) throws {
    let decision = try store.take(key, cost: 1, rate: own, now: exchange.now)
    if decision.isAllowed {
      if teller.tellsAll { teller.tell(decision, own, to: exchange) }
      return
    }
    guard decision.isCounted else { throw Rejection(.overloaded, retryAfter: decision.retryAfter, detail: noRoom) }
    teller.tell(decision, own, to: exchange)
    throw teller.refusal(decision, detail: refusal)
  }
}

extension TokenBucket: Middleware where Key.Carrier == Exchange, Key.Needs == Anyone {
  public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    try await through(exchange, (), next: next)
  }
}

extension TokenBucket {
  public var parameters: [Parameter] { [Parameter("rate", "\(rate)"), Parameter("per", reader.per.label)] }
  public var uses: Uses { reader.per.uses }
  public var state: AnyObject? { store }

  public func validate(into problems: inout Problems) {
    for problem in store.problems { problems.refuse(problem) }
    if let problem = headers.problem { problems.refuse(problem) }
    reader.validate(into: &problems) { $0.problem }
  }

  /// Forgets full buckets every minute, so that no address stays in memory longer than it has to, and says when new keys
  /// found no room.
  public func run(_ services: any BackgroundServices) async throws { try await store.run(services) }

  /// Balances are kept; under a new rate the same share of a bucket stays used. The table keeps its size: another `maxKeys`
  /// takes effect at the next start.
  public mutating func adopt(from old: Self) { store = store.adopting(old.store) }
}
