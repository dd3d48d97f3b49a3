internal import Pipeline

/// A place that the operator wrote down: his own word is the rule, no address policy is applied.
struct UpstreamTarget: Sendable {
  private enum Place: Sendable {
    /// An address: nothing is left to do before the dial.
    case known(ApprovedDestination)
    case named(Endpoint, DomainName)
    /// What the text says, which is no address.
    case unreadable(String)
  }

  private let place: Place
  /// An address: nothing is left to do before the dial.
  var known: ApprovedDestination? { if case .known(let destination) = place { destination } else { nil } }
  let text: String
  /// Whether another place may do where the name of this one does not resolve.
  let isOneOfSeveral: Bool

  /// - Parameter text: `host:port`, `1.2.3.4:port`, `[::1]:port` or `unix:/path`.
  init(_ text: String, isOneOfSeveral: Bool = false) {
    self.text = text
    self.isOneOfSeveral = isOneOfSeveral
    if text.hasPrefix("unix:"), case .unix(let path)? = SocketAddress(text) {
      place = .known(.unixSocket(path))
    } else if let endpoint = Endpoint(text) {
      place = Self.place(endpoint)
    } else {
      place = .unreadable("\"\(text)\" is no address: write host:port, 1.2.3.4:port, [::1]:port or unix:/path")
    }
  }

  init(_ endpoint: Endpoint) {
    text = endpoint.description
    isOneOfSeveral = false
    place = Self.place(endpoint)
  }

  private static func place(_ endpoint: Endpoint) -> Place {
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

  /// Why it cannot be dialled this way, one sentence each.
  func problems(by way: Way) -> [String] {
    var problems: [String] = []
    switch place {
    case .unreadable(let why): problems.append(why)
    case .known(let destination) where destination.endpoint == nil && !way.proxies.isEmpty:
      problems.append("\(text) \(way): a far proxy cannot be asked for a Unix socket of this machine")
    case .known, .named: break
    }
    return problems + way.problems
  }

  /// The same host with another port; nil for a Unix socket.
  func with(port: UInt16) -> UpstreamTarget? {
    switch place {
    case .known(let destination): destination.endpoint.map { UpstreamTarget(Endpoint($0.host, port: port)) }
    case .named(let endpoint, _): UpstreamTarget(Endpoint(endpoint.host, port: port))
    case .unreadable: nil
    }
  }

  /// - Throws: what the resolver says of a name.
  func destination(for runtime: ConnectionRuntime, by way: Way) async throws -> ApprovedDestination {
    switch place {
    case .known(let destination): return destination
    case .named(let endpoint, _) where way.resolvesNames:
      return try AddressPolicy.anything.approve(unresolved: endpoint)
    case .named(let endpoint, let name):
      do {
        return try AddressPolicy.anything.approve(endpoint, resolved: try await runtime.resolve(name))
      } catch var failure as Rejection where isOneOfSeveral && failure.kind == .nameNotFound {
        // Nothing was sent anywhere, and the next try goes elsewhere.
        failure.retry = .safe
        throw failure
      }
    case .unreadable(let why): throw Rejection(.internalError, detail: why)
    }
  }
}
