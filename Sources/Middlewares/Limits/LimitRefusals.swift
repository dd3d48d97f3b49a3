public import Pipeline

// Programs that do not compile, with a sentence that names the culprit. Each overload is worse than every available one.

extension Listener {
  /// `TokenBucket(per: .identity)` with no authenticator in the chain.
  @available(
    *, unavailable,
    message:
      "TokenBucket(per: .identity) needs an authenticated connection: put an authenticator (PasswordAuth, ...) above it, or use per: .clientAddress"
  )
  public init<C: ChainElement, D: TransparentElement>(
    _ transport: TransportKind<Carrier>, on address: String, name: String? = nil,
    @ChainBuilder<Carrier> chain: () -> C, @DestinationBuilder<Carrier> to destination: () -> D
  ) where Program == Site<Carrier, Identical>, C.Unmet == TokenBucket<IdentityKey> {
    fatalError("unavailable")
  }

  /// `TokenBucket per a key with .identity` with no authenticator in the chain.
  @available(
    *, unavailable,
    message:
      "TokenBucket per a key with .identity needs an authenticated connection: put an authenticator (PasswordAuth, ...) above it, or use per: .clientAddress"
  )
  public init<C: ChainElement, D: TransparentElement, K: BucketKey>(
    _ transport: TransportKind<Carrier>, on address: String, name: String? = nil,
    @ChainBuilder<Carrier> chain: () -> C, @DestinationBuilder<Carrier> to destination: () -> D
  ) where Program == Site<Carrier, Identical>, C.Unmet == TokenBucket<K> {
    fatalError("unavailable")
  }

  /// `ConcurrencyLimit(per: .identity)` with no authenticator in the chain.
  @available(
    *, unavailable,
    message:
      "ConcurrencyLimit(per: .identity) needs an authenticated connection: put an authenticator (PasswordAuth, ...) above it, or use per: .clientAddress"
  )
  public init<C: ChainElement, D: TransparentElement>(
    _ transport: TransportKind<Carrier>, on address: String, name: String? = nil,
    @ChainBuilder<Carrier> chain: () -> C, @DestinationBuilder<Carrier> to destination: () -> D
  ) where Program == Site<Carrier, Identical>, C.Unmet == ConcurrencyLimit<IdentityKey> {
    fatalError("unavailable")
  }

  /// `ConcurrencyLimit per a key with .identity` with no authenticator in the chain.
  @available(
    *, unavailable,
    message:
      "ConcurrencyLimit per a key with .identity needs an authenticated connection: put an authenticator (PasswordAuth, ...) above it, or use per: .clientAddress"
  )
  public init<C: ChainElement, D: TransparentElement, K: BucketKey>(
    _ transport: TransportKind<Carrier>, on address: String, name: String? = nil,
    @ChainBuilder<Carrier> chain: () -> C, @DestinationBuilder<Carrier> to destination: () -> D
  ) where Program == Site<Carrier, Identical>, C.Unmet == ConcurrencyLimit<K> {
    fatalError("unavailable")
  }

  /// `RateLimit(per: .identity)` with no authenticator in the chain.
  @available(
    *, unavailable,
    message:
      "RateLimit(per: .identity) needs an authenticated connection: put an authenticator (PasswordAuth, ...) above it, or use per: .clientAddress"
  )
  public init<C: ChainElement, D: TransparentElement, Store: LimitStore & AnyObject>(
    _ transport: TransportKind<Carrier>, on address: String, name: String? = nil,
    @ChainBuilder<Carrier> chain: () -> C, @DestinationBuilder<Carrier> to destination: () -> D
  ) where Program == Site<Carrier, Identical>, C.Unmet == RateLimit<IdentityKey, Store> {
    fatalError("unavailable")
  }

  /// `RateLimit per a key with .identity` with no authenticator in the chain.
  @available(
    *, unavailable,
    message:
      "RateLimit per a key with .identity needs an authenticated connection: put an authenticator (PasswordAuth, ...) above it, or use per: .clientAddress"
  )
  public init<C: ChainElement, D: TransparentElement, K: BucketKey, Store: LimitStore & AnyObject>(
    _ transport: TransportKind<Carrier>, on address: String, name: String? = nil,
    @ChainBuilder<Carrier> chain: () -> C, @DestinationBuilder<Carrier> to destination: () -> D
  ) where Program == Site<Carrier, Identical>, C.Unmet == RateLimit<K, Store> {
    fatalError("unavailable")
  }
}

extension Composing {
  /// `TokenBucket(per: .identity)` above the authenticator.
  @available(
    *, unavailable,
    message:
      "TokenBucket(per: .identity) needs an authenticated connection: move the authenticator above it, or use per: .clientAddress"
  )
  public static func buildPartialBlock<A: TransparentElement, B: ChainElement, U>(
    accumulated a: A, next b: B
  ) -> Refused<Carrier, Identified<U>>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, B.Needs: MetByNothing, B.Gives == Identified<U>,
    A.Unmet == TokenBucket<IdentityKey>
  {
    fatalError("unavailable")
  }

