/// An exchange of one particular transport (the base class does not conform).
public protocol TransportExchange: Exchange {}

/// An exchange of a transport whose clients can send a user name and a password.
public protocol PasswordTransport: TransportExchange {}

/// An exchange whose client can send a user name and a password: SOCKS5 (RFC 1929) and HTTP (Basic, RFC 7617).
open class PasswordExchange: Exchange, TransportExchange {
  /// Asks the client. SOCKS5 offers method 0x02 only now; HTTP looks at its header only now.
  ///
  /// What the client is told follows from what the chain does next: a rejection while `principal` is unset is a failed
  /// login (SOCKS5: status 1, RFC 1929, 2), anything else a good one.
  ///
  /// - Returns: `nil` when the client sends none (HTTP without the header; SOCKS5 clients that do not offer 0x02).
  open func credentials() async throws -> PasswordCredentials? { nil }
}

/// One SOCKS5 connection (RFC 1928).
open class SOCKS5Exchange: PasswordExchange, PasswordTransport {
  open override class var transport: String { "socks5" }
}

/// One raw TCP (or Unix) connection.
open class TCPExchange: Exchange, TransportExchange {
  open override class var transport: String { "tcp" }
}
