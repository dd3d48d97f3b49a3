/// A transport by its name, with the class of exchange that it makes: `.tcp`, `.socks5`, `.http`.
public struct TransportKind<Carrier: TransportExchange>: Sendable {
  /// "tcp", "socks5", "http".
  public let name: String

  /// A transport of one's own.
  public init(_ name: String) { self.name = name }
}

extension TransportKind where Carrier == TCPExchange {
  /// Raw TCP, or a Unix socket.
  public static var tcp: Self { Self("tcp") }
}

extension TransportKind where Carrier == SOCKS5Exchange {
  /// SOCKS5 (RFC 1928, RFC 1929).
  public static var socks5: Self { Self("socks5") }
}

extension TransportKind where Carrier == HTTPExchange {
  /// HTTP/1.1 (RFC 9112).
  public static var http: Self { Self("http") }
}

extension TransportKind where Carrier == PasswordExchange {
  /// Every transport that carries a user name and a password. For stored chains; no listener has it.
  public static var passwords: Self { Self("passwords") }
}
