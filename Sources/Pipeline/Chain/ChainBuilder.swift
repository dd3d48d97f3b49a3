/// Builds the chain of a listener, of a route, or of a stored ``Chain``.
///
/// The carrier is the class of exchange that the chain serves. Each element is judged alone here: whether it fits the
/// transport. Whether it fits its neighbours is judged in ``Composing``.
@resultBuilder public enum ChainBuilder<Carrier: Exchange>: Composing {}

/// Builds chains that fit every transport.
public typealias MiddlewareBuilder = ChainBuilder<Exchange>

/// Builds chains of HTTP elements.
public typealias HTTPMiddlewareBuilder = ChainBuilder<HTTPExchange>

extension ChainBuilder {
  /// `AccessLog()` on a line of its own: an element that fits every transport.
  @inlinable public static func buildExpression<E: ChainElement>(_ element: E) -> Site<Carrier, E>
  where E.Carrier == Exchange {
    Site(element)
  }

  /// An element of this very transport: `CORS(…)` in a `Listener(.http, …)`.
  @inlinable public static func buildExpression<E: ChainElement>(_ element: E) -> Site<Carrier, E>
  where E.Carrier == Carrier, Carrier: TransportExchange {
    Site(element)
  }

  /// `PasswordAuth(…)` on a transport that carries a user name and a password (SOCKS5, HTTP).
  @inlinable public static func buildExpression<E: ChainElement>(_ element: E) -> Site<Carrier, E>
  where E.Carrier == PasswordExchange, Carrier: PasswordTransport {
    Site(element)
  }

  /// `Chain { }`: an empty chain.
  @inlinable public static func buildBlock() -> Empty<Carrier> { Empty() }
}

// What cannot stand in a chain. An unavailable `buildExpression` is reported on the line of the element itself.
extension ChainBuilder {
  @available(
    *, unavailable,
    message:
      "it asks for a user name and a password, which this transport does not carry: authenticate by certificate or by address, or use a Listener(.socks5, ...) or (.http, ...)"
  )
  public static func buildExpression<E: ChainElement>(_ element: E) -> Refused<Carrier, E.Gives>
  where E.Carrier == PasswordExchange, Carrier: TransportExchange {
    fatalError("unavailable")
  }

  @available(
    *, unavailable,
    message:
      "it asks for a user name and a password, which not every transport carries: write Chain(for: .passwords) { ... }"
  )
  public static func buildExpression<E: ChainElement>(_ element: E) -> Refused<Carrier, E.Gives>
  where E.Carrier == PasswordExchange, Carrier == Exchange {
    fatalError("unavailable")
  }

  @available(
    *, unavailable,
    message: "this middleware works on HTTP exchanges only: use it in a Listener(.http, ...) or in an HTTP chain"
  )
  public static func buildExpression<E: ChainElement>(_ element: E) -> Refused<Carrier, E.Gives>
  where E.Carrier == HTTPExchange {
    fatalError("unavailable")
  }

  @available(
    *, unavailable,
    message: "this middleware works on another transport than the one of this chain"
  )
  public static func buildExpression<E: ChainElement>(_ element: E) -> Refused<Carrier, E.Gives>
  where E.Carrier: TransportExchange {
    fatalError("unavailable")
  }

  @available(
    *, unavailable,
    message:
      "only middlewares and authenticators can stand in a chain: conform this type to Middleware, HTTPMiddleware, IdentityMiddleware or Authenticator"
  )
  public static func buildExpression<E>(_ element: E) -> Refused<Carrier, Unchanged> {
    fatalError("unavailable")
  }

  @available(
    *, unavailable,
    message: "a destination ends the way of an exchange: it stands in `to: { ... }`"
  )
  public static func buildExpression<E: Terminal>(_ element: E) -> Refused<Carrier, Unchanged> {
    fatalError("unavailable")
  }
}
