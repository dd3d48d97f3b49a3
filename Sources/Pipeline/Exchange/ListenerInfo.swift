/// Limits of a listener, for every connection that it accepts.
public struct ListenerOptions: Hashable, Sendable {
  /// From accept to the end of the handshake, the client's part of it. 10 s.
  public var handshakeTimeout: Duration = .seconds(10)
  /// For one dial, over all its addresses. 5 s.
  public var connectTimeout: Duration = .seconds(5)
  /// A tunnel in which nothing moves either way for so long is ended. 5 min; `nil`: never.
  public var idleTimeout: Duration? = .seconds(300)
  /// A tunnel is ended after so long, whatever moves. `nil`: never.
  public var lifetime: Duration?
  /// Connections that may be open at once; one more is not accepted until one ends. `nil`: no limit.
  public var maxConnections: Int?
  /// Connections that one client address may have open at once (IPv6: one /64); one more is closed at once. `nil`: no limit.
  public var maxConnectionsPerClient: Int?
  /// The mode of a Unix socket's file: who may connect. 0o660; 0o600 for the owner alone.
  public var unixSocketMode: UInt32 = 0o660
  /// Peers that have to begin with a PROXY protocol header (v1 or v2), and whose word about the client is believed. `nil`:
  /// nobody speaks the PROXY protocol here.
  public var proxyProtocol: ProxyProtocolPeers?
  /// Whether operators ask here how the server is. Such a listener answers while the server drains, until every other
  /// connection has ended, and its connections are not counted among the server's.
  public var isForOperators = false
  /// What an HTTP listener takes from its clients.
  public var http = HTTPOptions()

  public init() {}
}

/// What an exchange knows about the listener that it came through.
public final class ListenerInfo: Sendable {
  /// For logs and metrics; unique within the app.
  public let name: String
  /// "tcp", "socks5", "http".
  public let transport: String
  /// The address that the listener is bound to, with the port that it really got.
  public let address: SocketAddress
  public let options: ListenerOptions

  public init(name: String, transport: String, address: SocketAddress, options: ListenerOptions = ListenerOptions()) {
    self.name = name
    self.transport = transport
    self.address = address
    self.options = options
  }
}
