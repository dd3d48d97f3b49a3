public import Pipeline

/// Dials what the client asked for and relays: `Listener(.socks5, …) { … } to: { Direct() }`.
///
/// It dials what a rule above has approved (`DestinationRules`). Where none stands above, it applies the standard rule
/// itself: on a listener that only this machine reaches every destination may be dialled, on any other only addresses of the
/// public internet. The check is made on the resolved addresses, and only those are dialled.
///
/// A client is refused with `forbidden`, `nameNotFound`, or what the dial ended in (`connectionRefused`, …). A raw TCP client
/// names no destination, so an app with `Direct` on a TCP listener does not start.
public struct Direct: Destination {
  private let link = UpstreamLink(isChosenByClient: true)

  public init() {}

  public var uses: Uses { .destination }

  public func validate(into problems: inout Problems) {
    if problems.transport == "tcp" {
      problems.refuse("a TCP client names no destination: write Upstream(\"host:port\") instead of Direct()")
    }
  }

  public func serve(_ exchange: Exchange) async throws -> Summary {
    let destination =
      if let approved = exchange.approved { approved } else { try await approve(for: exchange) }
    return try await exchange.forward(to: destination, over: link)
  }

  private func approve(for exchange: Exchange) async throws -> ApprovedDestination {
    let endpoint = try await exchange.destination()
    let addresses = try await exchange.resolve(endpoint.host)
    return try AddressPolicy.standard(for: exchange.listener).approve(endpoint, resolved: addresses)
  }
}
