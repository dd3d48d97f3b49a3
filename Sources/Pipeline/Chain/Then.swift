/// `B` asks for nothing; what `A` gives passes by.
@frozen public struct Then<A: ChainElement, B: TransparentElement>: ChainElement, Pair
where A.Carrier == B.Carrier, B.Needs: MetByNothing {
  public typealias Carrier = A.Carrier
  public typealias Needs = A.Needs
  public typealias Unmet = A.Unmet
  public typealias Gives = A.Gives

  public var a: A
  public var b: B

  @inlinable public init(_ a: A, _ b: B) {
    self.a = a
    self.b = b
  }

  @inlinable public func pass(
    _ exchange: A.Carrier, _ needed: A.Needs.Value, then next: (A.Gives.Value) async throws -> Summary
  ) async throws -> Summary {
    try await a.pass(exchange, needed) { given in
      try await b.through(exchange, B.Needs.value) { try await next(given) }
    }
  }
}

extension Then: TransparentElement where A: TransparentElement {
  @inlinable public func through(_ exchange: A.Carrier, _ needed: A.Needs.Value, next: Next) async throws -> Summary {
    try await a.through(exchange, needed) { try await b.through(exchange, B.Needs.value, next: next) }
  }
}

extension Then: Middleware where A: Middleware, B: Middleware {
  @inlinable public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    try await a.handle(exchange) { try await b.handle(exchange, next: next) }
  }
}
