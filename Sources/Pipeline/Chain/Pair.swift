/// Two elements, one above the other: the structural half of every `Then…`.
public protocol Pair: ChainElement {
  associatedtype A: ChainElement
  associatedtype B: ChainElement
  var a: A { get set }
  var b: B { get set }
}

extension Pair {
  public static var label: String { "chain" }
  @inlinable public static var throwsLate: Bool { false }

  public mutating func place(_ placement: inout Placement) {
    a.place(&placement)
    b.place(&placement)
  }

  // Innermost first: the response travels up.
  @inlinable public func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    try b.respond(&head, on: exchange)
    try a.respond(&head, on: exchange)
  }
}