  /// `TokenBucket per a key with .identity` above the authenticator.
  @available(
    *, unavailable,
    message:
      "TokenBucket per a key with .identity needs an authenticated connection: move the authenticator above it, or use per: .clientAddress"
  )
  public static func buildPartialBlock<A: TransparentElement, B: ChainElement, U, K: BucketKey>(
    accumulated a: A, next b: B
  ) -> Refused<Carrier, Identified<U>>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, B.Needs: MetByNothing, B.Gives == Identified<U>,
    A.Unmet == TokenBucket<K>
  {
    fatalError("unavailable")
  }

  /// `ConcurrencyLimit(per: .identity)` above the authenticator.
  @available(
    *, unavailable,
    message:
      "ConcurrencyLimit(per: .identity) needs an authenticated connection: move the authenticator above it, or use per: .clientAddress"
  )
  public static func buildPartialBlock<A: TransparentElement, B: ChainElement, U>(
    accumulated a: A, next b: B
  ) -> Refused<Carrier, Identified<U>>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, B.Needs: MetByNothing, B.Gives == Identified<U>,
    A.Unmet == ConcurrencyLimit<IdentityKey>
  {
    fatalError("unavailable")
  }

  /// `ConcurrencyLimit per a key with .identity` above the authenticator.
  @available(
    *, unavailable,
    message:
      "ConcurrencyLimit per a key with .identity needs an authenticated connection: move the authenticator above it, or use per: .clientAddress"
  )
  public static func buildPartialBlock<A: TransparentElement, B: ChainElement, U, K: BucketKey>(
    accumulated a: A, next b: B
  ) -> Refused<Carrier, Identified<U>>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, B.Needs: MetByNothing, B.Gives == Identified<U>,
    A.Unmet == ConcurrencyLimit<K>
  {
    fatalError("unavailable")
  }

  /// `RateLimit(per: .identity)` above the authenticator.
  @available(
    *, unavailable,
    message:
      "RateLimit(per: .identity) needs an authenticated connection: move the authenticator above it, or use per: .clientAddress"
  )
  public static func buildPartialBlock<A: TransparentElement, B: ChainElement, U, Store: LimitStore & AnyObject>(
    accumulated a: A, next b: B
  ) -> Refused<Carrier, Identified<U>>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, B.Needs: MetByNothing, B.Gives == Identified<U>,
    A.Unmet == RateLimit<IdentityKey, Store>
  {
    fatalError("unavailable")
  }

  /// `RateLimit per a key with .identity` above the authenticator.
  @available(
    *, unavailable,
    message:
      "RateLimit per a key with .identity needs an authenticated connection: move the authenticator above it, or use per: .clientAddress"
  )
  public static func buildPartialBlock<
    A: TransparentElement, B: ChainElement, U, K: BucketKey, Store: LimitStore & AnyObject
  >(
    accumulated a: A, next b: B
  ) -> Refused<Carrier, Identified<U>>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, B.Needs: MetByNothing, B.Gives == Identified<U>,
    A.Unmet == RateLimit<K, Store>
  {
    fatalError("unavailable")
  }
}

// A key that only a request has, where there is none.
extension ChainBuilder {
  /// `TokenBucket(per: .header(…))` on SOCKS5, TCP, or in a chain for all of them.
  @available(
    *, unavailable,
    message:
      "TokenBucket per a header, method, route or request works on HTTP exchanges only: use another key here, or a Listener(.http, ...)"
  )
  public static func buildExpression<K: BucketKey>(
    _ element: TokenBucket<K>
  ) -> Refused<Carrier, Unchanged> where K.Carrier == HTTPExchange {
    fatalError("unavailable")
  }

  /// `ConcurrencyLimit(per: .header(…))` on SOCKS5, TCP, or in a chain for all of them.
  @available(
    *, unavailable,
    message:
      "ConcurrencyLimit per a header, method, route or request works on HTTP exchanges only: use another key here, or a Listener(.http, ...)"
  )
  public static func buildExpression<K: BucketKey>(
    _ element: ConcurrencyLimit<K>
  ) -> Refused<Carrier, Unchanged> where K.Carrier == HTTPExchange {
    fatalError("unavailable")
  }

  /// `RateLimit(per: .header(…))` on SOCKS5, TCP, or in a chain for all of them.
  @available(
    *, unavailable,
    message:
      "RateLimit per a header, method, route or request works on HTTP exchanges only: use another key here, or a Listener(.http, ...)"
  )
  public static func buildExpression<K: BucketKey, Store: LimitStore & AnyObject>(
    _ element: RateLimit<K, Store>
  ) -> Refused<Carrier, Unchanged> where K.Carrier == HTTPExchange {
    fatalError("unavailable")
  }
}
