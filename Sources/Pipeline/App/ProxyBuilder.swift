/// Builds the listeners of an app.
@resultBuilder public enum ProxyBuilder {
  /// `Listener(.http, …) { … } to: { … }` on a line of its own.
  public static func buildExpression<P: Proxy>(_ proxy: P) -> P { proxy }

  /// `listeners` as an array: what a configuration file says.
  public static func buildExpression(_ proxies: [any Proxy]) -> Proxies { Proxies(proxies) }

  /// The first line.
  public static func buildPartialBlock(first: some Proxy) -> Proxies { (first as? Proxies) ?? Proxies([first]) }

  /// A further line.
  public static func buildPartialBlock(accumulated: Proxies, next: some Proxy) -> Proxies {
    Proxies(accumulated.members + [next])
  }

  /// `if admin { Listener(…) }`.
  public static func buildOptional(_ proxies: Proxies?) -> Proxies { proxies ?? Proxies([]) }

  /// `if a { Listener(…) } else { Listener(…) }` and `switch`.
  public static func buildEither(first: Proxies) -> Proxies { first }

  /// The other branch.
  public static func buildEither(second: Proxies) -> Proxies { second }

  /// `for port in ports { Listener(…) }`.
  public static func buildArray(_ proxies: [Proxies]) -> Proxies { Proxies(proxies) }

  /// `if #available(…) { … }`.
  public static func buildLimitedAvailability(_ proxies: Proxies) -> Proxies { proxies }

  @available(
    *, unavailable, message: "an app needs a listener: Listener(.socks5, on: \"127.0.0.1:1080\") { } to: { ... }"
  )
  public static func buildBlock() -> Proxies { fatalError("unavailable") }

  @available(*, unavailable, message: "only listeners can stand here: Listener(.socks5, on: ...) { ... } to: { ... }")
  public static func buildExpression<T>(_ other: T) -> Proxies { fatalError("unavailable") }
}
