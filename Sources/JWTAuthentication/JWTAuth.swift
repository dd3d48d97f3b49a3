public import Middlewares
public import Pipeline

/// Takes a JSON Web Token (RFC 7519) of `authorization: Bearer …` (RFC 6750) for who its client is, and gives a
/// ``JWTUser``.
///
/// ```swift
/// JWTAuth(.keys(try .hs256(secret: secret)), .init(issuers: ["https://issuer.example"], audiences: ["api"]))
/// JWTAuth(.file("/etc/sluice/jwks.json"), .init(audiences: ["api"]))
/// JWTAuth(.url(HTTPOrigin("10.0.0.5:80"), "/.well-known/jwks.json"), .init(audiences: ["api"]))
/// ```
/// HS256, RS256, ES256 and EdDSA (Ed25519), each with keys of its own; `none` and everything else is refused. Where
/// the client speaks to a forward proxy, `proxy-authorization` is read.
///
/// The client sees 401 (407 from a forward proxy) with `WWW-Authenticate: Bearer`, with `error="invalid_token"` when
/// it sent one, whatever is wrong with it: the log says what. Without keys: 503. Two fields of credentials are a 400. The
/// field ends here unless `forwardsCredentials` says that the upstream gets it. `Authorize(scopes:)` below asks for
/// `scope`.
///
/// The first request with a token costs one verification, on the loop: about 5 µs for HS256, 30 µs for RS256, 90 µs
/// for ES256 and 140 µs for Ed25519. The same field again on a kept connection costs one comparison and no allocation,
/// until the token expires, the keys change or `remembering` is over.
public struct JWTAuth: Authenticator {
  public typealias Carrier = HTTPExchange

  public let requirements: JWTRequirements
  /// How long a connection remembers a token that it has verified; no longer than the token is good.
  public let remembering: Duration
  private let source: JWTKeySource
  private let clock: WallClock
  private let challenge: String
  private let invalidToken: String
  private let realm: String
  private let forwardsCredentials: Bool
  private(set) var ring: KeyRing

  /// - Parameters:
  ///   - source: where the keys come from.
  ///   - requirements: what a token must say.
  ///   - realm: of the challenge: printable ASCII without `"` and `\`.
  ///   - remembering: how long a kept connection remembers a verified token: 0 seconds to 1 hour. A jump of the wall
  ///     clock is noticed so much later.
  ///   - forwardsCredentials: whether the upstream of a reverse proxy gets the field that was used here.
  ///   - clock: for `exp`, `nbf` and `iat`.
  public init(
    _ source: JWTKeySource, _ requirements: JWTRequirements = JWTRequirements(), realm: String = "proxy",
    remembering: Duration = .seconds(300), forwardsCredentials: Bool = false, clock: WallClock = .system
  ) {
    self.source = source
    self.requirements = requirements
    self.remembering = remembering
    self.clock = clock
    self.realm = realm
    self.forwardsCredentials = forwardsCredentials
    challenge = "Bearer realm=\"\(realm)\""
    invalidToken = challenge + ", error=\"invalid_token\""
    ring = KeyRing(source)
  }

  public func authenticate(_ exchange: HTTPExchange) async throws -> JWTUser {
    exchange.challenge = challenge
    try exchange.requireOneCredentialsField()
    let user = try await user(of: exchange)
    if !forwardsCredentials { exchange.withholdCredentials() }
    return user
  }

  private func user(of exchange: HTTPExchange) async throws -> JWTUser {
    if ring.isDue(exchange.now) { _ = try await keys(exchange, unknownKey: false) }
    // Before the verification: keys that change meanwhile make what is remembered worthless.
    let version = ring.version
    if let user = remembered(by: exchange, version) { return user }
    guard let token = Self.token(of: exchange) else {
      throw Rejection(.credentialsRequired, detail: "the client sent no bearer token")
    }
    do {
      let user = JWTUser(try await verify(token, exchange))
      remember(user, on: exchange, version)
      return user
    } catch let problem as JWTProblem {
      exchange.challenge = invalidToken
      throw Rejection(.credentialsInvalid, detail: "the token is refused: \(problem)")
    }
  }

