public import Pipeline

/// Limits exchanges by any algorithm, in memory or shared between processes; refuses or lets wait; takes what each costs.
///
/// ```swift
/// RateLimit(.perMinute(600), per: .identity, algorithm: .slidingWindow, when: .wait(max: .seconds(2)))
/// RateLimit(.perHour(100_000_000), per: .clientAddress, cost: .bytes(estimate: 4096))
/// RateLimit(.perMinute(60), per: .header("x-api-key"), store: shared, headers: .always)
/// ```
/// A refused client sees HTTP 429 with `retry-after`, `ratelimit` and `x-ratelimit-*`, SOCKS5 reply 2, or a closed TCP
/// connection. A store that cannot say is HTTP 503, SOCKS5 reply 1, a reset. ``TokenBucket`` is the cheapest of these limits;
/// this one costs a few dozen nanoseconds more with a store in memory, and a round trip with one that is elsewhere. Only an
/// exchange that waits allocates.
public struct RateLimit<Key: BucketKey, Store: LimitStore & AnyObject>: TransparentElement {
  @inlinable public static var throwsLate: Bool { false }

  public typealias Carrier = Key.Carrier
  public typealias Needs = Key.Needs
  public typealias Gives = Unchanged

  private let rate: Rate
  private let reader: KeyReader<Key, Rate>
  private let policy: LimitPolicy
  private let cost: LimitCost
  private let headers: LimitHeaders
  private let teller: LimitTeller
  private let refusal: String
  private let algorithm: String?
  private var account: LimitAccount<Store>

  /// A limit in the memory of this process.
  ///
  /// - Parameters:
  ///   - rate: tokens per time, and the size of a bucket.
  ///   - per: whose limit.
  ///   - algorithm: how it counts.
  ///   - policy: what happens to an exchange for which there is no token.
  ///   - cost: how many tokens an exchange takes: one unless given.
  ///   - overrides: other rates for some keys: a user's plan.
  ///   - headers: when an HTTP client is told how its limit stands.
  ///   - options: how many keys are kept, and for how long.
  public init<Algorithm: LimitAlgorithm>(
    _ rate: Rate, per: Per<Key>, algorithm: Algorithm, when policy: LimitPolicy = .reject, cost: LimitCost = 1,
    overrides: Overrides<Key, Rate> = .none, headers: LimitHeaders = .onRefusal,
    options: LimitStoreOptions = LimitStoreOptions()
  ) where Store == MemoryLimitStore<Algorithm> {
    let store = MemoryLimitStore(rate, algorithm: algorithm, options: options)
    self.init(rate, per, policy, cost, overrides, headers, store, algorithm: algorithm.kind.name)
  }

  /// A limit by token buckets in the memory of this process.
  public init(
    _ rate: Rate, per: Per<Key>, when policy: LimitPolicy = .reject, cost: LimitCost = 1,
    overrides: Overrides<Key, Rate> = .none, headers: LimitHeaders = .onRefusal,
    options: LimitStoreOptions = LimitStoreOptions()
  ) where Store == MemoryLimitStore<TokenBucketAlgorithm> {
    self.init(
      rate, per: per, algorithm: .tokenBucket, when: policy, cost: cost, overrides: overrides, headers: headers,
      options: options)
  }

  /// A limit whose balances are where `store` keeps them: shared with other limits, or with other processes.
  ///
  /// - Parameters:
  ///   - rate: of every key that has no override; `nil`: the store's own.
  ///   - store: keeps the balances, and says with what keys are hashed. Limits that share one share the balances of equal keys.
  public init(
    _ rate: Rate? = nil, per: Per<Key>, store: Store, when policy: LimitPolicy = .reject, cost: LimitCost = 1,
    overrides: Overrides<Key, Rate> = .none, headers: LimitHeaders = .onRefusal
  ) { self.init(rate ?? store.rate, per, policy, cost, overrides, headers, store, algorithm: nil) }

  private init(
    _ rate: Rate, _ per: Per<Key>, _ policy: LimitPolicy, _ cost: LimitCost, _ overrides: Overrides<Key, Rate>,
    _ headers: LimitHeaders, _ store: Store, algorithm: String?
  ) {
    self.rate = rate
    self.policy = policy
    self.cost = cost
    self.headers = headers
    self.algorithm = algorithm
    reader = KeyReader(per, overrides, seed: store.keySeed)
    teller = LimitTeller(headers, label: per.label, rate)
    refusal = "\(rate), per \(per.label)"
    account = LimitAccount(store)
  }

  public func through(_ exchange: Key.Carrier, _ needed: Key.Needs.Value, next: Next) async throws -> Summary {
    guard let (key, own) = try await target(exchange, needed) else { return try await next() }
    let rate = own ?? rate
    let tokens = cost.estimate(exchange)
    if tokens > 0 {
      let decision = try await decide(key, rate, tokens, exchange)
      guard decision.isAllowed else { throw refuse(decision, own, exchange) }
      if teller.tellsAll { teller.tell(decision, own, to: exchange) }
      if decision.delay > .zero { try await hold(for: decision, key, rate, tokens, exchange) }
    }
    guard cost.isSettled else { return try await next() }
    return try await account.settling(key, rate, tokens, exchange, actual: { actualCost(exchange) }, next)
  }

