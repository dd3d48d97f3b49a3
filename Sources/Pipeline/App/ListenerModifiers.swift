extension Listener {
  /// Several options at once.
  public func options(_ edit: (inout ListenerOptions) -> Void) -> Self {
    var copy = self
    edit(&copy.options)
    return copy
  }

  /// From accept to the end of the client's part of the handshake. Default: 10 s.
  public func handshakeTimeout(_ limit: Duration) -> Self { options { $0.handshakeTimeout = limit } }

  /// For one dial, over all the addresses of a destination. Default: 5 s.
  public func connectTimeout(_ limit: Duration) -> Self { options { $0.connectTimeout = limit } }

  /// Ends a tunnel in which nothing moved either way for so long; `nil`: never. Default: 5 min.
  public func idleTimeout(_ limit: Duration?) -> Self { options { $0.idleTimeout = limit } }

  /// Ends a tunnel after so long, whatever moves; `nil`: never, which is the default.
  public func lifetime(_ limit: Duration?) -> Self { options { $0.lifetime = limit } }

  /// Accepts no further connection while so many are open; `nil`: no limit, which is the default.
  public func maxConnections(_ limit: Int?) -> Self { options { $0.maxConnections = limit } }

  /// Closes a connection at once whose client (an IPv4 address, an IPv6 /64, a Unix user id) has so many open already; `nil`:
  /// no limit, which is the default.
  public func maxConnectionsPerClient(_ limit: Int?) -> Self { options { $0.maxConnectionsPerClient = limit } }

  /// The mode of a Unix socket's file: who may connect. Default: 0o660, the owner and its group.
  public func unixSocketMode(_ mode: UInt32) -> Self { options { $0.unixSocketMode = mode } }

  /// Requires a PROXY protocol header (version 1 or 2) from these peers, and believes what it says of the client. A connection
  /// without one is closed.
  ///
  /// - Parameters:
  ///   - peers: the addresses of the balancers in front.
  ///   - others: what happens to a connection from any other address.
  ///   - unix: whether peers on a Unix socket are among the balancers.
  public func proxyProtocol(
    from peers: [CIDR], others: ProxyProtocolPeers.Others = .refused, unix: Bool = false
  ) -> Self {
    options { $0.proxyProtocol = ProxyProtocolPeers(peers, others: others, includesUnix: unix) }
  }

  /// Answers while the server drains, until every other connection has ended, and counts for no limit of the server's: for
  /// health checks, metrics and whatever an operator asks.
  public func forOperators() -> Self { options { $0.isForOperators = true } }
}
