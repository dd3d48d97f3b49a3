/// `B` authenticates.
@frozen public struct ThenAuthenticate<A: TransparentElement, B: ChainElement>: ChainElement, Pair
where A.Carrier == B.Carrier, A.Needs: MetByNothing, B.Needs: MetByNothing {
  public typealias Carrier = A.Carrier
  public typealias Needs = Anyone
  public typealias Unmet = Nobody
  public typealias Gives = B.Gives

  public var a: A
  public var b: B

  @inlinable public init(_ a: A, _ b: B) {
    self.a = a
    self.b = b
  }

  @inlinable public func pass(
    _ exchange: A.Carrier, _ needed: Void, then next: (B.Gives.Value) async throws -> Summary
  ) async throws -> Summary {
    try await a.through(exchange, A.Needs.value) { try await b.pass(exchange, B.Needs.value, then: next) }
  }
}

/// `B` authenticates again: its identity replaces the one that `A` gives.
@frozen public struct ThenReauthenticate<A: ChainElement, B: ChainElement>: ChainElement, Pair
where A.Carrier == B.Carrier, B.Needs: MetByNothing {
  public typealias Carrier = A.Carrier
  public typealias Needs = A.Needs
  public typealias Unmet = A.Unmet
  public typealias Gives = B.Gives

  public var a: A
  public var b: B

  @inlinable public init(_ a: A, _ b: B) {
    self.a = a
    self.b = b
  }

  @inlinable public func pass(
    _ exchange: A.Carrier, _ needed: A.Needs.Value, then next: (B.Gives.Value) async throws -> Summary
  ) async throws -> Summary {
    try await a.pass(exchange, needed) { _ in try await b.pass(exchange, B.Needs.value, then: next) }
  }
}

/// `B` turns the identity that `A` gives into another one.
@frozen public struct ThenTransform<A: ChainElement, B: ChainElement, U: Identity>: ChainElement, Pair
where A.Carrier == B.Carrier, A.Gives == Identified<U>, B.Needs: MetByOneIdentity, B.Needs.User == U {
  public typealias Carrier = A.Carrier
  public typealias Needs = A.Needs
  public typealias Unmet = A.Unmet
  public typealias Gives = B.Gives

  public var a: A
  public var b: B

  @inlinable public init(_ a: A, _ b: B) {
    self.a = a
    self.b = b
  }

  @inlinable public func pass(
    _ exchange: A.Carrier, _ needed: A.Needs.Value, then next: (B.Gives.Value) async throws -> Summary
  ) async throws -> Summary {
    try await a.pass(exchange, needed) { user in
      try await b.pass(exchange, B.Needs.value(of: user), then: next)
    }
  }
}
