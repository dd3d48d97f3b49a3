// What cannot be joined. Each overload is worse than every available one, so it is chosen only where none fits; it returns
// `Refused`, so that one mistake makes one error. `buildPartialBlock` is reported at the brace, so the sentences name the
// rule; overloads that name the culprit stand beside the middlewares that they name.
extension Composing {
  @available(
    *, unavailable,
    message: "a middleware above this authenticator needs the identity that it gives: move the authenticator up"
  )
  public static func buildPartialBlock<A: TransparentElement, B: ChainElement, U>(accumulated a: A, next b: B)
    -> Refused<Carrier, Identified<U>>
  where A.Carrier == Carrier, B.Carrier == Carrier, B.Needs: MetByNothing, B.Gives == Identified<U> {
    fatalError("unavailable")
  }

  @available(
    *, unavailable,
    message: "this middleware needs another identity type than the one that the authenticator above gives"
  )
  public static func buildPartialBlock<A: ChainElement, B: ChainElement, U>(accumulated a: A, next b: B) -> Refused<
    Carrier, Identified<U>
  >
  where A.Carrier == Carrier, B.Carrier == Carrier, A.Gives == Identified<U>, B.Needs: MetByOneIdentity {
    fatalError("unavailable")
  }

  @available(
    *, unavailable,
    message:
      "the branches of this `if`/`else` need different identities: use one `if` for each, or make every branch ask for the same identity type"
  )
  public static func buildPartialBlock<A: ChainElement, B: ChainElement>(accumulated a: A, next b: B) -> Refused<
    Carrier, A.Gives
  > {
    fatalError("unavailable")
  }

  // The same sentence for an `if`/`else` itself, which the overload above and the one for unequal branches both take.
  @available(
    *, unavailable,
    message:
      "the branches of this `if`/`else` need different identities: use one `if` for each, or make every branch ask for the same identity type"
  )
  public static func buildPartialBlock<A: ChainElement, P: ChainElement, Q: ChainElement>(
    accumulated a: A, next b: Either<P, Q>
  ) -> Refused<Carrier, A.Gives> where P.Carrier == Q.Carrier, P.Gives == Q.Gives {
    fatalError("unavailable")
  }

  @available(
    *, unavailable,
    message:
      "an authenticator in an `if` without `else` would leave the elements below without an identity: add an `else` that authenticates, too"
  )
  public static func buildPartialBlock<A: ChainElement, E: ChainElement>(accumulated a: A, next b: When<E>) -> Refused<
    Carrier, E.Gives
  > {
    fatalError("unavailable")
  }

  @available(
    *, unavailable,
    message:
      "an authenticator in an `if` without `else` would leave the elements below without an identity: add an `else` that authenticates, too"
  )
  public static func buildPartialBlock<E: ChainElement>(first b: When<E>) -> Refused<Carrier, E.Gives> {
    fatalError("unavailable")
  }

  @available(
    *, unavailable,
    message:
      "an authenticator cannot stand in a `for`: there may be no element, or several identities; write it once, outside"
  )
  public static func buildArray<E: ChainElement>(_ elements: [E]) -> Refused<Carrier, E.Gives> {
    fatalError("unavailable")
  }

  @available(
    *, unavailable,
    message:
      "one branch of this `if`/`else` authenticates and the other does not, or they give different identity types: let both branches give the same identity type"
  )
  public static func buildPartialBlock<A: ChainElement, P: ChainElement, Q: ChainElement>(
    accumulated a: A, next b: Either<P, Q>
  ) -> Refused<Carrier, P.Gives> {
    fatalError("unavailable")
  }

  @available(
    *, unavailable,
    message:
      "one branch of this `if`/`else` authenticates and the other does not, or they give different identity types: let both branches give the same identity type"
  )
  public static func buildPartialBlock<P: ChainElement, Q: ChainElement>(first b: Either<P, Q>) -> Refused<
    Carrier, P.Gives
  > {
    fatalError("unavailable")
  }
}
