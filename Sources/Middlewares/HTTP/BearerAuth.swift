public import Pipeline

/// Asks an HTTP client for an opaque token (RFC 6750) and gives an ``AuthenticatedUser``.
///
/// ```swift
/// BearerAuth(tokens, realm: "api")                    // a table in memory
/// BearerAuth(store: sessions, remembering: .seconds(30))
/// ```
/// What the client sees: 401 with `www-authenticate: Bearer realm="api"` when it sends no token; the same with
/// `error="invalid_token"` for one that is unknown, expired, revoked or malformed; 407 where it speaks to a forward proxy;
/// 429 with `retry-after` after too many failures of its address, or with the same token; 503 when the store cannot say.
///
/// Tokens are digested and only digests are kept and compared. A store is asked once for a token, however many requests
/// come with it at that time, and its answer is remembered for a while, or until its version changes. The same field on the
/// same connection costs neither a digest nor an allocation. The field ends here unless `forwardsCredentials` says that the
/// upstream gets it; two of them are a 400. What a token is good for are its roles: `Authorize(scopes:)` below asks for them.
public struct BearerAuth: Authenticator {
  public typealias Carrier = HTTPExchange

  private enum Source: Sendable {
    case table(TokenTable)
    case store(any TokenStore)
  }

  private let source: Source
  private let realm: String
  private let challenge: String
  private let invalid: String
  private let remembering: Duration
  private let limits: LoginLimits
  private let forwardsCredentials: Bool
  private let clock: WallClock
  private var memory: TokenMemory

  /// - Parameters:
  ///   - tokens: which tokens may be used; changes take effect with the next request.
  ///   - realm: printable ASCII.
  ///   - limits: how many unknown tokens are listened to.
  ///   - forwardsCredentials: whether the upstream of a reverse proxy gets the field that was used here.
  ///   - clock: what tokens expire by.
  public init(
    _ tokens: TokenTable, realm: String = "proxy", limits: LoginLimits = .standard, forwardsCredentials: Bool = false,
    clock: WallClock = .system
  ) {
    self.init(.table(tokens), realm, .seconds(3600), limits, forwardsCredentials, clock)
  }

  /// - Parameters:
  ///   - store: which tokens may be used.
  ///   - realm: printable ASCII.
  ///   - remembering: how long the store's answer holds, and so how long a token may outlive its revocation where the
  ///     store's version does not tell. 1 second to 1 hour.
  ///   - limits: how many unknown tokens are listened to.
  ///   - forwardsCredentials: whether the upstream of a reverse proxy gets the field that was used here.
  ///   - clock: what tokens expire by.
  public init(
    store: any TokenStore, realm: String = "proxy", remembering: Duration = .seconds(60),
    limits: LoginLimits = .standard, forwardsCredentials: Bool = false, clock: WallClock = .system
  ) {
    self.init(.store(store), realm, remembering, limits, forwardsCredentials, clock)
  }

  private init(
    _ source: Source, _ realm: String, _ remembering: Duration, _ limits: LoginLimits, _ forwardsCredentials: Bool,
    _ clock: WallClock
  ) {
    self.source = source
    self.realm = realm
    self.remembering = remembering
    self.limits = limits
    self.forwardsCredentials = forwardsCredentials
    self.clock = clock
    challenge = "Bearer realm=\(quoted(realm))"
    invalid = challenge + ", error=\"invalid_token\""
    memory = TokenMemory()
  }

  public func authenticate(_ exchange: HTTPExchange) async throws -> AuthenticatedUser {
    exchange.challenge = challenge
    try exchange.requireOneCredentialsField()
    let user = try await user(of: exchange)
    if !forwardsCredentials { exchange.withholdCredentials() }
    return user
  }

  private func user(of exchange: HTTPExchange) async throws -> AuthenticatedUser {
    // Before anything else: a revocation that comes meanwhile makes what is remembered worthless.
    let version = version
    if let user = remembered(by: exchange, version) { return user }
    guard let token = try token(of: exchange) else {
      throw Rejection(.credentialsRequired, detail: "the client sent no bearer token")
    }
    let origin = LoginKey.address(of: exchange.client)
    if let wait = memory.desk.refusal(
      origin, limit: limits.failuresPerAddress, halfLife: limits.halfLife, now: exchange.now)
    {
      throw Self.tooManyFailures(wait)
    }
    guard let grant = try await grant(for: token, version, origin, exchange) else {
      exchange.challenge = invalid
      throw Rejection(.credentialsInvalid, detail: "unknown token")
    }
    guard let left = grant.timeLeft(clock.now) else {
      exchange.challenge = invalid
      throw Rejection(.credentialsInvalid, detail: "the token of \(grant.user.principal.id) has expired")
    }
    remember(grant.user, on: exchange, version, exchange.now + min(left, remembering))
    return grant.user
  }

