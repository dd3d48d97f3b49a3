public import Pipeline
internal import Synchronization

/// A ``Cache`` in Redis, shared by every process that names the same prefix: one server, or a cluster.
///
/// ```swift
/// let cache = RedisCache(try RedisClient("redis://10.0.0.5:6379"), options: RedisCacheOptions(prefix: "quotas"))
/// ```
/// Each operation is one round trip: a script, or a plain `GET`. Keys of one group lie in one slot. Keys expire by the server's
/// clock.
///
/// Throws ``CacheError/unavailable(_:mayHaveRun:)`` when Redis cannot be reached, or does not answer in time; a circuit breaker
/// keeps later operations from waiting for it. `full` where the server has no memory left (`maxmemory` with `noeviction`: with
/// any other policy it forgets counters to make room). Errors and logs hold no key and no value.
public final class RedisCache: Cache {
  private struct State {
    var breaker: CircuitBreaker
    var counts = RedisCacheCounts()
    /// The group of the last operation that failed: probes go where it lies.
    var failedGroup = ""
    var services: (any BackgroundServices)?
    /// Tells the background task that the breaker has opened.
    var opened: AsyncStream<Void>.Continuation?
    var isClosed = false
  }

  public let client: RedisClient
  public let options: RedisCacheOptions
  private let call: CacheCall
  private let state: Mutex<State>
  private let shared = SharedRun()

  /// - Parameters:
  ///   - client: may serve several caches and stores; each of them runs it.
  ///   - options: ``RedisCacheOptions/problems`` says what is out of range.
  public init(_ client: RedisClient, options: RedisCacheOptions = RedisCacheOptions()) {
    self.client = client
    self.options = options
    call = CacheCall(prefix: options.prefix)
    state = Mutex(State(breaker: CircuitBreaker(threshold: options.breakAfter, pause: options.breakFor)))
  }

  public var counts: RedisCacheCounts { state.withLock { $0.counts } }

  /// Whether Redis is asked at present.
  public var isConnected: Bool { state.withLock { $0.breaker.isClosed } }

  // MARK: The cache

  public func get(_ key: CacheKey, on exchange: Exchange?) async throws -> [UInt8]? {
    let command = RedisCommand("GET", .key(call.key(key)))
    let reply = try await asking(key.group, exchange) { try await self.client.reply(to: command, on: exchange) }
    switch reply {
    case .null: return nil
    default:
      guard let bytes = reply.bytes else { throw unexpected(reply) }
      return bytes
    }
  }

  public func add(
    _ delta: Int, to key: CacheKey, requiring guardKey: CacheKey?, lifetime: CacheLifetime, on exchange: Exchange?
  ) async throws -> Int? {
    if let guardKey, guardKey.group != key.group { throw CacheError.severalGroups }
    let reply = try await run(call.add(delta, key, guardKey, lifetime), key.group, exchange)
    switch reply {
    case .null: return nil
    default:
      guard let sum = try counter(reply).integer else { throw unexpected(reply) }
      return Int(sum)
    }
  }

  public func compareAndSet(
    _ key: CacheKey, expected: [UInt8]?, new: [UInt8]?, lifetime: CacheLifetime, on exchange: Exchange?
  ) async throws -> Bool {
    let reply = try await run(call.replace(key, expected, new, lifetime), key.group, exchange)
    switch reply.integer {
    case 0: return false
    case 1: return true
    default: throw unexpected(reply)
    }
  }

  public func take(_ counters: [CacheTake], on exchange: Exchange?) async throws -> CacheTaken {
    guard let group = counters.first?.key.group else { return CacheTaken(exhausted: nil, values: []) }
    for counter in counters where counter.key.group != group { throw CacheError.severalGroups }
    let reply = try counter(try await run(call.take(counters), group, exchange))
    guard let numbers = reply.elements?.compactMap(\.integer), numbers.count == counters.count + 1,
      (0...Int64(counters.count)).contains(numbers[0])
    else { throw unexpected(reply) }
    return CacheTaken(
      exhausted: numbers[0] == 0 ? nil : Int(numbers[0]) - 1, values: numbers.dropFirst().map { Int($0) })
  }

  public func close() async {
    let opened = state.withLock { state in
      state.isClosed = true
      return state.opened
    }
    opened?.finish()
  }

  private func counter(_ reply: RESPValue) throws(CacheError) -> RESPValue {
    if case .bulk(let bytes) = reply, bytes == [UInt8(ascii: "x")] { throw .notACounter }
    return reply
  }

  private func unexpected(_ reply: RESPValue) -> CacheError {
    .unavailable("Redis answered with \(reply.kind)", mayHaveRun: true)
  }

  // MARK: Redis

  private func run(_ request: CacheCall.Request, _ group: String, _ exchange: Exchange?) async throws -> RESPValue {
    try await asking(group, exchange) {
      let reply = try await self.client.reply(to: request.command, on: exchange)
      // The server was restarted, or another one has taken over.
      guard case .error(let error) = reply, error.code == "NOSCRIPT" else { return reply }
      return try await self.client.reply(to: request.withSource, on: exchange)
    }
  }

