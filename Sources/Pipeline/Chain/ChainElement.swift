/// The rest of the exchange's life: everything below this element, the destination and the relayed bytes included.
///
/// It returns after the exchange is over. It is non-escaping and may be called again once it has returned (retry); two
/// calls at once do not compile.
public typealias Next = () async throws -> Summary

/// Stands for the culprit of a fragment that needs nothing (diagnostics only).
public enum Nobody {}

/// Anything that can stand in a chain. Do not conform to it; conform to ``Middleware``, ``HTTPMiddleware``,
/// ``IdentityMiddleware``, ``Authenticator`` or ``IdentityTransform``.
public protocol ChainElement<Carrier, Needs, Gives>: Component {
  /// The class of exchange that the element asks for: it fits every transport whose exchange is of this class.
  associatedtype Carrier: Exchange
  /// What has to stand above it.
  associatedtype Needs: Need
  /// What it hands to the elements below it.
  associatedtype Gives: Gift
  /// Who needs an identity that nothing in this fragment gives (diagnostics only).
  associatedtype Unmet = Self

  /// Whether it may throw after its `next` has returned. Default: yes, except for authenticators and identity transforms.
  ///
  /// An element that only passes on what its `next` returned says no and saves an async frame (some 20 ns an exchange). One
  /// that says no and does throw then has its failure charged to an element above it, in the counters.
  static var throwsLate: Bool { get }

  /// Runs the element; `next` is everything below it.
  func pass(
    _ exchange: Carrier, _ needed: Needs.Value, then next: (Gives.Value) async throws -> Summary
  ) async throws -> Summary

  /// The response phase: runs once between the upstream's response head and the first byte to the client, innermost
  /// element first, for the elements whose `next` was called. A throw goes to whoever catches above.
  func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws

  /// Compositions place what they are made of; a leaf has nothing to place.
  mutating func place(_ placement: inout Placement)
}

extension ChainElement {
  @inlinable public static var throwsLate: Bool { true }
  @inlinable public func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {}
  public mutating func place(_ placement: inout Placement) {}
}

/// An element that adds nothing to what stands above it: everything but authenticators. Its `next` takes no argument.
public protocol TransparentElement<Carrier, Needs>: ChainElement where Gives == Unchanged {
  /// What ``before(_:_:)`` hands to ``after(_:_:_:)``.
  associatedtype Held = Void

  /// Runs the element; `next` is everything below it.
  func through(_ exchange: Carrier, _ needed: Needs.Value, next: Next) async throws -> Summary

  /// Whether it never waits: then a chain may call ``before(_:_:)`` and ``after(_:_:_:)`` around the rest instead of
  /// ``through(_:_:next:)``, which saves the async frames. Default: false. See ``ImmediateMiddleware``.
  var isImmediate: Bool { get }
  /// What an immediate element does before the rest; a throw refuses the exchange.
  func before(_ exchange: Carrier, _ needed: Needs.Value) throws -> Held
  /// What it does when the rest has returned.
  func after(_ exchange: Carrier, _ held: Held, _ summary: Summary)
  /// What it does when the rest has thrown; the error that it returns is thrown on.
  func failed(_ exchange: Carrier, _ held: Held, _ error: any Error) -> any Error
}

extension TransparentElement {
  @inlinable public var isImmediate: Bool { false }

  /// ``through(_:_:next:)`` of an immediate element.
  @inlinable @inline(__always)
  public func surround(_ exchange: Carrier, _ needed: Needs.Value, next: Next) async throws -> Summary {
    let held = try before(exchange, needed)
    let summary: Summary
    do {
      summary = try await next()
    } catch {
      throw failed(exchange, held, error)
    }
    after(exchange, held, summary)
    return summary
  }
  @inlinable public func after(_ exchange: Carrier, _ held: Held, _ summary: Summary) {}
  @inlinable public func failed(_ exchange: Carrier, _ held: Held, _ error: any Error) -> any Error { error }

  @inlinable public func pass(
    _ exchange: Carrier, _ needed: Needs.Value, then next: (Unchanged.Value) async throws -> Summary
  ) async throws -> Summary {
    try await through(exchange, needed) { try await next(()) }
  }
}

extension TransparentElement where Held == Void {
  /// For elements that are never immediate.
  @inlinable public func before(_ exchange: Carrier, _ needed: Needs.Value) throws {}
}
