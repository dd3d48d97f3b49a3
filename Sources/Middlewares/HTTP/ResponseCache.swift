public import Pipeline

/// Keeps responses and serves them again: a shared cache by RFC 9111.
///
/// ```swift
/// ResponseCache()                                              // what the origins allow, for as long as they say
/// ResponseCache(defaultTTL: .seconds(10))                      // and what they say nothing about
/// let pages = CacheStore(maxBytes: 256 << 20)
/// ResponseCache(pages, staleWhileRevalidate: .seconds(30), staleIfError: .seconds(3600))
/// ```
/// What is stored is what the client saw of the elements below it. What stands above the cache runs on hits, too; what
/// stands below runs only when the origin is asked. So authentication, limits, `RequestID` and CORS belong above it.
///
/// Concurrent requests for one missing response wait for a single fetch. The client sees `age` and `x-cache-status`;
/// the answer to `only-if-cached` without a stored response is 504. Everything else that goes wrong is the origin's
/// answer.
///
/// A hit costs one lock and no allocation; a response that is stored costs its size in memory, and passes through the
/// process. `Docs/ResponseCache.md` says what is stored.
public struct ResponseCache: HTTPMiddleware {
  /// What is done with a response that sets a cookie. One client's cookie never reaches another, either way.
  public struct SetCookiePolicy: Hashable, Sendable {
    enum Policy: String { case refuse, strip }
    let policy: Policy

    /// It is not stored: a response that sets a cookie is most likely made for one client.
    public static var refuse: Self { Self(policy: .refuse) }
    /// It is stored without the cookie, if everything else allows it.
    public static var strip: Self { Self(policy: .strip) }
  }

  struct Settings: Sendable {
    var defaultTTL: Duration
    var usesHeuristics: Bool
    var staleWhileRevalidate: Duration
    var staleIfError: Duration
    var setCookie: SetCookiePolicy
    var obeysClient: Bool
    var maxWait: Duration
    var sendsStatus: Bool
  }

  /// How long nobody waits for another's fetch of what could not be shared.
  static let notSharedFor = Duration.seconds(10)
  /// How long a stale response is served without another attempt, after one behind a client's back has failed.
  private static let refreshPause = Duration.seconds(1)
  /// How often a request waits for others before it goes by itself.
  private static let maxWaits = 3

  private(set) var store: CacheStore
  let settings: Settings
  let clock: WallClock
  /// Given, and therefore chosen anew by a new configuration.
  private let hasOwnStore: Bool

  /// - Parameters:
  ///   - store: where responses are kept. `nil`: in a store of its own, of 64 MiB, 10,000 responses and 1 MiB each,
  ///     which a reload carries over.
  ///   - defaultTTL: for a 200, 203, 204, 300, 301 or 308 that says nothing of its freshness; zero: such a response is
  ///     not fresh.
  ///   - usesHeuristics: takes a tenth of the time since `last-modified`, a day at most, before `defaultTTL` (RFC
  ///     9111, 4.2.2).
  ///   - staleWhileRevalidate: how long past its freshness a response is served while it is fetched anew, where it
  ///     does not say so itself (RFC 5861).
  ///   - staleIfError: how long past its freshness it is served when the origin fails, where it does not say so itself.
  ///   - setCookie: what is done with a response that sets a cookie.
  ///   - obeysClient: whether a client may ask for something fresher than what is stored (`no-cache`, `max-age`,
  ///     `min-fresh`, `pragma`) or take something stale (`max-stale`). Off, no client can make the origin work.
  ///     `no-store` and `only-if-cached` are obeyed either way.
  ///   - maxWait: how long a request waits for another's fetch before it asks by itself. More than zero.
  ///   - sendsStatus: whether `x-cache-status` is sent.
  ///   - clock: for `date`, `expires` and `last-modified`.
  public init(
    _ store: CacheStore? = nil, defaultTTL: Duration = .zero, usesHeuristics: Bool = false,
    staleWhileRevalidate: Duration = .zero, staleIfError: Duration = .zero, setCookie: SetCookiePolicy = .refuse,
    obeysClient: Bool = true, maxWait: Duration = .seconds(5), sendsStatus: Bool = true, clock: WallClock = .system
  ) {
    self.store = store ?? CacheStore()
    hasOwnStore = store == nil
    settings = Settings(
      defaultTTL: defaultTTL, usesHeuristics: usesHeuristics, staleWhileRevalidate: staleWhileRevalidate,
      staleIfError: staleIfError, setCookie: setCookie, obeysClient: obeysClient, maxWait: maxWait,
      sendsStatus: sendsStatus)
    self.clock = clock
  }

