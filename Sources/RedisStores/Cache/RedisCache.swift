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
    var counts = RedisCacheCounts()
    /// The group of the last operation that failed: probes go where it lies.
    var failedGroup = ""
    var isClosed = false
  }

  public let client: RedisClient
  public let options: RedisCacheOptions
  private let call: CacheCall
  private let watch: RedisTroubleWatch
  private let state = Mutex(State())
  private let shared = SharedRun()

  /// - Parameters:
  ///   - client: may serve several caches and stores; each of them runs it.
  ///   - options: ``RedisCacheOptions/problems`` says what is out of range.
  public init(_ client: RedisClient, options: RedisCacheOptions = RedisCacheOptions()) {
    self.client = client
    self.options = options
    call = CacheCall(prefix: options.prefix)
    watch = RedisTroubleWatch("cache \(options.prefix)", threshold: options.breakAfter, pause: options.breakFor)
  }

  public var counts: RedisCacheCounts {
    var counts = state.withLock { $0.counts }
    (counts.opened, counts.closed) = watch.changes
    return counts
  }

  /// Whether Redis is asked at present.
  public var isConnected: Bool { watch.mayAsk }

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
    state.withLock { $0.isClosed = true }
    watch.close()
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
      watch.succeeded()
      return reply
    } catch let error as RedisError {
      if case .cancelled = error { throw CancellationError() }
      failed(error, group, exchange)
      throw Self.cacheError(error)
    }
  }

  private func begin() throws(CacheError) {
    let isAsked = watch.mayAsk
    let mayPass = try state.withLock { state throws(CacheError) in
      if state.isClosed { throw .closed }
      guard isAsked else {
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
    state.withLock { state in
      state.counts.failed += 1
      if isTrouble { state.failedGroup = group }
    }
    // Without a clock nobody has run it yet, and then nobody waits either.
    guard isTrouble, let now = exchange?.now ?? watch.now else { return }
    watch.failed("\(Self.cacheError(error))", now: now)
  }

  // MARK: Behind the calls

  /// Keeps the connections, and sends probes while Redis is in trouble.
  ///
  /// - Throws: `CancellationError`. Returns when the cache or its client is closed.
  public func run(_ services: any BackgroundServices) async throws {
    try await shared.run {
      let opened = watch.begin(services)
      defer { watch.end() }
      if state.withLock({ $0.isClosed }) { return }
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
    try await watch.probe(opened, services) {
      let request = self.call.probe(self.state.withLock { $0.failedGroup })
      var reply = try await self.client.reply(to: request.command, on: nil)
      if case .error(let error) = reply, error.code == "NOSCRIPT" {
        reply = try await self.client.reply(to: request.withSource, on: nil)
      }
      if case .error(let error) = reply { throw RedisError.server(error) }
    }
  }
}
