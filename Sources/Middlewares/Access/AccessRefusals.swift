public import Pipeline

// Programs that do not compile, with a sentence that names the culprit. Each overload is worse than every available one.

extension Listener {
  /// `Authorize` with no authenticator in the chain.
  @available(
    *, unavailable,
    message: "Authorize needs an authenticated connection: put an authenticator (PasswordAuth, ...) above it"
  )
  public init<C: ChainElement, D: TransparentElement, V>(
    _ transport: TransportKind<Carrier>, on address: String, name: String? = nil,
    @ChainBuilder<Carrier> chain: () -> C, @DestinationBuilder<Carrier> to destination: () -> D
  ) where Program == Site<Carrier, Identical>, C.Unmet == Authorize<V> {
    fatalError("unavailable")
  }

  /// `DestinationRules(for:)` with no authenticator in the chain.
  @available(
    *, unavailable,
    message:
      "DestinationRules(for:) needs an authenticated connection: put an authenticator (PasswordAuth, ...) above it, or write the same rules for all"
  )
  public init<C: ChainElement, D: TransparentElement, N>(
    _ transport: TransportKind<Carrier>, on address: String, name: String? = nil,
    @ChainBuilder<Carrier> chain: () -> C, @DestinationBuilder<Carrier> to destination: () -> D
  ) where Program == Site<Carrier, Identical>, C.Unmet == DestinationRules<N> {
    fatalError("unavailable")
  }
}

extension Composing {
  /// `Authorize` above the authenticator.
  @available(
    *, unavailable, message: "Authorize needs an authenticated connection: move the authenticator above it"
  )
  public static func buildPartialBlock<A: TransparentElement, B: ChainElement, U, V>(
    accumulated a: A, next b: B
  ) -> Refused<Carrier, Identified<U>>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, B.Needs: MetByNothing, B.Gives == Identified<U>,
    A.Unmet == Authorize<V>
  {
    fatalError("unavailable")
  }

  /// `DestinationRules(for:)` above the authenticator.
  @available(
    *, unavailable, message: "DestinationRules(for:) needs an authenticated connection: move the authenticator above it"
  )
  public static func buildPartialBlock<A: TransparentElement, B: ChainElement, U, N>(
    accumulated a: A, next b: B
  ) -> Refused<Carrier, Identified<U>>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, B.Needs: MetByNothing, B.Gives == Identified<U>,
    A.Unmet == DestinationRules<N>
  {
    fatalError("unavailable")
  }

  /// `Authorize` below an authenticator that gives another identity type.
  @available(
    *, unavailable,
    message:
      "Authorize asks for another identity type than the one that the authenticator above gives: Authorize(role:) fits PasswordAuth, ClientAddressAuth and AnonymousAuth; write Authorize { (user: YourIdentity) in ... } for your own"
  )
  public static func buildPartialBlock<A: ChainElement, B: ChainElement, U, V>(
    accumulated a: A, next b: B
  ) -> Refused<Carrier, Identified<U>>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, A.Gives == Identified<U>, B.Needs: MetByOneIdentity,
    B.Unmet == Authorize<V>
  {
    fatalError("unavailable")
  }
}