  /// What the store holds and has been asked.
  public var statistics: CacheStore.Statistics { store.statistics }

  public func handle(_ exchange: HTTPExchange, next: Next) async throws -> Summary {
    let request = CacheRequest(exchange.request, obeysClient: settings.obeysClient)
    switch request.use {
    case .passing: return try await pass(exchange, next)
    case .changing:
      let fetch = CacheFetch(.changing, self, request, of: exchange, flight: nil, stale: nil)
      store.count(.bypass)
      return try await run(fetch, exchange, next)
    case .reading: break
    }
    var waits = 0
    while true {
      switch store.step(request, exchange.request, now: exchange.now, mayWait: waits < Self.maxWaits) {
      case .serve(let cached, let status): return try await serve(cached, status, request, exchange)
      case .refuse: return try await refuse(exchange)
      case .pass: return try await pass(exchange, next)
      case .lead(let flight, let stale): return try await fetch(request, exchange, flight, stale, next)
      case .refresh(let flight, let stale): return try await refresh(request, exchange, flight, stale, next)
      case .alone(let stale): return try await fetch(request, exchange, nil, stale, next)
      case .follow(let flight, let stale):
        if waits == 0 { store.countCollapsed() }
        waits += 1
        switch try await wait(for: flight, on: exchange) {
        case .stored, .abandoned: continue
        case .notShared, nil: return try await fetch(request, exchange, nil, stale, next)
        case .failed(let rejection):
          guard let stale, stale.freshness.mayReplaceError(at: exchange.now) else { throw rejection }
          return try await serve(stale, .stale, request, exchange)
        }
      }
    }
  }

  public func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    let trace = exchange[CacheTrace.self]
    var status = trace.status
    if let fetch = trace.fetch?.own(of: store) {
      status = try fetch.see(&head, on: exchange)
      // A refresh behind the client's back was counted when the client was served.
      if let status, !exchange.isDetached { store.count(status) }
    }
    if settings.sendsStatus { head.fields.set("x-cache-status", (status ?? .bypass).rawValue) }
  }
}

// MARK: - From the store

extension ResponseCache {
  private func serve(
    _ cached: CachedResponse, _ status: CacheStatus, _ request: CacheRequest, _ exchange: HTTPExchange
  ) async throws -> Summary {
    store.count(status)
    return try await exchange.respond(cached.status) { fill(&$0, cached, status, request, exchange) }
  }

  private func fill(
    _ head: inout HTTPResponseHead, _ cached: CachedResponse, _ status: CacheStatus, _ request: CacheRequest,
    _ exchange: HTTPExchange
  ) {
    CacheAnswer(to: request, exchange.request.fields, with: cached).fill(&head, now: exchange.now)
    if settings.sendsStatus { head.fields.set("x-cache-status", status.rawValue) }
  }

  /// RFC 9111, 5.2.1.7.
  private func refuse(_ exchange: HTTPExchange) async throws -> Summary {
    store.count(.miss)
    return try await exchange.respond(504) { head in
      if settings.sendsStatus { head.fields.set("x-cache-status", CacheStatus.miss.rawValue) }
    }
  }
}

// MARK: - From the origin

extension ResponseCache {
  private func pass(_ exchange: HTTPExchange, _ next: Next) async throws -> Summary {
    store.count(.bypass)
    exchange[CacheTrace.self].status = .bypass
    return try await next()
  }

  private func run(_ fetch: CacheFetch, _ exchange: HTTPExchange, _ next: Next) async throws -> Summary {
    exchange[CacheTrace.self].fetch = fetch
    // A retry above, a log, and the stale answer to an error see the request as it came.
    let asked = exchange.request.fields
    defer {
      exchange.request.fields = asked
      exchange[CacheTrace.self].fetch = fetch.outer
    }
    fetch.prepare(&exchange.request)
    do {
      let summary = try await next()
      // The body was cut, or the head never came: whoever waits must go on.
      fetch.land(.abandoned)
      return summary
    } catch {
      fetch.fail(error)
      throw error
    }
  }

