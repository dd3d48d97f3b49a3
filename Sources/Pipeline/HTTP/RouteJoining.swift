// Joining a route's chain and its destination: the identity state machine of ``Composing`` once more, with the destination
// as the line below.
extension DestinationBuilder where Carrier == HTTPExchange {
  /// What a route becomes in `to:`.
  public typealias At<E: ChainElement> = Site<HTTPExchange, Routed<E>> where E.Carrier == HTTPExchange

  /// The destination asks for nothing; the chain may need some identity.
  public static func buildExpression<C: TransparentElement, D: TransparentElement>(_ route: Route<C, D>) -> At<
    Then<C, D>
  >
  where C.Carrier == HTTPExchange, D.Carrier == HTTPExchange, C.Needs: MetByAnyIdentity, D.Needs: MetByNothing {
    Site(Routed(route.matcher, Then(route.chain, route.destination)))
  }

  /// The destination asks for nothing; the chain needs one identity type.
  public static func buildExpression<C: TransparentElement, D: TransparentElement>(_ route: Route<C, D>) -> At<
    Then<C, D>
  >
  where C.Carrier == HTTPExchange, D.Carrier == HTTPExchange, C.Needs: MetByOneIdentity, D.Needs: MetByNothing {
    Site(Routed(route.matcher, Then(route.chain, route.destination)))
  }

  /// The chain authenticates; the destination asks for nothing.
  public static func buildExpression<C: ChainElement, D: TransparentElement, U>(_ route: Route<C, D>) -> At<Then<C, D>>
  where C.Carrier == HTTPExchange, D.Carrier == HTTPExchange, C.Gives == Identified<U>, D.Needs: MetByNothing {
    Site(Routed(route.matcher, Then(route.chain, route.destination)))
  }

  /// The chain authenticates; the destination needs some identity.
  public static func buildExpression<C: ChainElement, D: TransparentElement, U>(_ route: Route<C, D>) -> At<
    ThenWithSome<C, D, U>
  >
  where C.Carrier == HTTPExchange, D.Carrier == HTTPExchange, C.Gives == Identified<U>, D.Needs: MetByAnyIdentity {
    Site(Routed(route.matcher, ThenWithSome(route.chain, route.destination)))
  }

  /// The chain gives the very identity that the destination needs.
  public static func buildExpression<C: ChainElement, D: TransparentElement, U>(_ route: Route<C, D>) -> At<
    ThenWith<C, D, U>
  >
  where
    C.Carrier == HTTPExchange, D.Carrier == HTTPExchange, C.Gives == Identified<U>, D.Needs: MetByOneIdentity,
    D.Needs.User == U
  {
    Site(Routed(route.matcher, ThenWith(route.chain, route.destination)))
  }

  /// Some identity is needed from above the routes.
  public static func buildExpression<C: TransparentElement, D: TransparentElement>(_ route: Route<C, D>) -> At<
    ThenDeferred<C, D>
  >
  where C.Carrier == HTTPExchange, D.Carrier == HTTPExchange, C.Needs: MetByAnyIdentity, D.Needs: MetByAnyIdentity {
    Site(Routed(route.matcher, ThenDeferred(route.chain, route.destination)))
  }

  /// The chain needs one identity type from above the routes, the destination some identity.
  public static func buildExpression<C: TransparentElement, D: TransparentElement>(_ route: Route<C, D>) -> At<
    ThenDeferredTyped<C, D>
  >
  where C.Carrier == HTTPExchange, D.Carrier == HTTPExchange, C.Needs: MetByOneIdentity, D.Needs: MetByAnyIdentity {
    Site(Routed(route.matcher, ThenDeferredTyped(route.chain, route.destination)))
  }

  /// The destination needs a `U` from above the routes.
  public static func buildExpression<C: TransparentElement, D: TransparentElement, U>(_ route: Route<C, D>) -> At<
    ThenDeferredExactly<C, D, U>
  >
  where
    C.Carrier == HTTPExchange, D.Carrier == HTTPExchange, C.Needs: MetByAnyIdentity, D.Needs: MetByOneIdentity,
    D.Needs.User == U
  {
    Site(Routed(route.matcher, ThenDeferredExactly(route.chain, route.destination)))
  }

  /// Both need a `U` from above the routes.
  public static func buildExpression<C: TransparentElement, D: TransparentElement, U>(_ route: Route<C, D>) -> At<
    ThenDeferredSame<C, D, U>
  >
  where
    C.Carrier == HTTPExchange, D.Carrier == HTTPExchange, C.Needs: MetByOneIdentity, C.Needs.User == U,
    D.Needs: MetByOneIdentity, D.Needs.User == U
  {
    Site(Routed(route.matcher, ThenDeferredSame(route.chain, route.destination)))
  }
}

extension DestinationBuilder where Carrier == HTTPExchange {
  @available(
    *, unavailable,
    message: "the destination of this route needs another identity type than the one that its chain gives or asks for"
  )
  public static func buildExpression<C: ChainElement, D: TransparentElement>(
    _ route: Route<C, D>
  ) -> Refused<Carrier, Unchanged> {
    fatalError("unavailable")
  }
}

extension DestinationBuilder {
  @available(*, unavailable, message: "routes are for HTTP: use them in a Listener(.http, ...)")
  public static func buildExpression<C: ChainElement, D: TransparentElement>(
    _ route: Route<C, D>
  ) -> Refused<Carrier, Unchanged> where Carrier: TransportExchange {
    fatalError("unavailable")
  }
}
