public import Pipeline

/// Goes where the client wants through proxies of somebody else: `to: { Via(.socks5("proxy:1080")) }`.
///
/// ```swift
/// Via(.http("proxy.corp:3128", user: "gateway", password: secret))
/// Via(.http("proxy.corp:3128"), .socks5("exit:1080", resolvesNames: true))
/// ```
/// The first proxy is dialled by us, each further one by the one before. Approved is what `Direct` approves: rules above decide,
/// or the standard rule. Names are resolved here, and the last proxy is told addresses, one after the other until one is had;
/// only where it says `resolvesNames` does a name go to it as it is, approved as a name (`DestinationRules` above has to say
/// `leavingNamesToFarProxy()` then; else it resolves them, and their addresses are asked for).
///
/// An HTTP proxy that resolves names gets plain HTTP requests in absolute form, over connections that are kept for all clients;
/// everything else goes through a tunnel.
///
/// A client is refused with what `Direct` refuses with, and with what the proxies answer; all of the way is made within the
/// listener's connect timeout. An app with `Via` on a TCP listener does not start.
public struct Via: Destination {
  private let link: UpstreamLink
  /// For requests in absolute form: the last proxy is the upstream then.
  private let asking: Asking?

  private struct Asking {
    let link: UpstreamLink
    let endpoint: Endpoint
    /// Whether the one before it resolves its name.
    let isUnresolved: Bool
  }

  /// - Parameters:
  ///   - proxies: one or more, in the order in which they are passed.
  ///   - sources: the addresses of this machine from which the first one is dialled; none: the kernel chooses.
  ///   - preference: which addresses are tried first, of the first proxy and of a destination whose name is resolved here.
  public init(_ proxies: FarProxy..., from sources: String..., prefer preference: Way.Family = .resolver) {
    self.init(proxies, from: sources, prefer: preference)
  }

  /// The same for proxies that come from elsewhere than the source.
  public init(_ proxies: [FarProxy], from sources: [String] = [], prefer preference: Way.Family = .resolver) {
    link = UpstreamLink(isChosenByClient: true, way: .via(proxies, from: sources, prefer: preference))
    if let last = proxies.last, last.speech == .http, last.resolvesNames, case .endpoint(let endpoint)? = last.place {
      let before = Way.via(Array(proxies.dropLast()), from: sources, prefer: preference)
      asking = Asking(
        link: UpstreamLink(
          isProxy: true, isChosenByClient: true, way: before, proxyAuthorization: last.authorization),
        endpoint: endpoint, isUnresolved: before.resolvesNames)
    } else {
      asking = nil
    }
  }

  public var uses: Uses { .destination }
  public var parameters: [Parameter] { [Parameter("by", "\(link.way)")] }

  public func validate(into problems: inout Problems) {
    if link.way.proxies.isEmpty { problems.refuse("it has no proxy: name one or more, or write Direct()") }
    ClientsChoice.validate("Via(...)", link.way, into: &problems)
  }

  public func serve(_ exchange: Exchange) async throws -> Summary {
    let destination = try await ClientsChoice.approved(for: exchange, unresolved: link.way.resolvesNames)
    if let asking, let exchange = exchange as? HTTPExchange, Self.isPlain(exchange), Self.needsNoAddress(destination) {
      return try await exchange.forward(to: try await self.destination(of: asking, exchange), over: asking.link)
    }
    return try await exchange.forward(to: destination, over: link)
  }

  /// A request that a proxy can send on by itself. One for another protocol is better sent through a tunnel: few proxies let it
  /// through otherwise.
  private static func isPlain(_ exchange: HTTPExchange) -> Bool {
    exchange.request.method != .connect && !exchange.request.fields.contains("upgrade")
  }

  /// Whether what was approved is what the target of the request says. A name whose addresses a rule has checked is not: the
  /// proxy would resolve it once more.
  private static func needsNoAddress(_ destination: ApprovedDestination) -> Bool {
    if destination.isName { return true }
    if case .ip? = destination.endpoint?.host { return true }
    return false
  }

  private func destination(of asking: Asking, _ exchange: Exchange) async throws -> ApprovedDestination {
    if asking.isUnresolved { return try AddressPolicy.anything.approve(unresolved: asking.endpoint) }
    return try AddressPolicy.anything.approve(
      asking.endpoint, resolved: try await exchange.resolve(asking.endpoint.host))
  }
}
