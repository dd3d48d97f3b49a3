import Pipeline

/// How the next backend is chosen.
enum Balancing: String, Sendable, CaseIterable {
  case roundRobin = "round-robin"
  case weightedRoundRobin = "weighted-round-robin"
  case leastConnections = "least-connections"
  case ipHash = "ip-hash"
  case random
  case powerOfTwo = "power-of-two"
  case peakEWMA = "peak-ewma"
  case stickyCookie = "sticky-cookie"

  /// Whether a backend with more weight gets more.
  var usesWeights: Bool {
    switch self {
    case .roundRobin: false
    case .weightedRoundRobin, .leastConnections, .ipHash, .random, .powerOfTwo, .peakEWMA, .stickyCookie: true
    }
  }
}

/// Whose bucket a request takes its token from.
enum BucketOwner: String, Sendable, CaseIterable {
  case client
  case all
}

/// Every setting of `ExampleApp proxy`, in the order of help, documentation and the file that `init` writes.
///
/// Add one here, and the flag, the variable, the key, `--help`, `check`, `init` and `Docs/Settings.md` have it.
enum ProxySetting {
  private static let times = Duration.milliseconds(1)...Duration.seconds(86_400)
  private static let noTLS = "TLS is not there yet: leave the key out, and let a TLS proxy stand in front"

  // MARK: server

  static let address = Setting<SocketAddress>(
    "server.address",
    also: [
      SettingAlias("server.port", allowed: "a port, 1 to 65535") { port in
        readInt(port, in: 1...65_535).map { ":\($0)" }
      }
    ], .listening, flag: "listen", variable: "PROXY_ADDRESS", default: ":8080", "where clients connect")
  static let readTimeout = Setting<Duration>(
    "server.readTimeout", .time(times), default: "30s", "for a request's head to arrive; longer: 408")
  static let writeTimeout = Setting<Duration>(
    "server.writeTimeout", .time(times), default: "30s",
    "for a backend's response head, from the end of the request (longer: 504); also how long a body may stand still")
  static let idleTimeout = Setting<Duration>(
    "server.idleTimeout", .time(times), default: "60s",
    "how long a client's connection is kept without a request, and a tunnel or raw TCP in which nothing moves")
  static let connectTimeout = Setting<Duration>(
    "server.connectTimeout", .time(times), default: "5s", "for a connection to a backend")
  static let requestTimeout = Setting<Duration>(
    "server.requestTimeout", .time(times), absence: "no limit",
    "for a request as a whole, with queueing, retries and the response; not for raw TCP")
  static let tlsCertFile = Setting<Absent>(
    "server.tlsCertFile", .notYet(off: [""], why: noTLS), flag: "", variable: "", absence: "not there yet",
    "TLS: not yet")
  static let tlsKeyFile = Setting<Absent>(
    "server.tlsKeyFile", .notYet(off: [""], why: noTLS), flag: "", variable: "", absence: "not there yet",
    "TLS: not yet")
  static let maxConcurrentRequests = Setting<Int>(
    "server.maxConcurrentRequests", .count(1...1_000_000), variable: "MAX_CONCURRENT_REQUESTS", absence: "no limit",
    "requests (raw TCP: connections) that are served at once; others wait for a second in a queue, then 503")
  static let queuedRequests = Setting<Int>(
    "server.queuedRequests", .count(0...100_000), default: "100", "how many may wait at that limit")
  static let maxConnections = Setting<Int>(
    "server.maxConnections", .count(1...1_000_000), absence: "no limit",
    "client connections that are open at once; one more is not accepted until one ends")
  static let trustedProxies = Setting<[CIDR]>(
    "server.trustedProxies", listOf: .block, flag: "trusted-proxy", absence: "nobody",
    "proxies in front whose word about clients is believed (Forwarded, X-Forwarded-For)")
  static let accessLog = Setting<LogSetting>(
    "server.accessLog", .choice("WORD"), flag: "log", default: "text", "one line a request, on standard output")
  static let workers = Setting<Int>(
    "server.workers", .count(1...1024), absence: "one for each processor",
    "event loops; a change takes effect at the next start")
  static let grace = Setting<Duration>(
    "server.grace", .time(times), default: "30s",
    "how long requests may go on after SIGTERM or SIGINT; a change takes effect at the next start")

  // MARK: loadBalance

  static let backends = Setting<[BackendSetting]>(
    "loadBalance.backends", also: [SettingAlias("servers")], listOf: BackendSetting.syntax, fields: ["url", "weight"],
    assemble: BackendSetting.assemble, flag: "backend", variable: "BACKEND_ADDRESS", absence: "has to be given",
    "where requests go; all http:// or all tcp://; a weight of 1 to 1000 where it is not 1")
  static let algorithm = Setting<Balancing>(
    "loadBalance.algorithm", also: [SettingAlias("load_balancing.strategy")], .choice("WORD"), default: "round-robin",
    "how the next backend is chosen")
  static let cookieSecret = Setting<Secret<String>>(
    "loadBalance.cookieSecret", .secret, flag: "", absence: "none",
    "mixed into the cookie of sticky-cookie, so that nobody finds out the backends; the same in every proxy of these clients"
  )

