public import Pipeline

// Programs that do not compile, with a sentence that names the culprit. Each overload is worse than every available one.
//
// `DestinationRules` for all needs nothing and names itself all the same (`Unmet` has no "nobody" for one of its forms), so
// the overloads here ask for the forms that do need an identity.

// MARK: - No authenticator at all

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
  public init<C: ChainElement, D: TransparentElement, V>(
    _ transport: TransportKind<Carrier>, on address: String, name: String? = nil,
    @ChainBuilder<Carrier> chain: () -> C, @DestinationBuilder<Carrier> to destination: () -> D
  ) where Program == Site<Carrier, Identical>, C.Unmet == DestinationRules<Exactly<V>> {
    fatalError("unavailable")
  }

  /// `DestinationRules(forEach:)` with no authenticator in the chain.
  @available(
    *, unavailable,
    message:
      "DestinationRules(forEach:) needs an authenticated connection: put an authenticator (PasswordAuth, ...) above it, or write the same rules for all"
  )
  public init<C: ChainElement, D: TransparentElement>(
    _ transport: TransportKind<Carrier>, on address: String, name: String? = nil,
    @ChainBuilder<Carrier> chain: () -> C, @DestinationBuilder<Carrier> to destination: () -> D
  ) where Program == Site<Carrier, Identical>, C.Unmet == DestinationRules<SomeIdentity> {
    fatalError("unavailable")
  }

  /// `Authorize` in a route, with no authenticator in the route or above it.
  @available(
    *, unavailable,
    message:
      "Authorize in a route needs an authenticated connection: put an authenticator (PasswordAuth, ...) above it or above the routes"
  )
  public init<C: TransparentElement, D: TransparentElement, V>(
    _ transport: TransportKind<Carrier>, on address: String, name: String? = nil,
    @ChainBuilder<Carrier> chain: () -> C, @DestinationBuilder<Carrier> to destination: () -> D
  ) where Program == Site<Carrier, Identical>, C.Needs: MetByNothing, D.Unmet == Authorize<V> {
    fatalError("unavailable")
  }
}

// MARK: - The authenticator stands below

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
  public static func buildPartialBlock<A: TransparentElement, B: ChainElement, U, V>(
    accumulated a: A, next b: B
  ) -> Refused<Carrier, Identified<U>>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, B.Needs: MetByNothing, B.Gives == Identified<U>,
    A.Unmet == DestinationRules<Exactly<V>>
  {
    fatalError("unavailable")
  }

  /// `DestinationRules(forEach:)` above the authenticator.
  @available(
    *, unavailable,
    message: "DestinationRules(forEach:) needs an authenticated connection: move the authenticator above it"
  )
  public static func buildPartialBlock<A: TransparentElement, B: ChainElement, U>(
    accumulated a: A, next b: B
  ) -> Refused<Carrier, Identified<U>>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, B.Needs: MetByNothing, B.Gives == Identified<U>,
    A.Unmet == DestinationRules<SomeIdentity>
  {
    fatalError("unavailable")
  }
}

// MARK: - The authenticator gives another identity

extension Composing {
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

  /// `DestinationRules(for:)` below an authenticator that gives another identity type.
  @available(
    *, unavailable,
    message:
      "DestinationRules(for:) names another identity type than the one that the authenticator above gives: name that one, or write DestinationRules(forEach:), which takes every principal"
  )
  public static func buildPartialBlock<A: ChainElement, B: ChainElement, U, V>(
    accumulated a: A, next b: B
  ) -> Refused<Carrier, Identified<U>>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, A.Gives == Identified<U>, B.Needs: MetByOneIdentity,
    B.Unmet == DestinationRules<Exactly<V>>
  {
    fatalError("unavailable")
  }
}
