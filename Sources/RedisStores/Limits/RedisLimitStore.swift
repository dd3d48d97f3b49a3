public import Middlewares
public import Pipeline
internal import Synchronization

/// Balances in Redis, shared by every process that names the same limit: exact over all of them.
///
/// ```swift
/// let redis = try RedisClient("redis://10.0.0.5")
/// let options = RedisLimitOptions(keySeed: KeySeed(secret: secret))
/// let store = RedisLimitStore(redis, "api", .perMinute(600), algorithm: .slidingWindow, options: options)
/// RateLimit(per: .identity, store: store)
/// ```
/// A take is one round trip: a script that runs by the server's own clock, so that neither the clocks of the processes nor
/// their order matter. Each key of the limit is one key in Redis and expires by itself. Keys must mean the same in every
/// process: addresses do, others need a fixed ``KeySeed``.
///
/// While Redis cannot be asked, ``RedisLimitOptions/whenInTrouble`` decides, and a circuit breaker keeps takes from waiting
/// for it. With ``RedisLimitOptions/localTier`` a process takes tokens in advance and answers from memory.
///
/// A refused take, and one under the policy `.failClosed`, is a decision that is not allowed; the store throws only when it
/// is closed, when a number is out of range, or when the exchange's own wait ends.
public final class RedisLimitStore<Algorithm: LimitAlgorithm>: LimitStore {
  private struct State {
    var counts = RedisLimitCounts()
    var isClosed = false
  }

  public let client: RedisClient
  /// Tells this limit apart from others in the same Redis.
  public let name: String
  /// Of every key that has none of its own.
  public let rate: Rate
  public let algorithm: Algorithm
  public let options: RedisLimitOptions
  private let call: LimitCall
  private let local: MemoryLimitStore<Algorithm>?
  private let leases: LeaseTable?
  private let watch: RedisTroubleWatch
  private let state = Mutex(State())

  /// - Parameters:
  ///   - client: may serve several stores; each of them runs it.
  ///   - name: 1 to 64 letters, digits, `-`, `_` and `.`; every process that shares the limit gives the same.
  ///   - rate: of every key that has none of its own.
  ///   - options: ``problems`` says what is out of range, here and in the others.
  public init(
    _ client: RedisClient, _ name: String, _ rate: Rate, algorithm: Algorithm,
    options: RedisLimitOptions = RedisLimitOptions()
  ) {
    self.client = client
    self.name = name
    self.rate = rate
    self.algorithm = algorithm
    self.options = options
    call = LimitCall(algorithm.kind, name, options)
    if case .local(let processes) = options.whenInTrouble.policy {
      local = MemoryLimitStore(rate.share(of: processes), algorithm: algorithm, options: options.local)
    } else {
      local = nil
    }
    leases = options.localTier.map { LeaseTable(batch: $0.batch, holdFor: $0.holdFor, maxKeys: $0.maxKeys) }
    watch = RedisTroubleWatch(
      "limit \(name)", threshold: options.breakAfter, pause: options.breakFor,
      meanwhile: "; until it is back: \(options.whenInTrouble)")
  }

  /// What is out of range, one sentence each; to be asked before it serves.
  public var problems: [String] {
    var problems = options.problems
    if let problem = problem(with: rate) { problems.append(problem) }
    let isName = name.utf8.allSatisfy { byte in
      (97...122).contains(byte | 0x20) || (48...57).contains(byte) || "-_.".utf8.contains(byte)
    }
    if !(1...64).contains(name.utf8.count) || !isName {
      problems.append("a limit named \"\(name)\": 1 to 64 letters, digits, \"-\", \"_\" and \".\" are allowed")
    }
    return problems
  }

  /// Why this limit cannot be kept in Redis; `nil` when it can.
  public func problem(with rate: Rate) -> String? { algorithm.problem(with: rate) ?? call.problem(with: rate) }

  public var keySeed: KeySeed { options.keySeed }

  public var counts: RedisLimitCounts {
    var counts = state.withLock { $0.counts }
    (counts.opened, counts.closed) = watch.changes
    return counts
  }

