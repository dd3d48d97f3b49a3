public import Pipeline

/// Asks the client for a user name and a password (SOCKS5: RFC 1929; HTTP: Basic) and gives an ``AuthenticatedUser``.
///
/// A password that was found right is remembered for a while as a keyed digest, so that the next login costs a few
/// microseconds. Every other is verified on the offload pool; logins with equal credentials that come at the same time share
/// one verification. Unknown and blocked users take as long as a wrong password.
///
/// What the client sees: `credentialsRequired` when it sends none; `credentialsInvalid` when they are wrong, whatever is
/// wrong; `rateLimited` with `retryAfter` after too many failures of its address or of the user name, without anything being
/// hashed; `overloaded` when too many verifications wait already.
public struct PasswordAuth: Authenticator {
  public typealias Carrier = PasswordExchange

  /// Longer ones never match: a digest of each is made on the loop.
  private static let longestName = 255
  private static let longestPassword = 1024

  /// Who may log in.
  public let users: UserTable
  /// How long a password that was found right is remembered.
  public let remembering: Duration
  /// How many wrong passwords are listened to.
  public let limits: LoginLimits
  private let forwardsCredentials: Bool
  private var desk: LoginDesk

  /// Creates an authenticator.
  ///
  /// - Parameters:
  ///   - users: who may log in; changes take effect with the next login.
  ///   - remembering: how long a password that was found right is not hashed again. 1 second to 1 day.
  ///   - limits: how many wrong passwords are listened to, for each user and each address.
  ///   - forwardsCredentials: whether the upstream of a reverse HTTP proxy gets the `authorization` field that was used
  ///     here.
  public init(
    _ users: UserTable, remembering: Duration = .seconds(600), limits: LoginLimits = .standard,
    forwardsCredentials: Bool = false
  ) {
    precondition(
      remembering >= .seconds(1) && remembering <= .seconds(86_400),
      "remembering is \(remembering): 1 second to 1 day is allowed")
    self.users = users
    self.remembering = remembering
    self.limits = limits
    self.forwardsCredentials = forwardsCredentials
    desk = LoginDesk()
  }

  public func authenticate(_ exchange: PasswordExchange) async throws -> AuthenticatedUser {
    guard let http = exchange as? HTTPExchange else { return try await logIn(exchange) }
    // Before anything else: a change that comes while the user logs in makes what is remembered worthless.
    let version = users.version
    try http.requireOneCredentialsField()
    let user: AuthenticatedUser
    if let known = remembered(by: http, version) {
      user = known
    } else {
      user = try await logIn(http)
      remember(user, on: http, version)
    }
    if !forwardsCredentials { http.withholdCredentials() }
    return user
  }

  private func logIn(_ exchange: PasswordExchange) async throws -> AuthenticatedUser {
    guard let credentials = try await exchange.credentials() else {
      throw Rejection(.credentialsRequired, detail: "the client sent no user name and password")
    }
    let password = credentials.password.reveal()
    guard credentials.user.count <= Self.longestName, password.count <= Self.longestPassword else {
      throw Rejection(.credentialsInvalid, detail: "the user name or the password is too long to be right")
    }
    let origin = LoginKey.address(of: exchange.client)
    try refuse(ifThrottled: origin, limits.failuresPerAddress, "this address", exchange)
    let digest = users.verifier.digest(user: credentials.user, password: password)
    // Again when the user was changed meanwhile, or when the connection that verified for all was cut.
    for _ in 0..<3 {
      let account = users.account(named: credentials.user)
      let isUsual = account?.isUsual(origin) ?? false
      let user: LoginKey = isUsual ? .user(credentials.user, at: origin) : .user(credentials.user)
      try refuse(ifThrottled: user, limits.failuresPerUser, "this user name", exchange)
      if let account, account.isProven(digest, from: origin, now: exchange.now) { return account.identity }
      let attempt = LoginAttempt(digest: digest, account: account, user: user, origin: origin, now: exchange.now)
      switch try await outcome(of: attempt, password, exchange) {
      case .right:
        if let account, !account.isRetired { return account.identity }
      case .wrong: throw Rejection(.credentialsInvalid, detail: Self.reason(account))
      case .failed(let rejection): throw rejection
      case .abandoned: break
      }
    }
    throw Rejection(.overloaded, detail: "the password could not be verified in three attempts")
  }

