/// `B` needs some identity, and `A` gives one.
@frozen public struct ThenWithSome<A: ChainElement, B: TransparentElement, U: Identity>: ChainElement, Pair
where A.Carrier == B.Carrier, A.Gives == Identified<U>, B.Needs: MetByAnyIdentity {
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
    _ exchange: A.Carrier, _ needed: A.Needs.Value, then next: (U) async throws -> Summary
  ) async throws -> Summary {
    try await a.pass(exchange, needed) { given in
      try await b.through(exchange, B.Needs.value(of: given)) { try await next(given) }
    }
  }
}

/// `B` needs a `U`, and `A` gives one.
@frozen public struct ThenWith<A: ChainElement, B: TransparentElement, U: Identity>: ChainElement, Pair
where A.Carrier == B.Carrier, A.Gives == Identified<U>, B.Needs: MetByOneIdentity, B.Needs.User == U {
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
    _ exchange: A.Carrier, _ needed: A.Needs.Value, then next: (U) async throws -> Summary
  ) async throws -> Summary {
    try await a.pass(exchange, needed) { given in
      try await b.through(exchange, B.Needs.value(of: given)) { try await next(given) }
    }
  }
}
