/// Which destinations may be dialled: rules that are read from the top, the first that matches decides.
///
/// A rule is asked once for every *resolved* address, and the address that it allowed is the one that is dialled: a name
/// that resolves to something else a moment later changes nothing (no DNS rebinding).
public struct AddressPolicy: Sendable, Hashable {
  public enum Action: String, Sendable, Hashable { case allow, deny }

  /// One line: it matches when everything that it names matches.
  public struct Rule: Sendable, Hashable, CustomStringConvertible {
    public var action: Action
    /// `nil`: every host. `example.com`: that name. `*.example.com`: every name below it.
    public var host: String?
    /// `nil`: every port.
    public var ports: ClosedRange<UInt16>?
    /// `nil`: every address.
    public var block: CIDR?

    /// Allows what matches all that is given.
    ///
    /// Without a block it allows public addresses only, unless the policy allows everything otherwise: who owns an allowed
    /// name decides where it points to, and shall not be able to point it at a private address. Give the block, too, to
    /// allow a name in a private network.
    public static func allow(
      host: String? = nil, ports: ClosedRange<UInt16>? = nil, block: CIDR? = nil
    ) -> Rule {
      Rule(action: .allow, host: host?.lowercased(), ports: ports, block: block)
    }

    /// Denies what matches all that is given; nothing given: everything.
    public static func deny(
      host: String? = nil, ports: ClosedRange<UInt16>? = nil, block: CIDR? = nil
    ) -> Rule {
      Rule(action: .deny, host: host?.lowercased(), ports: ports, block: block)
    }

    func matches(_ endpoint: Endpoint, at address: IPAddress) -> Bool {
      if let ports, !ports.contains(endpoint.port) { return false }
      if let block, !block.contains(address) { return false }
      return matchesHost(of: endpoint)
    }

    /// Whether it matches as far as names and ports go.
    func matches(_ endpoint: Endpoint) -> Bool {
      if let ports, !ports.contains(endpoint.port) { return false }
      return matchesHost(of: endpoint)
    }

    private func matchesHost(of endpoint: Endpoint) -> Bool {
      guard let host else { return true }
      switch endpoint.host {
      case .ip(let literal): return host == literal.description
      case .name(let name):
        guard host.hasPrefix("*.") else { return name.text == host }
        let suffix = String(host.dropFirst(2))
        return name.text != suffix && name.isWithin(suffix)
      }
    }

    public var description: String {
      var parts = [action.rawValue]
      if let host { parts.append("host \(host)") }
      if let ports { parts.append("ports \(ports.lowerBound)-\(ports.upperBound)") }
      if let block { parts.append("block \(block)") }
      return parts.count == 1 ? parts[0] + " everything" : parts.joined(separator: " ")
    }
  }

  /// What happens to an address that no rule names.
  public enum Otherwise: String, Sendable, Hashable {
    /// Allowed unless it is private, loopback, link-local (metadata services) or special-purpose.
    case publicOnly
    case allow, deny
  }

  /// Read from the top.
  public var rules: [Rule]
  /// What happens to an address that no rule names.
  public var otherwise: Otherwise

  /// Creates a policy; without arguments it allows the public internet only.
  public init(_ rules: [Rule] = [], otherwise: Otherwise = .publicOnly) {
    self.rules = rules
    self.otherwise = otherwise
  }

  /// Public addresses only.
  public static let publicOnly = AddressPolicy()
  /// Every address. For destinations that the operator wrote down, and for listeners that only this machine reaches.
  public static let anything = AddressPolicy(otherwise: .allow)

  /// What a destination without rules applies: everything on a listener that only this machine reaches, else the public
  /// internet only.
  public static func standard(for listener: ListenerInfo) -> AddressPolicy {
    listener.address.isLocal ? .anything : .publicOnly
  }

