public import Pipeline

/// What a limit is kept per: one key, or a combination.
///
/// ```swift
/// per: .clientAddress                          // .clientAddress(v4: 24, v6: 48): networks
/// per: .identity                               // needs an authenticator above
/// per: .identity & .route                      // one limit per identity on each route
/// per: .header("x-api-key")                    // HTTP only
/// per: .custom { exchange in exchange.listener.name }
/// ```
/// A combination needs what its parts need: `.identity & .method` an authenticator above, and HTTP.
public struct Per<Key: BucketKey>: Sendable {
  let first: KeyPart
  let rest: [KeyPart]
  /// In the plan, in logs, and as the name of a policy in `RateLimit-Policy`.
  let label: String

  init(_ part: KeyPart, _ label: String) {
    first = part
    rest = []
    self.label = label
  }

  init<A: BucketKey, B: BucketKey>(_ a: Per<A>, _ b: Per<B>) {
    first = a.first
    rest = a.rest + [b.first] + b.rest
    label = a.label + "+" + b.label
  }
}

extension Per where Key == ClientAddressKey {
  /// One limit per IPv4 address, per IPv6 /64 network (what one customer usually has), or per Unix user id. An IPv4-mapped
  /// IPv6 address is the IPv4 address.
  public static var clientAddress: Self { clientAddress(v4: 32, v6: 64) }

  /// One limit per network of so many bits, or per Unix user id.
  ///
  /// - Parameters:
  ///   - v4: 8...32.
  ///   - v6: 16...128. Whoever has a /64 can use 2⁶⁴ addresses: with more than 64 bits such a client is hardly limited.
  public static func clientAddress(v4: Int = 32, v6: Int = 64) -> Self {
    let isUsual = v4 == 32 && v6 == 64
    return Per(.clientAddress(v4: v4, v6: v6), isUsual ? "client-address" : "client-address/\(v4)/\(v6)")
  }
}

extension Per where Key == IdentityKey {
  /// One limit per identity. Needs an authenticator above.
  public static var identity: Self { Per(.identity, "identity") }
}

extension Per {
  /// One limit per identity of the type that the authenticator above gives, so that `overrides: .by { user in user.plan.rate }`
  /// can look at the whole of it.
  public static func identity<User: Identity>(_ type: User.Type) -> Self where Key == TypedIdentityKey<User> {
    Per(.identity, "identity")
  }
}

extension Per where Key == CustomKey {
  /// One limit per value of `key`; an exchange for which it returns `nil` is not limited.
  ///
  /// `.custom("listener") { $0.listener.name }`
  ///
  /// - Parameters:
  ///   - label: in the plan.
  ///   - key: runs on the hot path of every exchange.
  public static func custom<Value: KeyValue>(
    _ label: String = "custom", _ key: @escaping @Sendable (Exchange) -> Value?
  ) -> Self {
    Per(.custom { exchange, seed in key(exchange).map { LimitKey($0, seed: seed) } }, label)
  }
}

extension Per where Key == RequestKey {
  /// One limit per value of `key`; a request for which it returns `nil` is not limited. Only on HTTP.
  ///
  /// `.request("tenant") { $0.pathParameter("tenant") }`
  ///
  /// - Parameters:
  ///   - label: in the plan.
  ///   - key: runs on the hot path of every request.
  public static func request<Value: KeyValue>(
    _ label: String = "request", _ key: @escaping @Sendable (HTTPExchange) -> Value?
  ) -> Self {
    Per(.custom { exchange, seed in key(KeyPart.http(exchange)).map { LimitKey($0, seed: seed) } }, label)
  }
}

extension Per where Key == OptionalIdentityKey {
  /// One limit per principal where an authenticator above has set one, and one that all others share, by name. Needs
  /// nothing: for chains in which some clients log in and others do not.
  public static func optionalIdentity(anonymous name: String = "anonymous") -> Self {
    Per(.optionalIdentity(anonymous: .named(name)), "identity or \(name)")
  }
}

extension Per where Key == DestinationKey {
  /// One limit per host and port that clients ask for. Reads the destination, which ends a SOCKS5 authentication.
  public static var destination: Self { Per(.destination, "destination") }
}

