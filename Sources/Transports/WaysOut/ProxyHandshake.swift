internal import Pipeline

/// What we say to a far proxy to be connected to a destination, as a value: the proxy's bytes go in, actions come out. It knows
/// no socket and no clock.
///
///     while true {
///       switch handshake.advance() { … perform the action … }
///     }
protocol ProxyHandshake {
  /// The next step.
  mutating func advance() -> ProxyHandshakeAction

  /// Takes bytes of the proxy.
  mutating func receive(_ bytes: Span<UInt8>)

  /// What the proxy sent behind its last word, which is the destination's.
  mutating func takeRest() -> [UInt8]
}

/// What is to be done before `advance` is called again. The last three end the handshake.
enum ProxyHandshakeAction {
  case send([UInt8])
  /// Wait for more of the proxy's bytes, and take no more than so many: at least 1.
  case read(atMost: Int)
  /// The way is open.
  case open
  /// The proxy works and has answered: this destination cannot be had.
  case refused(Rejection)
  /// The proxy does not do what it is there for.
  case failed(Rejection)
}

/// Where a far proxy is asked to connect to.
enum ProxyTarget: Sendable, Hashable, CustomStringConvertible {
  case address(IPAddress, port: UInt16)
  /// A name that it resolves.
  case name(DomainName, port: UInt16)

  var description: String {
    switch self {
    case .address(let address, let port): Endpoint(.ip(address), port: port).description
    case .name(let name, let port): Endpoint(.name(name), port: port).description
    }
  }
}

extension FarProxy {
  /// The handshake that asks this proxy for `target`.
  func handshake(for target: ProxyTarget) -> any ProxyHandshake {
    switch speech {
    case .socks5: SOCKS5ClientHandshake(target, credentials: credentials)
    case .http: HTTPConnectHandshake(target, authorization: authorization)
    }
  }
}