  private func fetch(
    _ request: CacheRequest, _ exchange: HTTPExchange, _ flight: CacheFlight?, _ stale: CachedResponse?,
    _ next: Next
  ) async throws -> Summary {
    let fetch = CacheFetch(.filling, self, request, of: exchange, flight: flight, stale: stale)
    let place = exchange.currentPlace
    do {
      return try await run(fetch, exchange, next)
    } catch let rejection as Rejection {
      guard !exchange.isCommitted, Self.isOriginsFailure(rejection), let stale = fetch.staleForError(exchange)
      else { throw rejection }
      exchange.runtime.log(.debug, "response-cache: exchange \(exchange.id) is served stale: \(rejection)")
      // What is stored has been edited by the elements below already.
      exchange.takeOver(at: place)
      return try await serve(stale, .stale, request, exchange)
    }
  }

  /// The client has its answer before the origin is asked; only its connection waits for the rest.
  private func refresh(
    _ request: CacheRequest, _ exchange: HTTPExchange, _ flight: CacheFlight, _ stale: CachedResponse,
    _ next: Next
  ) async throws -> Summary {
    let fetch = CacheFetch(.filling, self, request, of: exchange, flight: flight, stale: stale)
    do {
      store.count(.updating)
      try await exchange.respondAndDetach(stale.status, body: []) {
        fill(&$0, stale, .updating, request, exchange)
      }
      _ = try await run(fetch, exchange, next)
    } catch {
      fetch.fail(error)
      // The client is served already: what failed concerns those who come next.
      guard exchange.isDetached else { throw error }
      exchange.runtime.log(.info, "response-cache: a stale response could not be refreshed: \(error)")
    }
    if case .stored = flight.outcome {
    } else {
      store.pauseRefresh(of: request.hash, until: exchange.now + Self.refreshPause, now: exchange.now)
    }
    return Summary(traffic: exchange.traffic, endedBy: .proxy)
  }

  /// `nil`: it took too long.
  private func wait(for flight: CacheFlight, on exchange: HTTPExchange) async throws -> CacheFlight.Outcome? {
    let outer = exchange.deadline
    let mine = exchange.now + settings.maxWait
    if mine < outer { exchange.deadline = mine }
    defer { exchange.deadline = outer }
    do {
      try await exchange.runtime.wait(for: flight.landed)
      return flight.outcome
    } catch let exceeded as DeadlineExceeded where mine < outer && exceeded.deadline == mine {
      return nil
    }
  }

  /// RFC 5861, 4: what would be a 500, 502, 503 or 504.
  static func isOriginsFailure(_ rejection: Rejection) -> Bool {
    switch rejection.kind {
    case .deadlineExceeded, .overloaded: true
    default: rejection.source == .upstream
    }
  }
}

// MARK: - Component

extension ResponseCache {
  public var state: AnyObject? { hasOwnStore ? store : nil }

  public var metricSources: [any MetricSource] { [store] }

  public var uses: Uses { .body }

  public var parameters: [Parameter] {
    var parameters = [Parameter("default ttl", "\(settings.defaultTTL)")]
    if settings.staleWhileRevalidate > .zero {
      parameters.append(Parameter("stale while revalidate", "\(settings.staleWhileRevalidate)"))
    }
    if settings.staleIfError > .zero { parameters.append(Parameter("stale if error", "\(settings.staleIfError)")) }
    if !settings.obeysClient { parameters.append(Parameter("obeys client", "no")) }
    return parameters
  }

  public func validate(into problems: inout Problems) {
    let times = [
      ("defaultTTL", settings.defaultTTL), ("staleWhileRevalidate", settings.staleWhileRevalidate),
      ("staleIfError", settings.staleIfError),
    ]
    for (name, time) in times where time < .zero || time > .seconds(366 * 86_400) {
      problems.refuse("\(name) of \(time): 0 seconds to 366 days are allowed")
    }
    if settings.maxWait <= .zero { problems.refuse("maxWait of \(settings.maxWait): it must be more than 0 seconds") }
  }

  /// A reload: what is stored stays.
  public mutating func adopt(from old: ResponseCache) {
    if hasOwnStore, old.hasOwnStore { store = old.store }
  }
}
