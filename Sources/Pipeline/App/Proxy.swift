/// What `ProxyApp.body` is made of: a ``Listener``, or several. Declared here, executed by Transports through the visitor.
public protocol Proxy: Sendable {
  /// Shows every listener to the visitor, in the order in which they stand.
  func accept(_ visitor: inout some ListenerVisitor) throws
}

/// Sees each listener with its full type.
public protocol ListenerVisitor {
  mutating func visit<Carrier: TransportExchange, Program: ChainElement>(_ listener: Listener<Carrier, Program>) throws
  where Program.Carrier == Carrier, Program.Needs: MetByNothing
}

/// An application: what listens, with which chain, to where.
///
/// ```swift
/// @main struct Gateway: ProxyApp {
///   var body: some Proxy {
///     Listener(.socks5, on: "127.0.0.1:8001") { PasswordAuth(users) } to: { Direct() }
///     Listener(.tcp, on: "127.0.0.1:9000") { AccessLog() } to: { Direct(to: "10.0.0.7:5432") }
///   }
/// }
/// ```
public protocol ProxyApp {
  associatedtype Body: Proxy
  @MainActor init()
  @MainActor @ProxyBuilder var body: Body { get }
}

/// Listeners side by side.
public struct Proxies: Proxy {
  let members: [any Proxy]

  public init(_ members: [any Proxy]) { self.members = members }

  public func accept(_ visitor: inout some ListenerVisitor) throws {
    for member in members { try member.accept(&visitor) }
  }
}

extension Never: Proxy {
  public func accept(_ visitor: inout some ListenerVisitor) throws {}
}
