public import Pipeline

/// Relays every exchange to one place that the operator wrote down: `to: { Upstream("10.0.0.7:5432") }`.
///
/// Works on every transport. What a SOCKS5 client asks for is read and answered, but does not decide. No address rule is
/// applied: the operator's own word is the rule. A name is resolved (and cached) at each dial. `by:` says how connections leave:
/// from which address, through whose proxies. For several places, health and caps there is ``Upstreams``.
///
/// A client is refused with what the dial ended in: `nameNotFound`, `connectionRefused`, `connectTimeout`, …
public struct Upstream: Destination {
  private let target: UpstreamTarget
  private let link: UpstreamLink

  /// - Parameters:
  ///   - address: `host:port`, `1.2.3.4:port`, `[::1]:port` or `unix:/path`. A text that is none of these keeps the app from
  ///     starting, with a sentence.
  ///   - proxyProtocol: tells the upstream who the client is.
  ///   - way: how connections leave. Where its last proxy resolves names, that proxy is told the name as it is.
  public init(_ address: String, proxyProtocol: ProxyProtocolVersion? = nil, by way: Way = .direct) {
    self.init(UpstreamTarget(address), proxyProtocol, way)
  }

  /// - Parameter path: the path of a Unix socket, 1 to 107 bytes.
  public init(unix path: String, proxyProtocol: ProxyProtocolVersion? = nil) {
    self.init("unix:\(path)", proxyProtocol: proxyProtocol)
  }

  public init(_ endpoint: Endpoint, proxyProtocol: ProxyProtocolVersion? = nil, by way: Way = .direct) {
    self.init(UpstreamTarget(endpoint), proxyProtocol, way)
  }

  private init(_ target: UpstreamTarget, _ proxyProtocol: ProxyProtocolVersion?, _ way: Way) {
    self.target = target
    link = UpstreamLink(proxyProtocol: proxyProtocol, url: "http://\(target.text)", way: way)
  }

  public var parameters: [Parameter] {
    link.way.isPlain
      ? [Parameter("to", target.text)] : [Parameter("to", target.text), Parameter("by", "\(link.way)")]
  }

  public func validate(into problems: inout Problems) {
    for problem in target.problems(by: link.way) { problems.refuse(problem) }
  }

  public func serve(_ exchange: Exchange) async throws -> Summary {
    // Nothing is dialled for a client that has not finished its handshake.
    if let client = exchange as? SOCKS5Exchange { _ = try await client.destination() }
    return try await exchange.forward(to: try await target.destination(for: exchange.runtime, by: link.way), over: link)
  }
}