  /// Whether Redis is asked at present.
  public var isConnected: Bool { watch.mayAsk }

  // MARK: The store

  public func take(
    _ key: LimitKey, cost: Int, rate: Rate?, now: @autoclosure () -> Instant
  ) async throws -> LimitDecision {
    try await take(key, cost, rate, nil, now: now)
  }

  public func take(_ key: LimitKey, cost: Int, rate: Rate?, for exchange: Exchange) async throws -> LimitDecision {
    try await take(key, cost, rate, exchange) { exchange.now }
  }

  public func peek(_ key: LimitKey, rate: Rate?, now: @autoclosure () -> Instant) async throws -> LimitDecision {
    try check(0, rate)
    let answer = try await ask(call.command(.peek, key, cost: 1, want: 1, rate, self.rate), nil, now: now)
    guard let answer else { return try await byPolicy(.peek, key, 1, rate, now: now()) }
    return answer.decision(cost: 1)
  }

  public func set(_ key: LimitKey, tokens: Int, interval: Duration, now: @autoclosure () -> Instant) async throws {
    let own = Rate.per(interval, tokens)
    try check(0, own)
    if try await ask(call.command(.set, key, cost: 0, want: 0, own, own), nil, now: now) == nil {
      throw LimitStoreError.unavailable("the limit of its own was not set")
    }
  }

  public func refund(_ key: LimitKey, cost: Int, rate: Rate?, now: @autoclosure () -> Instant) async throws {
    try check(cost, rate)
    // What Redis did not give is not given back to it; that it is lost when Redis is away admits less, not more.
    _ = try await ask(call.command(.refund, key, cost: cost, want: cost, rate, self.rate), nil, now: now)
  }

  public func close() async {
    state.withLock { $0.isClosed = true }
    watch.close()
    await handBack(everything: true, now: .distantFuture)
    local?.close()
  }

  private func check(_ cost: Int, _ rate: Rate?) throws(LimitStoreError) {
    if state.withLock({ $0.isClosed }) { throw .closed }
    if !(0...1_000_000_000).contains(cost) {
      throw .invalid("a cost of \(cost): 0 to 1,000,000,000 tokens are allowed")
    }
    if let rate, let problem = problem(with: rate) { throw .invalid(problem) }
  }

  private func take(
    _ key: LimitKey, _ cost: Int, _ rate: Rate?, _ exchange: Exchange?, now: () -> Instant
  ) async throws -> LimitDecision {
    try check(cost, rate)
    guard let leases, cost > 0 else {
      guard
        let answer = try await ask(
          call.command(.take, key, cost: cost, want: cost, rate, self.rate), exchange, now: now)
      else { return try await byPolicy(.take, key, cost, rate, now: now()) }
      return answer.decision(cost: cost)
    }
    let holder = LeaseTable.Holder(key: key, rate: rate)
    var want = cost
    var isFetch = false
    switch leases.take(cost, holder, now: now()) {
    case .served(let decision):
      state.withLock { $0.counts.fromLease += 1 }
      return decision
    case .fetch(let tokens): (want, isFetch) = (max(tokens, cost), true)
    case .ask: break
    }
    do {
      let answer = try await ask(
        call.command(.take, key, cost: cost, want: want, rate, self.rate), exchange, now: now)
      let decision = answer?.decision(cost: cost)
      if isFetch {
        leases.fetched(answer?.granted, decision, cost: cost, holder, now: now())
      }
      guard let decision else { return try await byPolicy(.take, key, cost, rate, now: now()) }
      return decision
    } catch {
      // The exchange has left. What Redis granted to it stays taken.
      if isFetch { leases.fetched(nil, nil, cost: cost, holder, now: now()) }
      throw error
    }
  }

  // MARK: Redis, and what is said without it

  /// `nil`: there is no answer, and the policy decides.
  private func ask(_ command: RedisCommand, _ exchange: Exchange?, now: () -> Instant) async throws -> LimitAnswer? {
    guard watch.mayAsk else { return nil }
    state.withLock { $0.counts.asked += 1 }
    do {
      let answer = try await answer(to: command, exchange)
      watch.succeeded()
      return answer
    } catch let error as RedisError {
      if case .cancelled = error { throw CancellationError() }
      state.withLock { $0.counts.failed += 1 }
      watch.failed("\(error)", now: now())
      return nil
    }
  }