  /// Whether `address`, to which `endpoint` resolved, may be dialled.
  public func allows(_ endpoint: Endpoint, at address: IPAddress) -> Bool {
    for rule in rules where rule.matches(endpoint, at: address) {
      switch rule.action {
      case .deny: return false
      case .allow where rule.block != nil || otherwise == .allow || address.isPublic: return true
      case .allow: continue
      }
    }
    switch otherwise {
    case .publicOnly: return address.isPublic
    case .allow: return true
    case .deny: return false
    }
  }

  /// Keeps the addresses that may be dialled.
  ///
  /// - Throws: `Rejection(.forbidden)` when none remains or the port is 0, `Rejection(.nameNotFound)` when there was none.
  public func approve(_ endpoint: Endpoint, resolved: [IPAddress]) throws -> ApprovedDestination {
    guard endpoint.port != 0 else {
      throw Rejection(.forbidden, detail: "destination \(endpoint): port 0 cannot be dialled; allowed are 1...65535")
    }
    guard !resolved.isEmpty else { throw Rejection(.nameNotFound, detail: "\(endpoint.host) has no address") }
    let addresses = resolved.lazy.filter { allows(endpoint, at: $0) }.map { SocketAddress.ip($0, port: endpoint.port) }
    let approved = Array(addresses)
    guard !approved.isEmpty else {
      let list = resolved.map(\.description).joined(separator: ", ")
      throw Rejection(
        .forbidden, detail: "destination \(endpoint) resolves to \(list), which the address policy denies")
    }
    return ApprovedDestination(endpoint: endpoint, addresses: approved)
  }

  /// Approves a name that a far proxy will resolve (``Way/resolvesNames``): nobody here knows its addresses, so only what rules
  /// say of names and ports decides. Rules that name a block are passed over. An address is judged as ever.
  ///
  /// What a far proxy could read as an address is no name: a last label that is a number (`127.1`, `0x7f000001`). `localhost`,
  /// which would be the proxy's own machine, is approved only where everything is (`otherwise: .allow`).
  ///
  /// - Throws: `Rejection(.forbidden)`.
  public func approve(unresolved endpoint: Endpoint) throws -> ApprovedDestination {
    let name: DomainName
    switch endpoint.host {
    case .ip(let address): return try approve(endpoint, resolved: [address])
    case .name(let named): name = named
    }
    func forbidden(_ why: String) -> Rejection { Rejection(.forbidden, detail: "destination \(endpoint): \(why)") }
    guard endpoint.port != 0 else { throw forbidden("port 0 cannot be dialled; allowed are 1...65535") }
    if name.endsInNumber { throw forbidden("the name ends in a number, which a far proxy may read as an address") }
    for rule in rules where rule.block == nil && rule.matches(endpoint) {
      switch rule.action {
      case .deny: throw forbidden("the rule \"\(rule)\" denies it")
      case .allow: return ApprovedDestination(endpoint: endpoint, addresses: [])
      }
    }
    switch otherwise {
    case .allow: break
    case .deny: throw forbidden("no rule allows the name")
    case .publicOnly:
      if name.isWithin("localhost") { throw forbidden("localhost would be the machine of the far proxy") }
    }
    return ApprovedDestination(endpoint: endpoint, addresses: [])
  }
}

/// A destination that a policy has checked. Only this can be dialled, and only an ``AddressPolicy`` makes one.
public struct ApprovedDestination: Sendable, Hashable {
  /// What was asked for; `nil` for a Unix socket.
  public let endpoint: Endpoint?
  /// The addresses that may be dialled. Empty for a name that a far proxy is to resolve (``isName``).
  public let addresses: [SocketAddress]

  /// Whether it was approved as a name, without an address: only a ``Way`` whose last proxy resolves names leads there.
  public var isName: Bool { addresses.isEmpty }

  init(endpoint: Endpoint?, addresses: [SocketAddress]) {
    self.endpoint = endpoint
    self.addresses = addresses
  }

  /// A Unix socket that the operator wrote down. A client can never name one.
  public static func unixSocket(_ path: String) -> ApprovedDestination {
    ApprovedDestination(endpoint: nil, addresses: [.unix(path)])
  }
}