extension Per where Key == GlobalKey {
  /// One limit for all exchanges.
  public static var global: Self { Per(.global, "global") }
}

extension Per where Key == MethodKey {
  /// One limit per request method. Only on HTTP.
  public static var method: Self { Per(.method, "method") }
}

extension Per where Key == RouteKey {
  /// One limit per route that was taken: for a chain that several routes share. Only in a route's chain, and only on HTTP.
  public static var route: Self { Per(.route, "route") }
}

extension Per where Key == HeaderKey {
  /// One limit per value of a request field, compared byte by byte; of several fields of this name the first. Only on HTTP.
  ///
  /// Clients choose what they send: without something that checks the value, a client has as many limits as it likes. Put a
  /// limit per client address above.
  ///
  /// - Parameter absent: whose limit it is when there is no such field.
  public static func header(_ name: HeaderName, absent: AbsentKey = .named("anonymous")) -> Self {
    Per(.header(name, absent: absent.key), "\(name)")
  }
}

/// What happens where a request has nothing to be told apart by.
public struct AbsentKey: Sendable {
  let key: LimitKey?

  /// They share one limit under this name.
  public static func named(_ name: String) -> AbsentKey { AbsentKey(key: .named(name)) }
  /// They are not limited.
  public static var exempt: AbsentKey { AbsentKey(key: nil) }
}

// One overload for each way in which two keys can fit: which transport they need and which identity. Two keys that need an
// identity are not combined: one identity says it all.

/// `.clientAddress & .destination`: one limit per pair.
public func & <A: BucketKey, B: BucketKey>(a: Per<A>, b: Per<B>) -> Per<CombinedKey<A.Carrier, Anyone>>
where A.Carrier == B.Carrier, A.Needs == Anyone, B.Needs == Anyone { Per(a, b) }

/// `.identity & .destination`: one limit per pair.
public func & <A: BucketKey, B: BucketKey>(a: Per<A>, b: Per<B>) -> Per<CombinedKey<A.Carrier, A.Needs>>
where A.Carrier == B.Carrier, B.Needs == Anyone { Per(a, b) }

/// `.destination & .identity`: one limit per pair.
public func & <A: BucketKey, B: BucketKey>(a: Per<A>, b: Per<B>) -> Per<CombinedKey<A.Carrier, B.Needs>>
where A.Carrier == B.Carrier, A.Needs == Anyone { Per(a, b) }

/// `.clientAddress & .method`: one limit per pair, on HTTP.
public func & <A: BucketKey, B: BucketKey>(a: Per<A>, b: Per<B>) -> Per<CombinedKey<HTTPExchange, Anyone>>
where A.Carrier == Exchange, B.Carrier == HTTPExchange, A.Needs == Anyone, B.Needs == Anyone { Per(a, b) }

/// `.identity & .route`: one limit per pair, on HTTP.
public func & <A: BucketKey, B: BucketKey>(a: Per<A>, b: Per<B>) -> Per<CombinedKey<HTTPExchange, A.Needs>>
where A.Carrier == Exchange, B.Carrier == HTTPExchange, B.Needs == Anyone { Per(a, b) }

/// `.method & .clientAddress`: one limit per pair, on HTTP.
public func & <A: BucketKey, B: BucketKey>(a: Per<A>, b: Per<B>) -> Per<CombinedKey<HTTPExchange, Anyone>>
where A.Carrier == HTTPExchange, B.Carrier == Exchange, A.Needs == Anyone, B.Needs == Anyone { Per(a, b) }

/// `.route & .identity`: one limit per pair, on HTTP.
public func & <A: BucketKey, B: BucketKey>(a: Per<A>, b: Per<B>) -> Per<CombinedKey<HTTPExchange, B.Needs>>
where A.Carrier == HTTPExchange, B.Carrier == Exchange, A.Needs == Anyone { Per(a, b) }

/// `.identity & .route & .destination`: one limit per triple, on HTTP.
public func & <A: BucketKey, B: BucketKey>(a: Per<A>, b: Per<B>) -> Per<CombinedKey<HTTPExchange, A.Needs>>
where A.Carrier == HTTPExchange, B.Carrier == Exchange, B.Needs == Anyone { Per(a, b) }