  private func answer(to command: RedisCommand, _ exchange: Exchange?) async throws -> LimitAnswer {
    var reply = try await client.reply(to: command, on: exchange)
    if case .error(let error) = reply, error.code == "NOSCRIPT" {
      // The server was restarted, or another one has taken over.
      reply = try await client.reply(to: call.withSource(command), on: exchange)
    }
    if case .error(let error) = reply { throw RedisError.server(error) }
    guard let answer = LimitAnswer(reply) else {
      throw RedisError.unexpectedReply(command: "the limit's script", reply.kind)
    }
    return answer
  }

  private func byPolicy(
    _ operation: LimitCall.Operation, _ key: LimitKey, _ cost: Int, _ rate: Rate?, now: @autoclosure () -> Instant
  ) async throws -> LimitDecision {
    state.withLock { $0.counts.byPolicy += 1 }
    switch options.whenInTrouble.policy {
    case .failOpen: return .uncounted(isAllowed: true)
    case .failClosed: return .uncounted(isAllowed: cost == 0, retryAfter: options.breakFor)
    case .local(let processes):
      guard let local else { preconditionFailure("the policy is local") }
      let own = rate?.share(of: processes)
      switch operation {
      case .peek: return try local.peek(key, rate: own, now: now())
      case .take, .refund, .set: return try local.take(key, cost: cost, rate: own, now: now())
      }
    }
  }

  // MARK: Behind the calls

  /// Keeps the connections, sends probes while Redis is in trouble, hands leases back when they expire and all of them
  /// when it stops. Ends with `CancellationError`, or when the store or its client is closed.
  public func run(_ services: any BackgroundServices) async throws {
    let opened = watch.begin(services)
    defer { watch.end() }
    if state.withLock({ $0.isClosed }) { return }
    // Not a child: the connections outlive the cancellation until the leases are handed back.
    let client = client
    let connections = Task { try await client.run(services) }
    defer { connections.cancel() }
    let result: Result<Void, any Error>
    do {
      try await withThrowingDiscardingTaskGroup { group in
        group.addTask { try await self.probe(opened, services) }
        if let local { group.addTask { try await local.run(services) } }
        if let tier = options.localTier { group.addTask { try await self.sweep(tier, services) } }
      }
      result = .success(())
    } catch {
      result = .failure(error)
    }
    // A task of its own, because this one may be cancelled, and then it could not wait.
    await Task { await handBack(everything: true, now: services.now) }.value
    connections.cancel()
    _ = await connections.result
    try result.get()
  }

  private func probe(_ opened: AsyncStream<Void>, _ services: any BackgroundServices) async throws {
    try await watch.probe(opened, services) {
      // A look at a key that nobody uses: it needs everything that a take needs.
      _ = try await self.answer(to: self.call.command(.peek, .named("probe"), cost: 1, want: 1, nil, self.rate), nil)
    }
    try Task.checkCancellation()
    throw LimitStoreError.closed
  }

  private func sweep(_ tier: RedisLimitOptions.LocalTier, _ services: any BackgroundServices) async throws {
    while true {
      try await services.sleep(for: tier.holdFor / 2)
      await handBack(everything: false, now: services.now)
    }
  }

  private func handBack(everything: Bool, now: Instant) async {
    guard let leases else { return }
    for leftover in leases.collect(now: now, everything: everything) {
      let command = call.command(
        .refund, leftover.holder.key, cost: leftover.tokens, want: 0, leftover.holder.rate, rate)
      do {
        _ = try await answer(to: command, nil)
      } catch {
        // They stay taken until the limit has refilled them: too few are admitted, not too many.
        state.withLock { $0.counts.failed += 1 }
        if everything { return }
      }
    }
  }
}

extension Rate {
  /// The share of one among `processes`, rounded down, at least 1.
  func share(of processes: Int) -> Rate {
    .per(period, max(1, count / max(1, processes)), burst: max(1, burst / max(1, processes)))
  }
}
