/// A stored chain, to be used in several listeners: `let common = Chain { AccessLog(); TokenBucket(…) }`.
///
/// Elements are values and every listener places its own copy, but their state objects are shared: a bucket in a chain
/// that three listeners use is one bucket.
@frozen public struct Chain<Content: ChainElement>: ChainElement {
  public typealias Carrier = Content.Carrier
  public typealias Needs = Content.Needs
  public typealias Gives = Content.Gives
  public typealias Unmet = Content.Unmet

  public static var label: String { "chain" }
  @inlinable public static var throwsLate: Bool { false }
  public var content: Content

  /// A chain that fits every transport.
  @inlinable public init(@MiddlewareBuilder _ content: () -> Content) where Content.Carrier == Exchange {
    self.content = content()
  }

  /// A chain for one transport, or `.passwords` for those that carry a user name and a password.
  @inlinable public init<C: TransportExchange>(
    for transport: TransportKind<C>, @ChainBuilder<C> _ content: () -> Content
  ) where Content.Carrier == C {
    self.content = content()
  }

  @inlinable public func pass(
    _ exchange: Content.Carrier, _ needed: Content.Needs.Value, then next: (Content.Gives.Value) async throws -> Summary
  ) async throws -> Summary {
    try await content.pass(exchange, needed, then: next)
  }

  @inlinable public func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    try content.respond(&head, on: exchange)
  }

  public mutating func place(_ placement: inout Placement) { content.place(&placement) }
}

extension Chain: TransparentElement where Content: TransparentElement {
  public typealias Held = Content.Held

  @inlinable public var isImmediate: Bool { content.isImmediate }

  @inlinable public func before(_ exchange: Content.Carrier, _ needed: Content.Needs.Value) throws -> Held {
    try content.before(exchange, needed)
  }

  @inlinable public func after(_ exchange: Content.Carrier, _ held: Held, _ summary: Summary) {
    content.after(exchange, held, summary)
  }

  @inlinable public func failed(_ exchange: Content.Carrier, _ held: Held, _ error: any Error) -> any Error {
    content.failed(exchange, held, error)
  }

  @inlinable @inline(__always) public func through(
    _ exchange: Content.Carrier, _ needed: Content.Needs.Value, next: Next
  ) async throws -> Summary {
    try await content.through(exchange, needed, next: next)
  }
}

extension Chain: Middleware where Content: Middleware {
  @inlinable public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    try await content.handle(exchange, next: next)
  }
}