  /// Asks Redis, unless it has failed, and no longer than the time limit.
  private func asking(
    _ group: String, _ exchange: Exchange?, _ operation: () async throws -> RESPValue
  ) async throws -> RESPValue {
    try begin()
    do {
      let reply = try await Self.within(options.timeout, exchange, operation)
      if case .error(let error) = reply { throw RedisError.server(error) }
      note(state.withLock { $0.breaker.succeeded() })
      return reply
    } catch let error as RedisError {
      if case .cancelled = error { throw CancellationError() }
      failed(error, group, exchange)
      throw Self.cacheError(error)
    }
  }

  private func begin() throws(CacheError) {
    let mayPass = try state.withLock { state throws(CacheError) in
      if state.isClosed { throw .closed }
      guard state.breaker.isClosed else {
        state.counts.spared += 1
        return false
      }
      state.counts.asked += 1
      return true
    }
    if !mayPass { throw .unavailable("it has failed, and is tried again in the background", mayHaveRun: false) }
  }

  private static func within(
    _ limit: Duration, _ exchange: Exchange?, _ operation: () async throws -> RESPValue
  ) async throws -> RESPValue {
    guard let exchange else { return try await operation() }
    let outer = exchange.deadline
    let mine = exchange.now + limit
    guard mine < outer else { return try await operation() }
    exchange.deadline = mine
    defer { exchange.deadline = outer }
    do {
      return try await operation()
    } catch let exceeded as DeadlineExceeded where exceeded.deadline == mine {
      throw RedisError.timeout(limit)
    }
  }

  private static func cacheError(_ error: RedisError) -> CacheError {
    switch error {
    case .server(let error) where error.code == "OOM": .full
    // The rest of the line may quote keys.
    case .server(let error): .unavailable("Redis said \(error.code)", mayHaveRun: false)
    case .timeout, .unreachable, .connectionLost, .pipelineFull, .malformed, .cluster, .unexpectedReply, .notRunning,
      .closed, .cancelled:
      .unavailable("\(error)", mayHaveRun: error.mayHaveRun)
    }
  }

  /// Whether it says that Redis is in trouble.
  private func isTrouble(_ error: RedisError) -> Bool {
    switch error {
    // These are answers: about one key, about memory.
    case .server(let error): !["WRONGTYPE", "OOM"].contains(error.code)
    // Known without waiting; in a cluster it is one node among several.
    case .unreachable: !client.url.isCluster
    case .timeout, .connectionLost, .pipelineFull, .malformed, .cluster, .unexpectedReply, .notRunning, .closed,
      .cancelled:
      true
    }
  }

  private func failed(_ error: RedisError, _ group: String, _ exchange: Exchange?) {
    let isTrouble = isTrouble(error)
    let (change, opened) = state.withLock { state -> (CircuitBreaker.Change?, AsyncStream<Void>.Continuation?) in
      state.counts.failed += 1
      guard isTrouble else { return (nil, nil) }
      state.failedGroup = group
      // Without a clock nobody has run it yet, and then nobody waits either.
      guard let now = exchange?.now ?? state.services?.now else { return (nil, nil) }
      return (state.breaker.failed(now: now), state.opened)
    }
    guard let change else { return }
    note(change, error)
    opened?.yield()
  }

  /// One line and one count for each change.
  private func note(_ change: CircuitBreaker.Change?, _ error: RedisError? = nil) {
    guard let change else { return }
    let services = state.withLock { state in
      switch change {
      case .opened: state.counts.opened += 1
      case .closed: state.counts.closed += 1
      }
      return state.services
    }
    switch change {
    case .opened(let failures):
      let why = error.map { "\(Self.cacheError($0))" } ?? "unknown"
      services?.log(.warning, "cache \(options.prefix): Redis failed \(failures) times in a row: \(why)")
    case .closed: services?.log(.notice, "cache \(options.prefix): Redis is back")
    }
  }

  // MARK: Behind the calls

  /// Keeps the connections, and sends probes while Redis is in trouble.
  ///
  /// - Throws: `CancellationError`. Returns when the cache or its client is closed.
  public func run(_ services: any BackgroundServices) async throws {
    try await shared.run {
      let (opened, open) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
      let isClosed = state.withLock { state in
        state.services = services
        state.opened = open
        if !state.breaker.isClosed { open.yield() }
        return state.isClosed
      }
      defer {
        state.withLock { state in
          state.services = nil
          state.opened = nil
        }
      }
      if isClosed { return }
      let client = client
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await client.run(services) }
        group.addTask { try await self.probe(opened, services) }
        // The first that ends is the client or this cache, closed.
        try await group.next()
        group.cancelAll()
      }
      try Task.checkCancellation()
    }
  }

  private func probe(_ opened: AsyncStream<Void>, _ services: any BackgroundServices) async throws {
    for await _ in opened {
      while let due = state.withLock({ $0.breaker.probeAt }) {
        try await services.sleep(for: max(.zero, due - services.now))
        guard state.withLock({ $0.breaker.mayProbe(now: services.now) }) else { continue }
        let request = call.probe(state.withLock { $0.failedGroup })
        do {
          var reply = try await client.reply(to: request.command, on: nil)
          if case .error(let error) = reply, error.code == "NOSCRIPT" {
            reply = try await client.reply(to: request.withSource, on: nil)
          }
          if case .error(let error) = reply { throw RedisError.server(error) }
          note(state.withLock { $0.breaker.succeeded() })
        } catch let error as RedisError {
          _ = state.withLock { $0.breaker.failed(now: services.now) }
          if case .cancelled = error { throw CancellationError() }
        }
      }
    }
  }
}
