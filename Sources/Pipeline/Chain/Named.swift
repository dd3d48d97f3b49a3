/// An element, or a whole chain, with a name. Made by `.named("…")`.
public struct Named<Element: ChainElement>: ChainElement, ComponentWrapper {
  public typealias Carrier = Element.Carrier
  public typealias Needs = Element.Needs
  public typealias Unmet = Element.Unmet
  public typealias Gives = Element.Gives

  var wrapped: Element
  public static var throwsLate: Bool { Element.throwsLate }
  public let name: String?
  public static var label: String { Element.label }
  public var parameters: [Parameter] { wrapped.parameters }
  public var uses: Uses { wrapped.uses }
  public var state: AnyObject? { wrapped.state }
  public func validate(into problems: inout Problems) { wrapped.validate(into: &problems) }
  public func run(_ services: any BackgroundServices) async throws { try await wrapped.run(services) }
  public mutating func adopt(from old: Self) { wrapped.adopt(from: old.wrapped) }

  public func pass(
    _ exchange: Element.Carrier, _ needed: Element.Needs.Value, then next: (Element.Gives.Value) async throws -> Summary
  ) async throws -> Summary {
    try await wrapped.pass(exchange, needed, then: next)
  }

  public func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    try wrapped.respond(&head, on: exchange)
  }

  public mutating func place(_ placement: inout Placement) {
    placement.grouped(as: name) { wrapped.place(&$0) }
  }
}

extension Named: TransparentElement where Element: TransparentElement {
  public typealias Held = Element.Held

  public var isImmediate: Bool { wrapped.isImmediate }

  public func before(_ exchange: Element.Carrier, _ needed: Element.Needs.Value) throws -> Element.Held {
    try wrapped.before(exchange, needed)
  }

  public func after(_ exchange: Element.Carrier, _ held: Element.Held, _ summary: Summary) {
    wrapped.after(exchange, held, summary)
  }

  public func failed(_ exchange: Element.Carrier, _ held: Element.Held, _ error: any Error) -> any Error {
    wrapped.failed(exchange, held, error)
  }

  public func through(
    _ exchange: Element.Carrier, _ needed: Element.Needs.Value, next: Next
  ) async throws -> Summary {
    try await wrapped.through(exchange, needed, next: next)
  }
}

extension Named: Middleware where Element: Middleware {
  public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    try await wrapped.handle(exchange, next: next)
  }
}

extension ChainElement {
  /// Names the element, to tell it from others of its kind: in metrics, in the plan, and when a reload carries state over.
  ///
  /// On a group (`Chain { … }.named("edge")`) the name also qualifies every element inside.
  public func named(_ name: String) -> Named<Self> { Named(wrapped: self, name: name) }
}
