/// Builds `to: { … }`: one destination, or routes above one. It shares the identity state machine with ``ChainBuilder``.
@resultBuilder public enum DestinationBuilder<Carrier: Exchange>: Composing {}

extension DestinationBuilder {
  /// `Direct()`: a destination that fits every transport.
  @inlinable public static func buildExpression<E: Terminal>(_ destination: E) -> End<Carrier, E>
  where E.Carrier == Exchange {
    End(destination)
  }

  /// A destination of this very transport: `Respond(404)` in a `Listener(.http, …)`.
  @inlinable public static func buildExpression<E: Terminal>(_ destination: E) -> End<Carrier, E>
  where E.Carrier == Carrier, Carrier: TransportExchange {
    End(destination)
  }

  @available(
    *, unavailable,
    message: "a listener needs a destination: Direct(), Upstreams(...), Respond(...), ..."
  )
  public static func buildBlock() -> Refused<Carrier, Unchanged> {
    fatalError("unavailable")
  }

  @available(
    *, unavailable,
    message: "this destination speaks HTTP: use it in a Listener(.http, ...)"
  )
  public static func buildExpression<E: Terminal>(_ destination: E) -> Refused<Carrier, Unchanged>
  where E.Carrier == HTTPExchange {
    fatalError("unavailable")
  }

  @available(
    *, unavailable,
    message: "this destination works on another transport than the one of this listener"
  )
  public static func buildExpression<E: Terminal>(_ destination: E) -> Refused<Carrier, Unchanged>
  where E.Carrier: TransportExchange {
    fatalError("unavailable")
  }

  @available(
    *, unavailable,
    message: "a middleware stands in the chain, before `to:`; here stand destinations and routes"
  )
  public static func buildExpression<E: ChainElement>(_ element: E) -> Refused<Carrier, Unchanged> {
    fatalError("unavailable")
  }

  @available(
    *, unavailable,
    message: "only destinations and routes can stand in `to:`: conform this type to Destination or IdentityDestination"
  )
  public static func buildExpression<E>(_ other: E) -> Refused<Carrier, Unchanged> {
    fatalError("unavailable")
  }
}
