public import Pipeline

/// By what a hash chooses a backend.
public struct BalanceKey: Sendable, CustomStringConvertible {
  private enum Kind: Sendable {
    case clientAddress, principal, path
    case header(HeaderName)
    case cookie(String)
    case custom(String, @Sendable (Exchange) -> String?)
  }

  private let kind: Kind

  /// The client's address; of IPv6 its /64, which one client has to itself.
  public static let clientAddress = BalanceKey(kind: .clientAddress)
  /// Who the exchange is accounted to; it has none where no authenticator stands above.
  public static let principal = BalanceKey(kind: .principal)
  /// HTTP: the path of the request, without its query.
  public static let path = BalanceKey(kind: .path)
  /// HTTP: the first field of this name.
  public static func header(_ name: HeaderName) -> BalanceKey { BalanceKey(kind: .header(name)) }
  /// HTTP: the value of a cookie.
  public static func cookie(_ name: String) -> BalanceKey { BalanceKey(kind: .cookie(name)) }
  /// What a closure makes of the exchange; `nil`: it has no key. Costs what the closure costs, and a `String`.
  public static func custom(_ label: String, _ key: @escaping @Sendable (Exchange) -> String?) -> BalanceKey {
    BalanceKey(kind: .custom(label, key))
  }

  public var description: String {
    switch kind {
    case .clientAddress: "client address"
    case .principal: "principal"
    case .path: "path"
    case .header(let name): "header \(name)"
    case .cookie(let name): "cookie \(name)"
    case .custom(let label, _): label
    }
  }

  var needsHTTP: Bool {
    switch kind {
    case .clientAddress, .principal, .custom: false
    case .path, .header, .cookie: true
    }
  }

  /// `nil`: the exchange has no such key.
  func hash(of exchange: Exchange) -> UInt64? {
    switch kind {
    case .clientAddress:
      switch exchange.client.kind {
      case .ip(let address, _): return address.v4Bits.map { UInt64($0) } ?? address.words.high
      case .unix(let uid): return UInt64(uid)
      }
    case .principal: return exchange.principal.map { Rendezvous.hash($0.id) }
    case .custom(_, let key): return key(exchange).map { Rendezvous.hash($0) }
    case .path: return (exchange as? HTTPExchange).map { Rendezvous.hash($0.request.path) }
    case .header(let name):
      return (exchange as? HTTPExchange)?.request.fields.withValue(of: name) { value in
        guard let value else { return nil }
        return Rendezvous.hash(value)
      }
    case .cookie(let name):
      return (exchange as? HTTPExchange)?.request.fields.withValue(of: "cookie") { line in
        guard let line, let value = cookieValue(name, in: line) else { return nil }
        return Rendezvous.hash(line.extracting(value))
      }
    }
  }
}
