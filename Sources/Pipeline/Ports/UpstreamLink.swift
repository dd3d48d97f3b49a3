/// How a destination reaches its upstream, and which connections it may share: made once for each place, and kept.
///
/// Its identity is the key of the pools: two destinations never share connections.
public final class UpstreamLink: Sendable {
  /// Says who the client is when a connection opens. Such a connection is never used for another client.
  public let proxyProtocol: ProxyProtocolVersion?
  /// Idle connections that each loop keeps; 0: none. 1024: as many as clients ask at once come back at once, and what has no
  /// room is closed and dialled again. Those that are not needed go by `idleTimeout`.
  public let maxIdle: Int
  /// How long an idle connection is kept.
  public let idleTimeout: Duration
  /// What `x-backend-url` says; "" where it would be the dialled address.
  public let url: String
  /// Whether the upstream is a proxy itself, which wants targets in absolute form.
  public let isProxy: Bool
  /// Whether clients choose the place themselves (a forward proxy). It is a stranger then, and is told nothing of them.
  public let isChosenByClient: Bool
  /// How its connections leave.
  public let way: Way
  /// What is said as `proxy-authorization` where the upstream is a proxy itself; `nil`: nothing of ours.
  public let proxyAuthorization: Secret<[UInt8]>?

  public init(
    proxyProtocol: ProxyProtocolVersion? = nil, maxIdle: Int = 1024, idleTimeout: Duration = .seconds(30),
    url: String = "",
    isProxy: Bool = false, isChosenByClient: Bool = false, way: Way = .direct,
    proxyAuthorization: Secret<[UInt8]>? = nil
  ) {
    self.proxyProtocol = proxyProtocol
    self.maxIdle = maxIdle
    self.idleTimeout = idleTimeout
    self.url = url
    self.isProxy = isProxy
    self.isChosenByClient = isChosenByClient
    self.way = way
    self.proxyAuthorization = proxyAuthorization
  }
}