  private func verify(_ token: [UInt8], _ exchange: HTTPExchange) async throws -> JWTClaims {
    let keys = try await keys(exchange, unknownKey: false)
    do {
      return try JWTVerifier(keys, requirements).verify(token, now: clock.now)
    } catch JWTProblem.unknownKey {
      // The issuer may have new ones.
      let newer = try await self.keys(exchange, unknownKey: true)
      return try JWTVerifier(newer, requirements).verify(token, now: clock.now)
    }
  }

  // MARK: - Keys

  private func keys(_ exchange: HTTPExchange, unknownKey: Bool) async throws -> JWKSet {
    var unknownKey = unknownKey
    // Again when the one that fetched for all was cut.
    for _ in 0..<4 {
      switch ring.step(exchange.now, unknownKey: unknownKey, refresh) {
      case .use(let keys): return keys
      case .fetch:
        try await fetch(exchange)
        unknownKey = false
      case .wait(let signal):
        try await exchange.runtime.wait(for: signal)
        unknownKey = false
      case .none: throw Rejection(.overloaded, detail: "jwt-auth: there are no keys from \(source.description)")
      }
    }
    throw Rejection(.overloaded, detail: "jwt-auth: the keys could not be fetched in four attempts")
  }

  private var refresh: KeyRefresh? {
    if case .url(_, _, let refresh) = source.kind { refresh } else { nil }
  }

  /// - Throws: only what ends this very exchange; a fetch that fails is reported to the ring.
  private func fetch(_ exchange: HTTPExchange) async throws {
    guard case .url(let client, let target, let refresh) = source.kind else { return }
    let outer = exchange.deadline
    let mine = exchange.now + refresh.timeout
    if mine < outer { exchange.deadline = mine }
    defer { exchange.deadline = outer }
    let message: String?
    do {
      var fields = HeaderFields()
      fields.set("accept", "application/jwk-set+json, application/json")
      let response = try await client.send(.get, target, fields, on: exchange, atMost: JWKSet.maxBytes)
      guard response.status == 200 else { throw JWTKeyError("the answer is \(response.status), not 200") }
      let set = try JWKSet(json: response.body, allowsSecrets: false)
      message = ring.fetched(set, response.body, exchange.now, refresh)
    } catch {
      if Self.endsTheExchange(error, outer) {
        ring.abandoned()
        throw error
      }
      message = ring.failed("\(error)", exchange.now, refresh)
    }
    if let message { exchange.runtime.log(.warning, "jwt-auth: \(source.description): \(message)") }
  }

  /// Whether it is not the fetch that failed.
  private static func endsTheExchange(_ error: any Error, _ outer: Instant) -> Bool {
    switch error {
    case let exceeded as DeadlineExceeded: exceeded.deadline == outer
    case let rejection as Rejection: rejection.kind == .clientGone || rejection.kind == .draining
    default: error is CancellationError
    }
  }
}

// MARK: - The field

extension JWTAuth {
  /// The token of the first field; `nil` without one, or with another scheme.
  private static func token(of exchange: HTTPExchange) -> [UInt8]? {
    exchange.request.fields.withValue(of: exchange.credentialsField) { value in
      guard let value, value.count > 7 else { return nil }
      let scheme: StaticString = "bearer "
      let isBearer = scheme.withUTF8Buffer { name in
        for i in 0..<name.count where value[i] | 0x20 != name[i] { return false }
        return true
      }
      guard isBearer else { return nil }
      var begin = 7
      while begin < value.count, value[begin] == 32 { begin += 1 }
      var token: [UInt8] = []
      token.reserveCapacity(value.count - begin)
      for i in begin..<value.count { token.append(value[i]) }
      return token
    }
  }

