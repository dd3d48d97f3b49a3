/// An `if` with `else`, or a `switch`. It is an element only when both branches give the same; what they need is needed
/// together.
@frozen public enum Either<A: ChainElement, B: ChainElement>: Sendable {
  case first(A)
  case second(B)
}

extension Either: Component {
  public static var label: String { "chain" }
}

extension Either: ChainElement where A.Carrier == B.Carrier, A.Gives == B.Gives {
  public typealias Carrier = A.Carrier
  public typealias Needs = Both<A.Needs, B.Needs>
  @inlinable public static var throwsLate: Bool { false }
  public typealias Unmet = (A.Unmet, B.Unmet)
  public typealias Gives = A.Gives

  @inlinable public func pass(
    _ exchange: A.Carrier, _ needed: (A.Needs.Value, B.Needs.Value), then next: (A.Gives.Value) async throws -> Summary
  ) async throws -> Summary {
    switch self {
    case .first(let a): try await a.pass(exchange, needed.0, then: next)
    case .second(let b): try await b.pass(exchange, needed.1, then: next)
    }
  }

  @inlinable public func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    switch self {
    case .first(let a): try a.respond(&head, on: exchange)
    case .second(let b): try b.respond(&head, on: exchange)
    }
  }

  public mutating func place(_ placement: inout Placement) {
    switch self {
    case .first(var a):
      a.place(&placement)
      self = .first(a)
    case .second(var b):
      b.place(&placement)
      self = .second(b)
    }
  }
}

extension Either: TransparentElement where A: TransparentElement, B: TransparentElement, A.Carrier == B.Carrier {
  @inlinable public func through(
    _ exchange: A.Carrier, _ needed: (A.Needs.Value, B.Needs.Value), next: Next
  ) async throws -> Summary {
    switch self {
    case .first(let a): try await a.through(exchange, needed.0, next: next)
    case .second(let b): try await b.through(exchange, needed.1, next: next)
    }
  }
}

extension Either: Middleware where A: Middleware, B: Middleware {
  @inlinable public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    switch self {
    case .first(let a): try await a.handle(exchange, next: next)
    case .second(let b): try await b.handle(exchange, next: next)
    }
  }
}
