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
  public typealias Held = HeldByEither<A.Held, B.Held>

  @inlinable public var isImmediate: Bool {
    switch self {
    case .first(let a): a.isImmediate
    case .second(let b): b.isImmediate
    }
  }

  @inlinable public func before(_ exchange: A.Carrier, _ needed: (A.Needs.Value, B.Needs.Value)) throws -> Held {
    switch self {
    case .first(let a): .first(try a.before(exchange, needed.0))
    case .second(let b): .second(try b.before(exchange, needed.1))
    }
  }

  @inlinable public func after(_ exchange: A.Carrier, _ held: Held, _ summary: Summary) {
    switch (self, held) {
    case (.first(let a), .first(let held)): a.after(exchange, held, summary)
    case (.second(let b), .second(let held)): b.after(exchange, held, summary)
    default: break
    }
  }

  @inlinable public func failed(_ exchange: A.Carrier, _ held: Held, _ error: any Error) -> any Error {
    switch (self, held) {
    case (.first(let a), .first(let held)): a.failed(exchange, held, error)
    case (.second(let b), .second(let held)): b.failed(exchange, held, error)
    default: error
    }
  }

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

/// What the branch that was taken holds while the rest runs.
@frozen public enum HeldByEither<A, B> {
  case first(A)
  case second(B)
}