  private func remembered(by exchange: HTTPExchange, _ version: UInt64) -> JWTUser? {
    exchange.request.fields.withValue(of: exchange.credentialsField) { field in
      guard let field else { return nil }
      return exchange.rememberedIdentity(JWTUser.self, for: field, by: ring, version: version)
    }
  }

  private func remember(_ user: JWTUser, on exchange: HTTPExchange, _ version: UInt64) {
    var time = remembering
    if let expiresAt = user.claims.expiresAt {
      let now = clock.now
      let left = expiresAt + requirements.leeway.inSeconds - Double(now.seconds) - Double(now.nanoseconds) / 1e9
      time = min(time, .nanoseconds(Int64(max(0, min(left, 3600)) * 1e9)))
    }
    let expiry = exchange.now + time
    exchange.request.fields.withValue(of: exchange.credentialsField) { field in
      guard let field else { return }
      exchange.rememberIdentity(user, for: field, by: ring, version: version, until: expiry)
    }
  }
}

// MARK: - Component

extension JWTAuth {
  public static var label: String { "jwt-auth" }
  public var state: AnyObject? { ring }

  public var parameters: [Parameter] {
    [
      Parameter("keys", source.description),
      Parameter("issuers", requirements.issuers.sorted().joined(separator: ", ")),
      Parameter("audiences", requirements.audiences.sorted().joined(separator: ", ")),
      Parameter("leeway", "\(requirements.leeway)"),
    ]
  }

  public func validate(into problems: inout Problems) {
    if !(Duration.zero...(.seconds(300))).contains(requirements.leeway) {
      problems.refuse("leeway of \(requirements.leeway): 0 to 300 seconds are allowed")
    }
    if !(Duration.zero...(.seconds(3600))).contains(remembering) {
      problems.refuse("remembering of \(remembering): 0 seconds to 1 hour are allowed")
    }
    if !(64...65_536).contains(requirements.maxBytes) {
      problems.refuse("maxBytes of \(requirements.maxBytes): 64 to 65536 are allowed")
    }
    if realm.utf8.contains(where: { $0 < 32 || $0 > 126 || $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "\\") }) {
      problems.refuse("realm \"\(realm)\": printable ASCII without quotation marks and backslashes is allowed")
    }
    switch source.kind {
    case .fixed(let keys): if keys.isEmpty { problems.refuse("no key: at least one is needed") }
    case .file(let path, let every):
      if every < .seconds(1) { problems.refuse("\(path) every \(every): 1 second or more is allowed") }
      do {
        let json = try KeyFile.read(path)
        _ = ring.loaded(try JWKSet(json: json, allowsSecrets: true), json)
      } catch {
        problems.refuse("\(path): \(error)")
      }
    case .url(_, _, let refresh):
      for (name, time) in [("every", refresh.every), ("pause", refresh.pause)] where time < .seconds(1) {
        problems.refuse("a refresh with \(name) of \(time): 1 second or more is allowed")
      }
      if refresh.timeout <= .zero { problems.refuse("a timeout of \(refresh.timeout): it must be more than 0 seconds") }
    }
  }

  /// Reads the file again when it has changed.
  public func run(_ services: any BackgroundServices) async throws {
    guard case .file(let path, let every) = source.kind else { return }
    while true {
      try await services.sleep(for: every)
      let message: String?
      do {
        let json = try await services.offload { try KeyFile.read(path) }
        message = ring.loaded(try JWKSet(json: json, allowsSecrets: true), json)
      } catch let error as JWTKeyError {
        message = ring.notLoaded("\(error)")
      }
      if let message { services.log(.warning, "jwt-auth: \(path): \(message)") }
    }
  }

  /// A reload: keys of the same source stay, so that the new chain need not fetch them first.
  public mutating func adopt(from old: JWTAuth) {
    switch (source.kind, old.source.kind) {
    case (.url, .url), (.file, .file): if source.description == old.source.description { ring = old.ring }
    case (.fixed, _), (.url, _), (.file, _): break
    }
  }
}
