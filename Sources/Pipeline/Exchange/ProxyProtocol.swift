/// The peers from which a PROXY protocol header is required and believed.
public struct ProxyProtocolPeers: Hashable, Sendable {
  /// What happens to a connection from any other address.
  public enum Others: String, Hashable, Sendable {
    /// It is closed at once.
    case refused
    /// It is served as it is; should it begin with a PROXY protocol header, it is closed.
    case plain
  }

  public var peers: [CIDR]
  public var others: Others
  /// Whether peers on a Unix socket are listed, too.
  public var includesUnix: Bool

  public init(_ peers: [CIDR], others: Others = .refused, includesUnix: Bool = false) {
    self.peers = peers
    self.others = others
    self.includesUnix = includesUnix
  }

  /// Whether the peer is listed.
  public func contains(_ peer: ClientAddress) -> Bool {
    switch peer.kind {
    case .ip(let address, port: _): peers.contains { $0.contains(address) }
    case .unix: includesUnix
    }
  }
}

/// The version of the PROXY protocol that an upstream is told of the client with.
public enum ProxyProtocolVersion: String, Hashable, Sendable {
  /// One line of text.
  case v1
  /// Binary.
  case v2
}
