/// A `for` loop: elements of one type, one above the other.
@frozen public struct ForEach<Element: TransparentElement>: TransparentElement {
  public typealias Carrier = Element.Carrier
  public typealias Needs = Element.Needs
  public typealias Unmet = Element.Unmet
  public typealias Gives = Unchanged

  public static var label: String { "chain" }
  @inlinable public static var throwsLate: Bool { false }
  public var elements: [Element]

  @inlinable public init(_ elements: [Element]) { self.elements = elements }

  @inlinable public func through(
    _ exchange: Element.Carrier, _ needed: Element.Needs.Value, next: Next
  ) async throws -> Summary {
    try await run(from: 0, exchange, needed, next)
  }

  @inlinable func run(
    from i: Int, _ exchange: Element.Carrier, _ needed: Element.Needs.Value, _ next: Next
  ) async throws -> Summary {
    if i == elements.count { return try await next() }
    return try await elements[i].through(exchange, needed) { try await run(from: i + 1, exchange, needed, next) }
  }

  @inlinable public func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    for element in elements.reversed() { try element.respond(&head, on: exchange) }
  }

  public mutating func place(_ placement: inout Placement) {
    for i in elements.indices { elements[i].place(&placement) }
  }
}

extension ForEach: Middleware where Element: Middleware {
  @inlinable public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    try await through(exchange, Element.Needs.value, next: next)
  }
}
