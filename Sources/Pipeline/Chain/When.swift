/// An `if` without `else`. It is an element only when its content is transparent: an authenticator here would leave the
/// elements below without an identity, and the builder says so.
@frozen public struct When<Content: ChainElement>: Sendable {
  public var content: Content?
  @inlinable public init(_ content: Content?) { self.content = content }
}

extension When: Component {
  public static var label: String { "chain" }
}

extension When: ChainElement where Content: TransparentElement {}

extension When: TransparentElement where Content: TransparentElement {
  public typealias Carrier = Content.Carrier
  public typealias Needs = Content.Needs
  @inlinable public static var throwsLate: Bool { false }
  public typealias Unmet = Content.Unmet
  public typealias Gives = Unchanged
  public typealias Held = Content.Held?

  @inlinable public var isImmediate: Bool { content?.isImmediate ?? true }

  @inlinable public func before(_ exchange: Content.Carrier, _ needed: Content.Needs.Value) throws -> Held {
    try content?.before(exchange, needed)
  }

  @inlinable public func after(_ exchange: Content.Carrier, _ held: Held, _ summary: Summary) {
    if let content, let held { content.after(exchange, held, summary) }
  }

  @inlinable public func failed(_ exchange: Content.Carrier, _ held: Held, _ error: any Error) -> any Error {
    if let content, let held { content.failed(exchange, held, error) } else { error }
  }

  @inlinable @inline(__always) public func through(
    _ exchange: Content.Carrier, _ needed: Content.Needs.Value, next: Next
  ) async throws -> Summary {
    if let content { try await content.through(exchange, needed, next: next) } else { try await next() }
  }

  @inlinable public func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    try content?.respond(&head, on: exchange)
  }

  public mutating func place(_ placement: inout Placement) { content?.place(&placement) }
}

extension When: Middleware where Content: Middleware {
  @inlinable public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    if let content { try await content.handle(exchange, next: next) } else { try await next() }
  }
}
