/// Works on every transport, above or below an authenticator.
///
/// ```swift
/// struct BusinessHours: Middleware {
///   func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
///     guard isOpen(exchange.now) else { throw Rejection(.forbidden) }
///     return try await next()
///   }
/// }
/// ```
public protocol Middleware: TransparentElement where Carrier == Exchange, Needs: MetByNothing {
  associatedtype Needs = Anyone
  /// Decides about one exchange. `next()` is the whole rest of its life; not to call it refuses the exchange.
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary
}

extension Middleware {
  @inlinable public func through(_ exchange: Exchange, _ needed: Needs.Value, next: Next) async throws -> Summary {
    try await handle(exchange, next: next)
  }
}

/// Works on HTTP only. Either method may be left out.
///
/// ```swift
/// struct ServedBy: HTTPMiddleware {
///   func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
///     head.fields.set("x-served-by", "sluice")
///   }
/// }
/// ```
public protocol HTTPMiddleware: TransparentElement where Carrier == HTTPExchange, Needs == Anyone {
  /// Decides about one request. `next()` is the whole rest of its life, the relayed body included.
  func handle(_ exchange: HTTPExchange, next: Next) async throws -> Summary
  /// Sees and edits the response head before its first byte leaves.
  func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws
}

extension HTTPMiddleware {
  @inlinable public func handle(_ exchange: HTTPExchange, next: Next) async throws -> Summary { try await next() }
  @inlinable public func through(_ exchange: HTTPExchange, _ needed: Void, next: Next) async throws -> Summary {
    try await handle(exchange, next: next)
  }
}

/// Needs an authenticator above it. The carrier and the identity type are inferred from `handle`.
///
/// Write `typealias Needs = SomeIdentity` and take a ``Principal`` to accept every identity type.
public protocol IdentityMiddleware<User>: TransparentElement {
  associatedtype User: Identity
  associatedtype Carrier = Exchange
  associatedtype Needs = Exactly<User>
  /// Decides about one exchange of this identity.
  func handle(_ exchange: Carrier, identity: User, next: Next) async throws -> Summary
}

extension IdentityMiddleware where Needs == Exactly<User> {
  @inlinable public func through(_ exchange: Carrier, _ needed: User, next: Next) async throws -> Summary {
    try await handle(exchange, identity: needed, next: next)
  }
}

extension IdentityMiddleware where Needs == SomeIdentity, User == Principal {
  @inlinable public func through(_ exchange: Carrier, _ needed: Principal, next: Next) async throws -> Summary {
    try await handle(exchange, identity: needed, next: next)
  }
}
