import Middlewares
import Pipeline
import Transports

/// What `ExampleApp proxy` runs by: every value read, and fitting the others.
struct ProxySettings: Sendable {
  struct Bucket: Sendable {
    var rate: Rate
    var owner: BucketOwner
  }

  struct Caching: Sendable {
    var entries: Int
    var ttl: Duration
  }

  struct Health: Sendable {
    var interval: Duration
    var timeout: Duration
    var path: String
    /// Checks in a row that bring a backend back, and that take it out.
    var rise: Int
    var fall: Int
  }

  let values: SettingValues
  let address: SocketAddress
  let kind: BackendAddress.Kind
  let backends: [BackendSetting]
  let algorithm: Balancing
  let cookieSecret: Secret<String>?
  /// `nil`: backends are not asked.
  let health: Health?
  let maxRetries: Int
  let perTry: Duration?
  let readTimeout: Duration
  let writeTimeout: Duration
  let idleTimeout: Duration
  let connectTimeout: Duration
  let requestTimeout: Duration?
  let maxConcurrentRequests: Int?
  let queuedRequests: Int
  let maxConnections: Int?
  let trustedProxies: [CIDR]
  let log: LogSetting
  let workers: Int?
  let grace: Duration
  let bucket: Bucket?
  let caching: Caching?
  let adminAddress: OperatorAddress
  let adminHosts: [DomainName]
  /// A path, or `off`; `nil`: where it usually is.
  let adminSocket: String?
  /// What is allowed, and most likely not meant.
  let notes: [String]

  /// - Throws: ``SettingsProblems`` for values that do not fit each other.
  init(_ values: SettingValues) throws {
    self.values = values
    var fit = Fit(values)
    address = values.must(ProxySetting.address)
    backends = values[ProxySetting.backends] ?? []
    algorithm = values.must(ProxySetting.algorithm)
    kind = fit.kind(of: backends)
    cookieSecret = values[ProxySetting.cookieSecret]
    fit.check(weights: backends, under: algorithm)
    fit.check(algorithm, for: kind, cookieSecret)
    readTimeout = values.must(ProxySetting.readTimeout)
    writeTimeout = values.must(ProxySetting.writeTimeout)
    idleTimeout = values.must(ProxySetting.idleTimeout)
    connectTimeout = values.must(ProxySetting.connectTimeout)
    requestTimeout = values[ProxySetting.requestTimeout]
    maxConcurrentRequests = values[ProxySetting.maxConcurrentRequests]
    queuedRequests = values.must(ProxySetting.queuedRequests)
    maxConnections = values[ProxySetting.maxConnections]
    trustedProxies = values[ProxySetting.trustedProxies] ?? []
    log = values.must(ProxySetting.accessLog)
    workers = values[ProxySetting.workers]
    grace = values.must(ProxySetting.grace)
    maxRetries = values.must(ProxySetting.maxRetries)
    perTry = values[ProxySetting.perTry]
    adminAddress = values.must(ProxySetting.adminAddress)
    adminHosts = values[ProxySetting.adminHosts] ?? []
    adminSocket = values[ProxySetting.adminSocket]
    health = fit.health()
    bucket = fit.bucket()
    caching = fit.caching(kind)
    notes = values.notes + fit.notes
    if !fit.mistakes.isEmpty { throw SettingsProblems(sentences: fit.mistakes) }
  }

  /// The settings that take effect at the next start alone.
  static let lasting: [any DeclaredSetting] = [
    ProxySetting.workers, ProxySetting.grace, ProxySetting.adminAddress, ProxySetting.adminHosts,
    ProxySetting.adminSocket,
  ]

  /// What concerns the listener.
  func apply(to options: inout ListenerOptions) {
    options.handshakeTimeout = readTimeout
    options.connectTimeout = connectTimeout
    options.idleTimeout = idleTimeout
    options.maxConnections = maxConnections
    options.http.headTimeout = readTimeout
    options.http.responseTimeout = writeTimeout
    options.http.bodyIdleTimeout = writeTimeout
    options.http.keepAliveTimeout = idleTimeout
    options.http.trustedProxies = trustedProxies
  }

  /// What concerns the server as a whole.
  var server: ServerOptions {
    var options = ServerOptions()
    options.workers = workers
    options.grace = grace
    return options
  }
}