  // MARK: health

  static let healthEnabled = Setting<Bool>(
    "health.enabled", also: [SettingAlias("health_checks.enabled")], .flag, flag: "health", isImpliedBySection: true,
    "whether backends are asked how they are")
  static let healthInterval = Setting<Duration>(
    "health.interval", also: [SettingAlias("health_checks.interval")],
    .time(.milliseconds(100)...Duration.seconds(3600)),
    flag: "health-interval", default: "30s", "between two checks of a backend")
  static let healthTimeout = Setting<Duration>(
    "health.timeout", also: [SettingAlias("health_checks.timeout")], .time(.milliseconds(10)...Duration.seconds(3600)),
    flag: "health-timeout", default: "5s", atMost: healthInterval, "for one check; at most the interval")
  static let healthPath = Setting<String>(
    "health.path", also: [SettingAlias("health_checks.path")], .path, flag: "health-path", default: "/health",
    "what is asked of http:// backends, which answer with 2xx; tcp:// backends are connected to")

  static let healthRise = Setting<Int>(
    "health.rise", also: [SettingAlias("health_checks.rise")], .count(1...100), flag: "health-rise", default: "2",
    "checks in a row that have to pass until a backend that was out is in again")
  static let healthFall = Setting<Int>(
    "health.fall", also: [SettingAlias("health_checks.fall")], .count(1...100), flag: "health-fall", default: "3",
    "checks in a row that have to fail until a backend is out")

  // MARK: retries

  static let maxRetries = Setting<Int>(
    "retries.max", .count(0...9), flag: "max-retries", variable: "MAX_RETRIES", default: "2",
    "tries after the first one, each at another backend, where it is safe to repeat the request")
  static let perTry = Setting<Duration>(
    "retries.perTry", .time(times), flag: "retries-per-try", absence: "no limit",
    "for one try until the backend answers; then the next one is asked")

  // MARK: rateLimit

  static let rateLimitEnabled = Setting<Bool>(
    "rateLimit.enabled", .flag, flag: "rate-limit", isImpliedBySection: true,
    "whether requests take tokens from a bucket")
  static let capacity = Setting<Int>(
    "rateLimit.capacity", .count(1...1_000_000_000), flag: "rate-limit-capacity", default: "100",
    "tokens in a full bucket: requests that may come at once")
  static let refillRate = Setting<TokenRate>(
    "rateLimit.refillRate", .tokenRate, flag: "rate-limit-refill", default: "10",
    "tokens that come back each second; without one: 429")
  static let bucketOwner = Setting<BucketOwner>(
    "rateLimit.per", .choice("WORD"), flag: "rate-limit-per", default: "client",
    "a bucket for each client address, or one for all")

  // MARK: cache

  static let cacheEnabled = Setting<Bool>(
    "cache.enabled", .flag, flag: "cache", isImpliedBySection: true,
    "whether responses are kept and served again; http:// only")
  static let cacheSize = Setting<Int>(
    "cache.maxSize", .count(1...10_000_000), flag: "cache-max-size", default: "1000",
    "responses that are kept, 64 MiB of them at most")
  static let cacheTTL = Setting<Duration>(
    "cache.ttl", .time(.seconds(1)...Duration.seconds(31_536_000)), flag: "cache-ttl", default: "5m",
    "how long a response is fresh that says nothing of it; Cache-Control goes first")

  // MARK: admin

  static let adminAddress = Setting<OperatorAddress>(
    "admin.address", .operators, flag: "admin-http", default: "127.0.0.1:9901",
    "metrics, health checks and backends for whoever can connect; a change takes effect at the next start")
  static let adminHosts = Setting<[DomainName]>(
    "admin.hosts", listOf: .host, flag: "admin-http-host", absence: "none",
    "hosts that requests to admin.address may be for, besides addresses and localhost; at the next start")
  static let adminSocket = Setting<String>(
    "admin.socket", .socketPath, flag: "admin", absence: "sluice.sock in $XDG_RUNTIME_DIR, or in /tmp/sluice-UID",
    "the admin socket, for its owner alone; a change takes effect at the next start")

  // MARK: tracing

  static let tracing = Setting<Absent>(
    "tracing.enabled",
    .notYet(
      off: ["false", "no", "off"],
      why: "tracing is not there yet: leave the section out, or write tracing.enabled: false"),
    flag: "", variable: "", absence: "not there yet", "tracing: not yet")

  static let all: [any DeclaredSetting] = [
    address, readTimeout, writeTimeout, idleTimeout, connectTimeout, requestTimeout, tlsCertFile, tlsKeyFile,
    maxConcurrentRequests, queuedRequests, maxConnections, trustedProxies, accessLog, workers, grace,
    backends, algorithm, cookieSecret,
    healthEnabled, healthInterval, healthTimeout, healthPath, healthRise, healthFall,
    maxRetries, perTry,
    rateLimitEnabled, capacity, refillRate, bucketOwner,
    cacheEnabled, cacheSize, cacheTTL,
    adminAddress, adminHosts, adminSocket,
    tracing,
  ]

  /// Sections whose keys nobody knows yet.
  static let openSections = ["tracing"]
}
