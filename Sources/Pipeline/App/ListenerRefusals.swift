// What cannot be joined to a listener. `Program == Site<Carrier, Identical>` makes these worse than every available
// overload. Overloads that name the culprit stand beside the middlewares that they name.
extension Listener {
  @available(
    *, unavailable,
    message:
      "a middleware in this chain needs an identity, and no authenticator stands above it: put one above (PasswordAuth, BearerAuth, ...)"
  )
  public init<C: ChainElement, D: TransparentElement>(
    _ transport: TransportKind<Carrier>, on address: String, name: String? = nil,
    @Chained chain: () -> C, @Ended to destination: () -> D
  ) where Program == Site<Carrier, Identical> {
    fatalError("unavailable")
  }

  @available(
    *, unavailable,
    message:
      "this destination, or a route in it, needs an identity, and no authenticator stands in the chain: add one (PasswordAuth, BearerAuth, ...)"
  )
  public init<C: TransparentElement, D: TransparentElement>(
    _ transport: TransportKind<Carrier>, on address: String, name: String? = nil,
    @Chained chain: () -> C, @Ended to destination: () -> D
  ) where Program == Site<Carrier, Identical>, C.Needs: MetByNothing {
    fatalError("unavailable")
  }

  @available(
    *, unavailable, message: "this destination needs another identity type than the one that the authenticator gives"
  )
  public init<C: ChainElement, D: TransparentElement, U>(
    _ transport: TransportKind<Carrier>, on address: String, name: String? = nil,
    @Chained chain: () -> C, @Ended to destination: () -> D
  )
  where
    Program == Site<Carrier, Identical>, C.Gives == Identified<U>, C.Needs: MetByNothing, D.Needs: MetByOneIdentity
  {
    fatalError("unavailable")
  }
}
