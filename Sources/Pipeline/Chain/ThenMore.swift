/// Three elements; all but the first ask for nothing. The same as ``Then`` in ``Then``, with a type that is less deep: the
/// optimiser does not specialise types that are nested more than 50 deep, and a chain of 50 elements should be.
@frozen public struct Then3<A: ChainElement, B: TransparentElement, C: TransparentElement>: ChainElement
where A.Carrier == B.Carrier, B.Needs: MetByNothing, A.Carrier == C.Carrier, C.Needs: MetByNothing {
  public typealias Carrier = A.Carrier
  public typealias Needs = A.Needs
  public typealias Unmet = A.Unmet
  public typealias Gives = A.Gives

  public static var label: String { "chain" }
  @inlinable public static var throwsLate: Bool { false }
  public var a: A
  public var b: B
  public var c: C

  @inlinable public init(_ a: A, _ b: B, _ c: C) {
    self.a = a
    self.b = b
    self.c = c
  }

  @inlinable public func pass(
    _ exchange: A.Carrier, _ needed: A.Needs.Value, then next: (A.Gives.Value) async throws -> Summary
  ) async throws -> Summary {
    try await a.pass(exchange, needed) { given in
      try await b.through(exchange, B.Needs.value) {
        try await c.through(exchange, C.Needs.value) { try await next(given) }
      }
    }
  }

  @inlinable public func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    try c.respond(&head, on: exchange)
    try b.respond(&head, on: exchange)
    try a.respond(&head, on: exchange)
  }

  public mutating func place(_ placement: inout Placement) {
    a.place(&placement)
    b.place(&placement)
    c.place(&placement)
  }
}

extension Then3: TransparentElement where A: TransparentElement {
  @inlinable public func through(_ exchange: A.Carrier, _ needed: A.Needs.Value, next: Next) async throws -> Summary {
    try await a.through(exchange, needed) {
      try await b.through(exchange, B.Needs.value) {
        try await c.through(exchange, C.Needs.value, next: next)
      }
    }
  }
}

extension Then3: Middleware where A: Middleware, B: Middleware, C: Middleware {
  @inlinable public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    try await through(exchange, A.Needs.value, next: next)
  }
}

/// Four elements; all but the first ask for nothing. The same as ``Then`` in ``Then``, with a type that is less deep: the
/// optimiser does not specialise types that are nested more than 50 deep, and a chain of 50 elements should be.
@frozen
public struct Then4<A: ChainElement, B: TransparentElement, C: TransparentElement, D: TransparentElement>: ChainElement
where
  A.Carrier == B.Carrier, B.Needs: MetByNothing, A.Carrier == C.Carrier, C.Needs: MetByNothing, A.Carrier == D.Carrier,
  D.Needs: MetByNothing
{
  public typealias Carrier = A.Carrier
  public typealias Needs = A.Needs
  public typealias Unmet = A.Unmet
  public typealias Gives = A.Gives

  public static var label: String { "chain" }
  @inlinable public static var throwsLate: Bool { false }
  public var a: A
  public var b: B
  public var c: C
  public var d: D

  @inlinable public init(_ a: A, _ b: B, _ c: C, _ d: D) {
    self.a = a
    self.b = b
    self.c = c
    self.d = d
  }

  @inlinable public func pass(
    _ exchange: A.Carrier, _ needed: A.Needs.Value, then next: (A.Gives.Value) async throws -> Summary
  ) async throws -> Summary {
    try await a.pass(exchange, needed) { given in
      try await b.through(exchange, B.Needs.value) {
        try await c.through(exchange, C.Needs.value) {
          try await d.through(exchange, D.Needs.value) { try await next(given) }
        }
      }
    }
  }

  @inlinable public func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    try d.respond(&head, on: exchange)
    try c.respond(&head, on: exchange)
    try b.respond(&head, on: exchange)
    try a.respond(&head, on: exchange)
  }

  public mutating func place(_ placement: inout Placement) {
    a.place(&placement)
    b.place(&placement)
    c.place(&placement)
    d.place(&placement)
  }
}

extension Then4: TransparentElement where A: TransparentElement {
  @inlinable public func through(_ exchange: A.Carrier, _ needed: A.Needs.Value, next: Next) async throws -> Summary {
    try await a.through(exchange, needed) {
      try await b.through(exchange, B.Needs.value) {
        try await c.through(exchange, C.Needs.value) {
          try await d.through(exchange, D.Needs.value, next: next)
        }
      }
    }
  }
}

extension Then4: Middleware where A: Middleware, B: Middleware, C: Middleware, D: Middleware {
  @inlinable public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    try await through(exchange, A.Needs.value, next: next)
  }
}
