import Middlewares
import Pipeline
import Transports

/// What `ExampleApp proxy` runs, assembled from its settings: a page to read, as `Gateway` is.
///
/// An HTTP reverse proxy, or raw TCP for `tcp://` backends. A reload makes another one of these; elements that both have keep
/// their state: buckets, places in the queue, stored responses, backends with their health and connections.
struct ReverseProxy {
  static let name = "proxy"

  var settings: ProxySettings
  var log: any LogSink
  /// Where responses are kept; they outlive a reload that leaves the size as it is.
  var pages: CacheStore?

  @ProxyBuilder var body: some Proxy {
    let edge = Chain {
      Metrics()
      if let format = settings.log.format { AccessLog(format, to: log) }
      if let limit = settings.maxConcurrentRequests { ConcurrencyLimit(limit, queue: settings.queuedRequests) }
      if let bucket = settings.bucket {
        switch bucket.owner {
        case .client: TokenBucket(bucket.rate, per: .clientAddress)
        case .all: TokenBucket(bucket.rate, per: .global)
        }
      }
    }
    let retries = Chain {
      if settings.maxRetries > 0 { Retry(attempts: settings.maxRetries + 1, perTry: settings.perTry) }
    }
    let backends = Upstreams(
      settings.strategy, health: settings.check, named: "backends",
      backends: settings.backends.map { Backend($0.address.address, weight: $0.weight) })

    switch settings.kind {
    case .http:
      Listener(.http, on: settings.address.description, name: Self.name) {
        edge
        if let limit = settings.requestTimeout { Timeout(limit) }
        if let caching = settings.caching, let pages { ResponseCache(pages, defaultTTL: caching.ttl) }
        retries
      } to: {
        backends
      }.options(settings.apply)
    case .tcp:
      Listener(.tcp, on: settings.address.description, name: Self.name) {
        edge
        retries
      } to: {
        backends
      }.options(settings.apply)
    }
  }
}

extension ProxySettings {
  fileprivate var strategy: LoadBalancing {
    switch algorithm {
    case .roundRobin: .roundRobin
    case .weightedRoundRobin: .weightedRoundRobin
    case .leastConnections: .leastConnections
    case .ipHash: .clientAddressHash
    case .random: .random
    case .powerOfTwo: .powerOfTwoChoices
    case .peakEWMA: .peakEWMA()
    case .stickyCookie: .sticky(StickyCookie(secret: cookieSecret ?? Secret("")))
    }
  }

  /// What backends are asked.
  fileprivate var check: HealthCheck? {
    health.map { health in
      switch kind {
      case .http:
        .http(health.path, every: health.interval, timeout: health.timeout, rise: health.rise, fall: health.fall)
      case .tcp: .tcp(every: health.interval, timeout: health.timeout, rise: health.rise, fall: health.fall)
      }
    }
  }
}

extension ReverseProxy {
  /// What keeps it from starting, or from being taken over, in the words of its settings.
  static func problems(with error: ConfigurationError) -> SettingsProblems {
    SettingsProblems(
      sentences: error.messages.map { message in
        // The listener's name may stand in front of what is wrong with its chain.
        let isOurs = error.listener == name || message.hasPrefix("\(name): ")
        guard isOurs else { return error.listener.map { "\($0): \(message)" } ?? message }
        let text = message.hasPrefix("\(name): ") ? String(message.dropFirst(name.count + 2)) : message
        if text.hasPrefix("retry: ") {
          return "retries.max: \(text.dropFirst(7)); allow fewer retries, or more time with server.requestTimeout"
        }
        if text.hasPrefix("address in use") {
          return "server.address: \(text); name another one, or stop who listens there"
        }
        if text.hasPrefix("not allowed to listen") {
          return "server.address: \(text); ports below 1024 need root or CAP_NET_BIND_SERVICE"
        }
        if text.hasPrefix("no interface") || text.hasPrefix("cannot listen") { return "server.address: \(text)" }
        return text
      })
  }
}
