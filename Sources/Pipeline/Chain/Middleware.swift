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

/// A middleware that never waits: it looks before, and looks again when the exchange is over. It may refuse, and what it holds
/// meanwhile is handed from `before` to whichever of `after` and `failed` comes.
///
/// ```swift
/// struct Slow: ImmediateMiddleware {
///   func before(_ exchange: Exchange) throws -> Instant { exchange.now }
///   func after(_ exchange: Exchange, _ began: Instant, _ summary: Summary) {
///     if exchange.now - began > .seconds(1) { exchange.runtime.log(.notice, "\(exchange.client) was slow") }
///   }
/// }
/// ```
/// It does what a ``Middleware`` could do, too, but a run of them costs one async frame together, where each middleware costs
/// two of its own (about 100 ns an exchange).
public protocol ImmediateMiddleware: Middleware where Needs == Anyone {
  /// Decides about one exchange; a throw refuses it.
  func before(_ exchange: Exchange) throws -> Held
  /// The rest has returned.
  func after(_ exchange: Exchange, _ held: Held, _ summary: Summary)
  /// The rest has thrown; the error that is returned is thrown on.
  func failed(_ exchange: Exchange, _ held: Held, _ error: any Error) -> any Error
}

extension ImmediateMiddleware {
  @inlinable public static var throwsLate: Bool { false }
  @inlinable public var isImmediate: Bool { true }

  @inlinable public func before(_ exchange: Exchange, _ needed: Void) throws -> Held { try before(exchange) }

  @inlinable public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    try await surround(exchange, (), next: next)
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
