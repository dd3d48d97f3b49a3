public import Pipeline

/// Relays every exchange to one place that the operator wrote down: `to: { Upstream("10.0.0.7:5432") }`.
///
/// Works on every transport. What a SOCKS5 client asks for is read and answered, but does not decide. No address rule is
/// applied: the operator's own word is the rule. A name is resolved (and cached) at each dial. `by:` says how connections leave:
/// from which address, through whose proxies.
///
/// A client is refused with what the dial ended in: `nameNotFound`, `connectionRefused`, `connectTimeout`, …
public struct Upstream: Destination {
  private enum Target: Sendable {
    /// An address: nothing is left to do before the dial.
    case known(ApprovedDestination)
    case named(Endpoint, DomainName)
    /// What the text says, which is no address.
    case unreadable(String)
  }

  private let target: Target
  private let text: String
  private let link: UpstreamLink

  /// - Parameters:
  ///   - address: `host:port`, `1.2.3.4:port`, `[::1]:port` or `unix:/path`. A text that is none of these keeps the app from
  ///     starting, with a sentence.
  ///   - proxyProtocol: tells the upstream who the client is.
  ///   - way: how connections leave. Where its last proxy resolves names, that proxy is told the name as it is.
  public init(_ address: String, proxyProtocol: ProxyProtocolVersion? = nil, by way: Way = .direct) {
    text = address
    link = UpstreamLink(proxyProtocol: proxyProtocol, url: "http://\(address)", way: way)
    if address.hasPrefix("unix:"), case .unix(let path)? = SocketAddress(address) {
      target = .known(.unixSocket(path))
    } else if let endpoint = Endpoint(address) {
      target = Self.target(endpoint)
    } else {
      target = .unreadable("\"\(address)\" is no address: write host:port, 1.2.3.4:port, [::1]:port or unix:/path")
    }
  }

  /// - Parameter path: the path of a Unix socket, 1 to 107 bytes.
  public init(unix path: String, proxyProtocol: ProxyProtocolVersion? = nil) {
    self.init("unix:\(path)", proxyProtocol: proxyProtocol)
  }

  public init(_ endpoint: Endpoint, proxyProtocol: ProxyProtocolVersion? = nil, by way: Way = .direct) {
    text = endpoint.description
    link = UpstreamLink(proxyProtocol: proxyProtocol, url: "http://\(endpoint)", way: way)
    target = Self.target(endpoint)
  }

  private static func target(_ endpoint: Endpoint) -> Target {
    if endpoint.port == 0 { return .unreadable("\(endpoint): port 0 cannot be dialled; allowed are 1...65535") }
    switch endpoint.host {
    case .name(let name): return .named(endpoint, name)
    case .ip(let address):
      do {
        return .known(try AddressPolicy.anything.approve(endpoint, resolved: [address]))
      } catch {
        return .unreadable("\(endpoint) cannot be dialled: \(error)")
      }
    }
  }

  public var parameters: [Parameter] {
    link.way.isPlain ? [Parameter("to", text)] : [Parameter("to", text), Parameter("by", "\(link.way)")]
  }

  public func validate(into problems: inout Problems) {
    if case .unreadable(let why) = target { problems.refuse(why) }
    for problem in link.way.problems { problems.refuse(problem) }
    if case .known(let destination) = target, destination.endpoint == nil, !link.way.proxies.isEmpty {
      problems.refuse("\(text) \(link.way): a far proxy cannot be asked for a Unix socket of this machine")
    }
  }

  public func serve(_ exchange: Exchange) async throws -> Summary {
    // Nothing is dialled for a client that has not finished its handshake.
    if let client = exchange as? SOCKS5Exchange { _ = try await client.destination() }
    return try await exchange.forward(to: try await destination(for: exchange), over: link)
  }

  private func destination(for exchange: Exchange) async throws -> ApprovedDestination {
    switch target {
    case .known(let destination): return destination
    case .named(let endpoint, _) where link.way.resolvesNames:
      return try AddressPolicy.anything.approve(unresolved: endpoint)
    case .named(let endpoint, let name):
      return try AddressPolicy.anything.approve(endpoint, resolved: try await exchange.runtime.resolve(name))
    case .unreadable(let why): throw Rejection(.internalError, detail: why)
    }
  }
}