  private func token(of exchange: HTTPExchange) throws -> BearerToken? {
    let content = exchange.request.fields.withValue(of: exchange.credentialsField) { value in
      guard let value else { return BearerField.Content.none }
      return BearerField.read(value)
    }
    switch content {
    case .none: return nil
    case .token(let token): return token
    case .invalid:
      exchange.challenge = invalid
      throw Rejection(.credentialsInvalid, detail: "the authorization field holds no bearer token")
    }
  }

  private func grant(
    for token: BearerToken, _ version: UInt64, _ origin: LoginKey, _ exchange: HTTPExchange
  ) async throws -> TokenGrant? {
    let attempt = LoginAttempt(
      digest: token.digest.words, account: nil, user: .token(token.digest), origin: origin, now: exchange.now)
    switch source {
    case .table(let table):
      let grant = table.grant(for: token.digest)
      if grant == nil { memory.desk.noteFailure(attempt, limits) }
      return grant
    case .store(let store): return try await grant(from: store, for: token, version, attempt, exchange)
    }
  }

  // MARK: - The store

  /// Asks the store, or waits for who asks it for the same token.
  private func grant(
    from store: any TokenStore, for token: BearerToken, _ version: UInt64, _ attempt: LoginAttempt,
    _ exchange: HTTPExchange
  ) async throws -> TokenGrant? {
    var attempt = attempt
    while true {
      attempt.now = exchange.now
      if let grant = memory.grant(for: token.digest, version, now: attempt.now) { return grant }
      switch memory.desk.step(attempt, limits) {
      case .lead(let flight): return try await ask(store, for: token, version, flight, exchange)
      case .follow(let flight):
        try await exchange.runtime.wait(for: flight.landed)
        switch flight.outcome {
        case .right, .abandoned: break
        case .wrong: return nil
        case .failed(let rejection): throw rejection
        }
      case .wait(let turn): try await exchange.runtime.wait(for: turn)
      case .refused(let retryAfter): throw Self.tooManyFailures(retryAfter)
      }
    }
  }

  private func ask(
    _ store: any TokenStore, for token: BearerToken, _ version: UInt64, _ flight: LoginFlight, _ exchange: HTTPExchange
  ) async throws -> TokenGrant? {
    let answer = StoreAnswer()
    do {
      try await exchange.bounded {
        do {
          answer.set(.success(try await store.grant(for: token)))
        } catch {
          answer.set(.failure(error))
        }
      }
    } catch {
      // This client stopped waiting, which says nothing about the token: the next one asks again.
      memory.desk.land(flight, .abandoned, limits)
      throw error
    }
    switch answer.value {
    case .success(let grant?):
      memory.remember(grant, for: token.digest, version, until: exchange.now + remembering, now: exchange.now)
      memory.desk.land(flight, .right, limits)
      return grant
    case .success(nil):
      memory.desk.land(flight, .wrong, limits)
      return nil
    case .failure(let error):
      let rejection = Rejection(.overloaded, detail: "the token store failed: \(error)", cause: error)
      memory.desk.land(flight, .failed(rejection), limits)
      throw rejection
    }
  }

  private static func tooManyFailures(_ retryAfter: Duration) -> Rejection {
    Rejection(
      .rateLimited, retryAfter: retryAfter, detail: "too many failed tokens of this address: again in \(retryAfter)")
  }
}

// MARK: - Kept connections

extension BearerAuth {
  private var version: UInt64 {
    switch source {
    case .table(let table): table.version
    case .store(let store): store.version
    }
  }

  private func remembered(by exchange: HTTPExchange, _ version: UInt64) -> AuthenticatedUser? {
    exchange.request.fields.withValue(of: exchange.credentialsField) { field in
      guard let field else { return nil }
      return exchange.rememberedIdentity(AuthenticatedUser.self, for: field, by: memory, version: version)
    }
  }

  private func remember(_ user: AuthenticatedUser, on exchange: HTTPExchange, _ version: UInt64, _ expiry: Instant) {
    exchange.request.fields.withValue(of: exchange.credentialsField) { field in
      guard let field else { return }
      exchange.rememberIdentity(user, for: field, by: memory, version: version, until: expiry)
    }
  }
}

// MARK: - Component

extension BearerAuth {
  public var state: AnyObject? { memory }

  public var parameters: [Parameter] {
    let from =
      switch source {
      case .table: Parameter("tokens", "table")
      case .store: Parameter("remembering", "\(remembering)")
      }
    return [Parameter("realm", realm), from]
  }

  public func validate(into problems: inout Problems) {
    refuse(realm: realm, into: &problems)
    if remembering < .seconds(1) || remembering > .seconds(3600) {
      problems.refuse("remembering is \(remembering): 1 second to 1 hour is allowed")
    }
  }

  /// A reload: failures stay counted. Grants are forgotten, for they may be another store's.
  public mutating func adopt(from old: BearerAuth) { memory = TokenMemory(desk: old.memory.desk) }

  /// Forgets what is too old to matter.
  public func run(_ services: any BackgroundServices) async throws {
    while true {
      try await services.sleep(for: min(remembering, limits.halfLife))
      memory.forgetExpired(now: services.now)
      memory.desk.forgetOld(limits, now: services.now)
    }
  }
}
