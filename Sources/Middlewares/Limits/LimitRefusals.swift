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
}
