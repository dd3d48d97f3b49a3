/// Gives the connection an identity, or throws a ``Rejection``.
///
/// Everything below it knows the identity by its type. Credentials are pulled: an authenticator that takes a
/// ``PasswordExchange`` asks `exchange.credentials()`, and only then does the transport ask the client.
public protocol Authenticator<User>: ChainElement where Needs == Anyone, Gives == Identified<User> {
  associatedtype User: Identity
  associatedtype Carrier = Exchange
  /// Who the client is. Throws a ``Rejection`` when it is nobody that may pass.
  func authenticate(_ exchange: Carrier) async throws -> User
}

extension Authenticator {
  @inlinable public static var throwsLate: Bool { false }
  @inlinable public func pass(
    _ exchange: Carrier, _ needed: Void, then next: (User) async throws -> Summary
  ) async throws -> Summary {
    let user = try await authenticate(exchange)
    exchange.principal = user.principal
    return try await next(user)
  }
}

/// Turns the identity above into a richer one (a looked-up account, a session, a tenant).
public protocol IdentityTransform<User, Output>: ChainElement
where Needs == Exactly<User>, Gives == Identified<Output> {
  associatedtype User: Identity
  associatedtype Output: Identity
  associatedtype Carrier = Exchange
  /// The richer identity. Throws a ``Rejection`` when there is none.
  func transform(_ identity: User, on exchange: Carrier) async throws -> Output
}

extension IdentityTransform {
  @inlinable public static var throwsLate: Bool { false }
  @inlinable public func pass(
    _ exchange: Carrier, _ needed: User, then next: (Output) async throws -> Summary
  ) async throws -> Summary {
    let user = try await transform(needed, on: exchange)
    exchange.principal = user.principal
    return try await next(user)
  }
}