  private func target(
    _ exchange: Key.Carrier, _ needed: Key.Needs.Value
  ) async throws -> (key: LimitKey, own: Rate?)? {
    if let plain = reader.plainKey(of: exchange, needed) { return plain.map { ($0, nil) } }
    return try await reader.read(exchange, needed)
  }

  private func decide(
    _ key: LimitKey, _ rate: Rate, _ tokens: Int, _ exchange: Exchange
  ) async throws -> LimitDecision {
    guard policy.waits else { return try await account.take(key, rate, tokens, exchange) }
    var refused = LimitDecision.uncounted(isAllowed: false, retryAfter: policy.maxWait)
    if !account.line.isBusy(key) {
      refused = try await account.take(key, rate, tokens, exchange)
      if refused.isAllowed || !refused.isCounted || refused.retryAfter > policy.maxWait { return refused }
    }
    let decision = try await account.line.wait(key, policy, on: exchange) {
      try await account.take(key, rate, tokens, exchange)
    }
    if let decision { return decision }
    // The line is full, or did not move in time: there is no balance to tell of, only that it is used up.
    refused.isCounted = true
    refused.limit = max(refused.limit, rate.burst)
    return refused
  }

  private func refuse(_ decision: LimitDecision, _ own: Rate?, _ exchange: Exchange) -> Rejection {
    guard decision.isCounted else {
      return Rejection(
        .overloaded, retryAfter: decision.retryAfter > .zero ? decision.retryAfter : nil,
        detail: (account.isImmediate ? "no room for another key: " : "the limit's store cannot be asked: ") + refusal)
    }
    teller.tell(decision, own, to: exchange)
    return teller.refusal(decision, detail: own.map { "\($0), per \(reader.per.label)" } ?? refusal)
  }

  /// Holds an exchange back that was admitted for later (a leaky bucket). One that leaves meanwhile gives its place back.
  private func hold(
    for decision: LimitDecision, _ key: LimitKey, _ rate: Rate, _ tokens: Int, _ exchange: Exchange
  ) async throws {
    do {
      if policy.waits, decision.delay > policy.maxWait {
        throw Rejection(.rateLimited, retryAfter: decision.delay - policy.maxWait, detail: refusal)
      }
      try await exchange.sleep(for: decision.delay)
    } catch {
      await account.giveBack(tokens, key, rate, exchange)
      throw error
    }
  }

  private func actualCost(_ exchange: Exchange) -> Int? {
    switch cost.actual {
    case .asEstimated: nil
    case .measured(let tokens): tokens(exchange)
    case .responseField: exchange[NamedCosts.self][account]
    }
  }

  public func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    guard case .responseField(let name) = cost.actual else { return }
    exchange[NamedCosts.self][account] = head.fields.withValue(of: name) { value in
      guard let value else { return nil }
      return decimal(value)
    }
  }
}

/// A whole number without a sign; `nil` for anything else.
private func decimal(_ text: borrowing Span<UInt8>) -> Int? {
  guard (1...15).contains(text.count) else { return nil }
  var number = 0
  for i in 0..<text.count {
    guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(text[i]) else { return nil }
    number = number * 10 + Int(text[i] - UInt8(ascii: "0"))
  }
  return number
}

extension RateLimit: Middleware where Key.Carrier == Exchange, Key.Needs == Anyone {
  public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    try await through(exchange, (), next: next)
  }
}

extension RateLimit {
  public var parameters: [Parameter] {
    var parameters = [Parameter("rate", "\(rate)"), Parameter("per", reader.per.label)]
    if let algorithm { parameters.append(Parameter("algorithm", algorithm)) }
    if policy.waits { parameters.append(Parameter("wait", "\(policy.maxWait), \(policy.queue) at once")) }
    return parameters
  }
  public var uses: Uses { reader.per.uses }
  public var state: AnyObject? { account.store }

  public func validate(into problems: inout Problems) {
    for problem in account.store.problems { problems.refuse(problem) }
    if rate != account.store.rate, let problem = rate.problem { problems.refuse(problem) }
    if !account.isImmediate, account.store.keySeed.isOfThisProcess, reader.per.isHashed {
      problems.refuse(
        "other processes would not find the balances of a limit per \(reader.per.label): give the store a secret for its keys"
      )
    }
    if let problem = headers.problem { problems.refuse(problem) }
    policy.validate(into: &problems)
    cost.validate(into: &problems)
    reader.validate(into: &problems) { $0.problem }
  }

  public func run(_ services: any BackgroundServices) async throws { try await account.store.run(services) }

  /// Keeps the balances of an unchanged limit, and of a changed one the share that is used: nothing is refilled. Who waits
  /// goes on waiting.
  public mutating func adopt(from old: Self) {
    account = LimitAccount(account.store.adopting(old.account.store), old.account)
  }
}
