public import Pipeline

/// Dials what the client asked for and relays: `Listener(.socks5, …) { … } to: { Direct() }`.
///
/// It dials what a rule above has approved (`DestinationRules`). Where none stands above, it applies the standard rule
/// itself: on a listener that only this machine reaches every destination may be dialled, on any other only addresses of the
/// public internet. The check is made on the resolved addresses, and only those are dialled.
///
/// `Direct(from: "10.0.0.2", prefer: .ipv4)` connects from this address and tries IPv4 first.
///
/// A client is refused with `forbidden`, `nameNotFound`, or what the dial ended in (`connectionRefused`, …). A raw TCP client
/// names no destination, so an app with `Direct` on a TCP listener does not start.
public struct Direct: Destination {
  private let link: UpstreamLink

  /// - Parameters:
  ///   - sources: the addresses of this machine to connect from, at most one of each family; a destination of a family for which
  ///     none is named is not dialled. None: the kernel chooses.
  ///   - preference: which addresses of a name are tried first.
  public init(from sources: String..., prefer preference: Way.Family = .resolver) {
    link = UpstreamLink(isChosenByClient: true, way: .direct(from: sources, prefer: preference))
  }

  public var uses: Uses { .destination }
  public var parameters: [Parameter] { link.way.isPlain ? [] : [Parameter("by", "\(link.way)")] }

  public func validate(into problems: inout Problems) {
    ClientsChoice.validate("Direct()", link.way, into: &problems)
  }

  public func serve(_ exchange: Exchange) async throws -> Summary {
    try await exchange.forward(to: try await ClientsChoice.approved(for: exchange), over: link)
  }
}

/// What the destinations share that go where the client wants.
enum ClientsChoice {
  static func validate(_ name: String, _ way: Way, into problems: inout Problems) {
    if problems.transport == "tcp" {
      problems.refuse("a TCP client names no destination: write Upstream(\"host:port\") instead of \(name)")
    }
    for problem in way.problems { problems.refuse(problem) }
  }

  /// What a rule above has approved; what the standard rule says where none did.
  ///
  /// - Parameter unresolved: names are left to a far proxy.
  static func approved(for exchange: Exchange, unresolved: Bool = false) async throws -> ApprovedDestination {
    if let approved = exchange.approved { return approved }
    let endpoint = try await exchange.destination()
    let policy = AddressPolicy.standard(for: exchange.listener)
    if unresolved { return try policy.approve(unresolved: endpoint) }
    return try policy.approve(endpoint, resolved: try await exchange.resolve(endpoint.host))
  }
}
