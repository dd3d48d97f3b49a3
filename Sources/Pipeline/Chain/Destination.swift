/// Where a chain ends. Do not conform to it, unless the identity is needed in one configuration only; conform to
/// ``Destination`` or ``IdentityDestination``.
///
/// A terminal is no ``ChainElement``: a destination in a chain and a middleware in `to:` are both refused on their own line.
public protocol Terminal<Carrier, Needs>: Component {
  associatedtype Carrier: Exchange
  associatedtype Needs: Need
  /// Who needs an identity (diagnostics only).
  associatedtype Unmet = Self
  /// Serves the exchange to its end.
  func finish(_ exchange: Carrier, _ needed: Needs.Value) async throws -> Summary
}

/// Serves exchanges to their end: dials and relays, or answers itself. Stands in `to: { … }`.
public protocol Destination: Terminal where Needs == Anyone {
  associatedtype Carrier = Exchange
  /// Serves the exchange; returns when it is over. A throw before the commit becomes the protocol's own refusal.
  func serve(_ exchange: Carrier) async throws -> Summary
}

extension Destination {
  @inlinable public func finish(_ exchange: Carrier, _ needed: Void) async throws -> Summary {
    try await serve(exchange)
  }
}

/// A destination that needs an authenticator in the chain.
public protocol IdentityDestination<User>: Terminal {
  associatedtype User: Identity
  associatedtype Carrier = Exchange
  associatedtype Needs = Exactly<User>
  /// Serves the exchange of this identity; returns when it is over.
  func serve(_ exchange: Carrier, identity: User) async throws -> Summary
}

extension IdentityDestination where Needs == Exactly<User> {
  @inlinable public func finish(_ exchange: Carrier, _ needed: User) async throws -> Summary {
    try await serve(exchange, identity: needed)
  }
}

extension IdentityDestination where Needs == SomeIdentity, User == Principal {
  @inlinable public func finish(_ exchange: Carrier, _ needed: Principal) async throws -> Summary {
    try await serve(exchange, identity: needed)
  }
}
