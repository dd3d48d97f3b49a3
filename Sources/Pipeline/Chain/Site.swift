/// One element's place in one chain: the builder puts every element into one.
///
/// Everything that the composition does for an element (lifting it to the transport, counting, who is open for the response
/// phase) is here and in ``End``, and nowhere else.
@frozen public struct Site<Carrier: Exchange, Element: ChainElement>: ChainElement {
  public typealias Needs = Element.Needs
  public typealias Unmet = Element.Unmet
  public typealias Gives = Element.Gives

  // Boxed, so that a chain is two words an element: the closures that carry the rest of a chain copy it into their async
  // frames, and a frame that does not fit the task's first slab costs every connection a malloc and its memory.
  @usableFromInline var box: SiteBox<Element>
  @usableFromInline var index = 0

  @inlinable var element: Element { box.content }

  @inlinable init(_ element: Element) { box = SiteBox(element) }

  // Sound because the builder makes a site only where Element.Carrier is Carrier or one of its superclasses.
  @inlinable func lift(_ exchange: Carrier) -> Element.Carrier {
    unsafeDowncast(exchange as Exchange, to: Element.Carrier.self)
  }

  // Where an element cannot throw after its `next` has returned, nothing is done after the call: it stays a tail call, and
  // the layer keeps one async frame less. The condition is a constant where the chain is specialised.
  @inlinable public func pass(
    _ exchange: Carrier, _ needed: Element.Needs.Value, then next: (Element.Gives.Value) async throws -> Summary
  ) async throws -> Summary {
    exchange.enter(index)
    guard Element.throwsLate else { return try await element.pass(lift(exchange), needed, then: next) }
    let summary = try await element.pass(lift(exchange), needed, then: next)
    exchange.settled = index
    return summary
  }

  // `depth` is the index of the element entered last, so a smaller index means that this element called its `next`.
  @inlinable public func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    if index < exchange.depth { try element.respond(&head, on: exchange) }
  }

  public mutating func place(_ placement: inout Placement) {
    var own = box.content
    index = placement.begin(&own, throwsLate: Element.throwsLate)
    placement.inside(index) { own.place(&$0) }
    box = SiteBox(own)
  }
}

/// What stands in a ``Site`` or an ``End``. Never changed: to place a chain makes new ones.
@usableFromInline final class SiteBox<Content: Sendable>: Sendable {
  @usableFromInline let content: Content
  /// Of a destination: see ``SettlingDestination``.
  @usableFromInline let settlesItself: Bool

  @inlinable init(_ content: Content) {
    self.content = content
    settlesItself = isSettling(Content.self)
  }
}

/// A destination that calls ``Exchange/noteReturn()`` itself when it returns, from a place where it has something to do anyway: so
/// that nothing is left to be done for it after its call.
package protocol SettlingDestination {}

@usableFromInline func isSettling(_ type: Any.Type) -> Bool { type is any SettlingDestination.Type }

extension Site: TransparentElement where Element: TransparentElement {
  public typealias Held = Element.Held

  @inlinable public var isImmediate: Bool { element.isImmediate }

  @inlinable public func before(_ exchange: Carrier, _ needed: Element.Needs.Value) throws -> Held {
    exchange.enter(index)
    return try element.before(lift(exchange), needed)
  }

  @inlinable public func after(_ exchange: Carrier, _ held: Held, _ summary: Summary) {
    element.after(lift(exchange), held, summary)
  }

  @inlinable public func failed(_ exchange: Carrier, _ held: Held, _ error: any Error) -> any Error {
    element.failed(lift(exchange), held, error)
  }

  // Inlined, so that a run of immediate elements becomes one function.
  @inlinable @inline(__always) public func through(
    _ exchange: Carrier, _ needed: Element.Needs.Value, next: Next
  ) async throws -> Summary {
    exchange.enter(index)
    if element.isImmediate { return try await element.surround(lift(exchange), needed, next: next) }
    guard Element.throwsLate else { return try await element.through(lift(exchange), needed, next: next) }
    let summary = try await element.through(lift(exchange), needed, next: next)
    exchange.settled = index
    return summary
  }
}

extension Site: Middleware where Carrier == Exchange, Element: Middleware {
  @inlinable public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    try await through(exchange, Element.Needs.value, next: next)
  }
}
