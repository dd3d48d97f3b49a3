/// How connections leave: from which of our addresses, in which family first, and through whose proxies.
///
/// ```swift
/// Upstream("10.0.0.7:80", by: .direct(from: "10.0.0.2"))
/// Upstream("db.internal:5432", by: .via(.socks5("jump:1080", resolvesNames: true)))
/// ```
public struct Way: Sendable, CustomStringConvertible {
  /// Which addresses of a name are tried first.
  public enum Family: String, Sendable, Hashable, CaseIterable {
    /// As the resolver orders them (RFC 6724).
    case resolver
    /// IPv4 first, IPv6 where that fails or takes long (RFC 8305).
    case ipv4
    /// IPv6 first, IPv4 where that fails or takes long (RFC 8305).
    case ipv6
    case ipv4Only
    case ipv6Only
  }

  /// The addresses to connect from, as they were written.
  private let sourceTexts: [String]
  package let sources: [IPAddress]
  public let preference: Family
  /// In the order in which they are passed; empty: none.
  public let proxies: [FarProxy]
  /// Nothing is to be done but to connect.
  package let isPlain: Bool

  private init(from sources: [String], prefer preference: Family, through proxies: [FarProxy]) {
    sourceTexts = sources
    self.sources = sources.compactMap { IPAddress($0) }
    self.preference = preference
    self.proxies = proxies
    isPlain = sources.isEmpty && preference == .resolver && proxies.isEmpty
  }

  /// Connects, from whatever address the kernel chooses.
  public static let direct = Way(from: [], prefer: .resolver, through: [])

  /// Connects, from one of these addresses: at most one of each family.
  ///
  /// - Parameters:
  ///   - sources: IP addresses of this machine; the port is chosen for each connection. Who names one means it: a destination of
  ///     a family for which none is named is not dialled. Empty: the kernel chooses.
  ///   - preference: which addresses of a name are tried first.
  public static func direct(from sources: String..., prefer preference: Family = .resolver) -> Way {
    direct(from: sources, prefer: preference)
  }

  /// As ``direct(from:prefer:)``.
  public static func direct(from sources: [String], prefer preference: Family = .resolver) -> Way {
    Way(from: sources, prefer: preference, through: [])
  }

  /// Connects through proxies of somebody else, the first one dialled by us, each further one by the one before.
  ///
  /// - Parameters:
  ///   - proxies: one or more.
  ///   - sources: from where the first one is dialled.
  ///   - preference: which addresses are tried first: of the first proxy, and of the destination where its name is resolved
  ///     here.
  public static func via(
    _ proxies: FarProxy..., from sources: String..., prefer preference: Family = .resolver
  ) -> Way { via(proxies, from: sources, prefer: preference) }

  /// As ``via(_:from:prefer:)``.
  public static func via(
    _ proxies: [FarProxy], from sources: [String] = [], prefer preference: Family = .resolver
  ) -> Way {
    Way(from: sources, prefer: preference, through: proxies)
  }

  /// Whether the destination's name goes to the last proxy as it is.
  public var resolvesNames: Bool { proxies.last?.resolvesNames ?? false }

  /// For plans and logs; without user names and passwords.
  public var description: String {
    var parts: [String] = []
    if !proxies.isEmpty { parts.append("via " + proxies.map(\.description).joined(separator: ", then ")) }
    if !sourceTexts.isEmpty { parts.append("from " + sourceTexts.joined(separator: ", ")) }
    if preference != .resolver { parts.append("preferring \(preference.rawValue)") }
    return parts.isEmpty ? "direct" : parts.joined(separator: " ")
  }

  /// What keeps it from being used, one sentence each.
  public var problems: [String] {
    var problems: [String] = []
    for text in sourceTexts {
      guard let address = IPAddress(text) else {
        problems.append("from \"\(text)\": no IP address; write an address of this machine: 10.0.0.2, 2001:db8::2")
        continue
      }
      if address == .anyV4 || address == .anyV6 {
        problems.append("from \(text): leave it out, and the kernel chooses the address")
      }
    }
    for isIPv6 in [false, true] where sources.filter({ $0.isIPv6 == isIPv6 }).count > 1 {
      problems.append("from \(sourceTexts.joined(separator: ", ")): at most one address of each family is allowed")
    }
    for (family, lacking) in [(Family.ipv4Only, true), (.ipv6Only, false)]
    where preference == family && !sources.isEmpty && sources.allSatisfy({ $0.isIPv6 == lacking }) {
      problems.append(
        "from \(sourceTexts.joined(separator: ", ")) and prefer: .\(family.rawValue): no destination is left to dial")
    }
    for (index, proxy) in proxies.enumerated() { problems += proxy.problems(isFirst: index == 0) }
    return problems
  }

  /// Those of `addresses` that the preference leaves, in the order in which to try them. A Unix socket always stays.
  package func preferred(_ addresses: [SocketAddress]) -> [SocketAddress] {
    switch preference {
    case .resolver: addresses
    case .ipv4: addresses.filter { !$0.isIPv6 } + addresses.filter { $0.isIPv6 }
    case .ipv6: addresses.filter { $0.isIPv6 } + addresses.filter { !$0.isIPv6 }
    case .ipv4Only: addresses.filter { !$0.isIPv6 }
    case .ipv6Only: addresses.filter { $0.isIPv6 || $0.isUnix }
    }
  }

  /// Those of `addresses` to which a connection can be made from here, in the order in which to try them.
  package func dialable(_ addresses: [SocketAddress]) -> [SocketAddress] {
    if sources.isEmpty { return preferred(addresses) }
    return preferred(addresses).filter { address in
      address.isUnix || sources.contains { $0.isIPv6 == address.isIPv6 }
    }
  }
}

extension SocketAddress {
  fileprivate var isIPv6: Bool {
    switch self {
    case .ip(let address, _): address.isIPv6
    case .unix: false
    }
  }

  fileprivate var isUnix: Bool {
    switch self {
    case .ip: false
    case .unix: true
    }
  }
}

/// A connection that was made by a ``Way``.
public struct Dialled {
  public let stream: any ByteStream
  /// The address at its far end: the destination's, also behind proxies. Where a proxy resolved the name, the address of the
  /// first proxy.
  public let address: SocketAddress?

  public init(_ stream: any ByteStream, at address: SocketAddress?) {
    self.stream = stream
    self.address = address
  }
}