  private func refuse(ifThrottled key: LoginKey, _ limit: Int, _ whose: String, _ exchange: Exchange) throws {
    let refusal = desk.refusal(key, limit: limit, halfLife: limits.halfLife, now: exchange.now)
    if let refusal { throw Self.tooManyFailures(whose, refusal) }
  }

  private static func tooManyFailures(_ whose: String, _ retryAfter: Duration) -> Rejection {
    Rejection(
      .rateLimited, retryAfter: retryAfter, detail: "too many failed logins of \(whose): again in \(retryAfter)")
  }

  /// For the log. Never the name of an unknown user: people type passwords into the wrong field.
  private static func reason(_ account: Account?) -> String {
    guard let user = account?.user else { return "unknown user" }
    return user.isBlocked ? "user \(user.name) is blocked" : "wrong password of user \(user.name)"
  }

  /// Verifies, or waits for who verifies the same.
  private func outcome(
    of attempt: LoginAttempt, _ password: [UInt8], _ exchange: Exchange
  ) async throws -> LoginFlight.Outcome {
    var attempt = attempt
    while true {
      attempt.now = exchange.now
      switch desk.step(attempt, limits) {
      case .lead(let flight):
        try await exchange.runtime.offload(verification(flight, password))
        return flight.outcome
      case .follow(let flight):
        try await exchange.runtime.wait(for: flight.landed)
        return flight.outcome
      case .wait(let turn):
        try await exchange.runtime.wait(for: turn)
      case .refused(let retryAfter):
        throw Self.tooManyFailures("this address or user name", retryAfter)
      }
    }
  }

  private func verification(_ flight: LoginFlight, _ password: [UInt8]) -> @Sendable () -> Void {
    let attempt = flight.attempt
    return desk.verification(of: flight, limits) { [users, remembering] in
      // Blocked and unknown users are verified, too, so that the time does not tell them from a wrong password.
      let hash = try attempt.account?.user.passwordHash ?? users.decoyHash()
      let matches = try users.verifier.verify(password, against: hash)
      guard matches, let account = attempt.account, !account.user.isBlocked else { return false }
      account.remember(attempt.digest, from: attempt.origin, until: attempt.now + remembering)
      return true
    }
  }
}

// MARK: - Kept HTTP connections

extension PasswordAuth {
  /// Who logged in with the very same field on this connection before, while no user was changed: nothing is decoded and
  /// nothing is digested.
  private func remembered(by http: HTTPExchange, _ version: UInt64) -> AuthenticatedUser? {
    http.request.fields.withValue(of: http.credentialsField) { field in
      guard let field else { return nil }
      return http.rememberedIdentity(AuthenticatedUser.self, for: field, by: users, version: version)
    }
  }

  private func remember(_ user: AuthenticatedUser, on http: HTTPExchange, _ version: UInt64) {
    http.request.fields.withValue(of: http.credentialsField) { field in
      guard let field else { return }
      http.rememberIdentity(user, for: field, by: users, version: version, until: http.now + remembering)
    }
  }
}

// MARK: - Component

extension PasswordAuth {
  public var uses: Uses { .password }
  public var state: AnyObject? { desk }

  public var parameters: [Parameter] {
    [
      Parameter("remembering", "\(remembering)"), Parameter("failures-per-user", "\(limits.failuresPerUser)"),
      Parameter("failures-per-address", "\(limits.failuresPerAddress)"), Parameter("half-life", "\(limits.halfLife)"),
    ]
  }

  /// A reload: failures stay counted.
  public mutating func adopt(from old: PasswordAuth) { desk = old.desk }

  /// Forgets what is too old to matter.
  public func run(_ services: any BackgroundServices) async throws {
    while true {
      try await services.sleep(for: min(remembering, limits.halfLife))
      users.forgetExpired(now: services.now)
      desk.forgetOld(limits, now: services.now)
    }
  }
}
