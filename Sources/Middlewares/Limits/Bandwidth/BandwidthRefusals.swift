public import Pipeline

// Programs that do not compile, with a sentence that names the culprit. Each overload is worse than every available one.

extension Listener {
  /// `Bandwidth(per: .identity)` with no authenticator in the chain.
  @available(
    *, unavailable,
    message:
      "Bandwidth(per: .identity) needs an authenticated connection: put an authenticator (PasswordAuth, ...) above it, or use per: .clientAddress"
  )
  public init<C: ChainElement, D: TransparentElement>(
    _ transport: TransportKind<Carrier>, on address: String, name: String? = nil,
    @ChainBuilder<Carrier> chain: () -> C, @DestinationBuilder<Carrier> to destination: () -> D
  ) where Program == Site<Carrier, Identical>, C.Unmet == Bandwidth<IdentityKey> {
    fatalError("unavailable")
  }

  /// `Bandwidth per a key with .identity` with no authenticator in the chain.
  @available(
    *, unavailable,
    message:
      "Bandwidth per a key with .identity needs an authenticated connection: put an authenticator (PasswordAuth, ...) above it, or use per: .clientAddress"
  )
  public init<C: ChainElement, D: TransparentElement, K: BucketKey>(
    _ transport: TransportKind<Carrier>, on address: String, name: String? = nil,
    @ChainBuilder<Carrier> chain: () -> C, @DestinationBuilder<Carrier> to destination: () -> D
  ) where Program == Site<Carrier, Identical>, C.Unmet == Bandwidth<K> {
    fatalError("unavailable")
  }
}

extension Composing {
  /// `Bandwidth(per: .identity)` above the authenticator.
  @available(
    *, unavailable,
    message:
      "Bandwidth(per: .identity) needs an authenticated connection: move the authenticator above it, or use per: .clientAddress"
  )
  public static func buildPartialBlock<A: TransparentElement, B: ChainElement, U>(
    accumulated a: A, next b: B
  ) -> Refused<Carrier, Identified<U>>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, B.Needs: MetByNothing, B.Gives == Identified<U>,
    A.Unmet == Bandwidth<IdentityKey>
  {
    fatalError("unavailable")
  }

  /// `Bandwidth per a key with .identity` above the authenticator.
  @available(
    *, unavailable,
    message:
      "Bandwidth per a key with .identity needs an authenticated connection: move the authenticator above it, or use per: .clientAddress"
  )
  public static func buildPartialBlock<A: TransparentElement, B: ChainElement, U, K: BucketKey>(
    accumulated a: A, next b: B
  ) -> Refused<Carrier, Identified<U>>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, B.Needs: MetByNothing, B.Gives == Identified<U>,
    A.Unmet == Bandwidth<K>
  {
    fatalError("unavailable")
  }
}

extension ChainBuilder {
  /// `Bandwidth(per: .header(…))` on SOCKS5, TCP, or in a chain for all of them.
  @available(
    *, unavailable,
    message:
      "Bandwidth per a header, method, route or request works on HTTP exchanges only: use another key here, or a Listener(.http, ...)"
  )
  public static func buildExpression<K: BucketKey>(
    _ element: Bandwidth<K>
  ) -> Refused<Carrier, Unchanged> where K.Carrier == HTTPExchange {
    fatalError("unavailable")
  }
}
