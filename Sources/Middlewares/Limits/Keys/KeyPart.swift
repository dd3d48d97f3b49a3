internal import Pipeline

/// One part of a key, as it is read from an exchange.
enum KeyPart: Sendable {
  case clientAddress(v4: Int, v6: Int)
  case identity
  case optionalIdentity(anonymous: LimitKey)
  case destination
  case global
  case custom(@Sendable (Exchange, KeySeed) -> LimitKey?)
  case method
  case route
  /// `absent`: the key where there is no such field; `nil`: not limited.
  case header(HeaderName, absent: LimitKey?)

  /// What a request with no route is kept under; validation refuses the key where that could be.
  private static let noRoute = LimitKey.named("no route")

  /// `nil`: not limited.
  ///
  /// - Parameters:
  ///   - principal: of the identity that the key needs.
  ///   - destination: where the key reads it.
  func key(of exchange: Exchange, _ principal: Principal?, _ destination: Endpoint?, _ seed: KeySeed) -> LimitKey? {
    switch self {
    case .clientAddress(let v4, let v6): LimitKey(exchange.client, v4: v4, v6: v6, seed: seed)
    case .identity: principal.map { Self.identity($0.id, seed) }
    case .optionalIdentity(let anonymous): exchange.principal.map { Self.identity($0.id, seed) } ?? anonymous
    case .destination: destination.map { Self.destination($0, seed) }
    case .global: .global
    case .custom(let key): key(exchange, seed)
    case .method: Self.text(Self.http(exchange).request.method.name, .method, seed)
    case .route: Self.http(exchange).route.map { Self.text($0.name, .route, seed) } ?? Self.noRoute
    case .header(let name, let absent):
      Self.http(exchange).request.fields.withValue(of: name) { value in
        guard let value else { return absent }
        var hash = KeyHash(.header, seed)
        hash.add(value)
        return hash.key()
      }
    }
  }

  // Sound because the keys that read a request are HTTP keys: their limits stand in HTTP chains only.
  static func http(_ exchange: Exchange) -> HTTPExchange { unsafeDowncast(exchange, to: HTTPExchange.self) }

  private static func identity(_ id: String, _ seed: KeySeed) -> LimitKey { text(id, .identity, seed) }

  private static func destination(_ endpoint: Endpoint, _ seed: KeySeed) -> LimitKey {
    var hash = KeyHash(.destination, seed)
    endpoint.add(to: &hash)
    return hash.key()
  }

  private static func text(_ text: String, _ domain: KeyHash.Domain, _ seed: KeySeed) -> LimitKey {
    var hash = KeyHash(domain, seed)
    hash.add(text)
    return hash.key()
  }

  /// Whether the key depends on the seed.
  var isHashed: Bool {
    switch self {
    case .clientAddress(_, let v6): v6 > 64
    case .global: false
    case .identity, .optionalIdentity, .destination, .custom, .method, .route, .header: true
    }
  }

  var readsDestination: Bool { if case .destination = self { true } else { false } }

  func validate(into problems: inout Problems) {
    switch self {
    case .clientAddress(let v4, let v6):
      if !(8...32).contains(v4) { problems.refuse("networks of \(v4) bits for IPv4: 8 to 32 are allowed") }
      if !(16...128).contains(v6) { problems.refuse("networks of \(v6) bits for IPv6: 16 to 128 are allowed") }
    case .route:
      if !problems.isInRoute {
        problems.refuse("per: .route stands above the routes, where none is known yet: move it into a route's chain")
      }
    case .identity, .optionalIdentity, .destination, .global, .custom, .method, .header: break
    }
  }
}

// MARK: - The keys of the names in an override

extension KeyPart {
  /// The key under which this part would find what is named; `nil` where it is no key of this part.
  func key(named name: KeyName, _ seed: KeySeed) -> LimitKey? {
    switch (self, name.kind) {
    case (.identity, .identity(let id)), (.optionalIdentity, .identity(let id)): Self.identity(id, seed)
    case (.clientAddress(let v4, let v6), .address(let text)):
      IPAddress(text).map { LimitKey($0, v4: v4, v6: v6, seed: seed) }
    case (.clientAddress, .unixUser(let uid)): LimitKey(ClientAddress(.unix(uid: uid)))
    case (.destination, .destination(let text)): Endpoint(text).map { Self.destination($0, seed) }
    case (.method, .value(let text)): Self.text(text, .method, seed)
    case (.header, .value(let text)): Self.text(text, .header, seed)
    case (.custom, .value(let text)): LimitKey(text, seed: seed)
    case (.route, .route(let name)): Self.text(name, .route, seed)
    case (.optionalIdentity, .named(let text)), (.header, .named(let text)): .named(text)
    case (.clientAddress, _), (.identity, _), (.optionalIdentity, _), (.destination, _), (.global, _), (.custom, _),
      (.method, _), (.route, _), (.header, _):
      nil
    }
  }
}