/// Holds values against each other.
private struct Fit {
  let values: SettingValues
  var mistakes: [String] = []
  var notes: [String] = []

  init(_ values: SettingValues) { self.values = values }

  private func place(_ setting: any DeclaredSetting) -> String {
    let origin = values.origin(of: setting)
    return origin == .standard ? setting.key : origin.place
  }

  /// Of all backends; `http` where there is none, and a mistake.
  mutating func kind(of backends: [BackendSetting]) -> BackendAddress.Kind {
    let place = place(ProxySetting.backends)
    guard let first = backends.first else {
      mistakes.append(
        "no backend is named: write loadBalance.backends (or servers) into the settings file, set BACKEND_ADDRESS, or give "
          + "--backend URL")
      return .http
    }
    if let other = backends.first(where: { $0.address.kind != first.address.kind }) {
      mistakes.append(
        "\(place): \(first.address) and \(other.address) do not go together: one proxy serves http:// or tcp:// backends; "
          + "run a second one for the others")
    }
    var seen: Set<BackendAddress> = []
    for backend in backends where !seen.insert(backend.address).inserted {
      mistakes.append(
        "\(place): \(backend.address) is named twice; name it once, with a weight if it shall get more")
    }
    return first.address.kind
  }

  mutating func check(weights backends: [BackendSetting], under algorithm: Balancing) {
    guard !algorithm.usesWeights, backends.contains(where: { $0.weight != 1 }) else { return }
    notes.append(
      "\(place(ProxySetting.backends)): \(algorithm.rawValue) does not look at weights; write loadBalance.algorithm: "
        + "weighted-round-robin")
  }

  mutating func check(_ algorithm: Balancing, for kind: BackendAddress.Kind, _ secret: Secret<String>?) {
    if algorithm == .stickyCookie, kind == .tcp {
      mistakes.append(
        "\(place(ProxySetting.algorithm)): sticky-cookie needs http:// backends; write ip-hash, which keeps a client by its "
          + "address")
    }
    if algorithm != .stickyCookie, secret != nil {
      notes.append(
        "\(place(ProxySetting.cookieSecret)): it has a meaning with loadBalance.algorithm: sticky-cookie alone")
    }
  }

  mutating func health() -> ProxySettings.Health? {
    let interval = values.must(ProxySetting.healthInterval)
    let timeout = values.must(ProxySetting.healthTimeout)
    guard values.must(ProxySetting.healthEnabled) else { return nil }
    if timeout > interval {
      mistakes.append(
        "\(place(ProxySetting.healthTimeout)): \(written(timeout)) is longer than health.interval, \(written(interval)): a "
          + "check has to end before the next begins; lower it, or raise the interval")
    }
    return ProxySettings.Health(
      interval: interval, timeout: timeout, path: values.must(ProxySetting.healthPath),
      rise: values.must(ProxySetting.healthRise), fall: values.must(ProxySetting.healthFall))
  }

  mutating func bucket() -> ProxySettings.Bucket? {
    guard values.must(ProxySetting.rateLimitEnabled) else { return nil }
    let capacity = values.must(ProxySetting.capacity)
    let refill = values.must(ProxySetting.refillRate)
    let isWhole = refill.thousandths % 1000 == 0
    let rate =
      isWhole
      ? Rate.perSecond(refill.thousandths / 1000, burst: capacity)
      : Rate.per(.seconds(1000), refill.thousandths, burst: capacity)
    if let problem = rate.problem { mistakes.append("\(place(ProxySetting.refillRate)): \(problem)") }
    return ProxySettings.Bucket(rate: rate, owner: values.must(ProxySetting.bucketOwner))
  }

  mutating func caching(_ kind: BackendAddress.Kind) -> ProxySettings.Caching? {
    guard values.must(ProxySetting.cacheEnabled) else { return nil }
    if kind == .tcp {
      mistakes.append(
        "\(place(ProxySetting.cacheEnabled)): a cache needs http:// backends; write cache.enabled: false, or leave the "
          + "section out")
    }
    return ProxySettings.Caching(entries: values.must(ProxySetting.cacheSize), ttl: values.must(ProxySetting.cacheTTL))
  }
}

extension SettingValues {
  /// Of a setting that has a default.
  fileprivate func must<Value>(_ setting: Setting<Value>) -> Value {
    guard let value = self[setting] else { preconditionFailure("\(setting.key) has a default") }
    return value
  }
}
