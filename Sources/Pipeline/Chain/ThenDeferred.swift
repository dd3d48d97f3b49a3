// A fragment (the block of an `if`, of a route, a stored chain) is type-checked alone: what it needs and does not give is
// deferred to the place where it is joined.

/// `A` or `B` needs some identity: so does the fragment.
@frozen public struct ThenDeferred<A: TransparentElement, B: TransparentElement>: TransparentElement, Pair
where A.Carrier == B.Carrier, A.Needs: MetByAnyIdentity, B.Needs: MetByAnyIdentity {
  public typealias Carrier = A.Carrier
  public typealias Needs = SomeIdentity
  public typealias Unmet = B.Unmet
  public typealias Gives = Unchanged

  public var a: A
  public var b: B

  @inlinable public init(_ a: A, _ b: B) {
    self.a = a
    self.b = b
  }

  @inlinable public func through(_ exchange: A.Carrier, _ needed: Principal, next: Next) async throws -> Summary {
    try await a.through(exchange, A.Needs.value(of: needed)) {
      try await b.through(exchange, B.Needs.value(of: needed), next: next)
    }
  }
}

/// `A` needs one identity type, `B` some identity: the fragment needs the one of `A`.
@frozen public struct ThenDeferredTyped<A: TransparentElement, B: TransparentElement>: TransparentElement, Pair
where A.Carrier == B.Carrier, A.Needs: MetByOneIdentity, B.Needs: MetByAnyIdentity {
  public typealias Carrier = A.Carrier
  public typealias Needs = Exactly<A.Needs.User>
  public typealias Unmet = B.Unmet
  public typealias Gives = Unchanged

  public var a: A
  public var b: B

  @inlinable public init(_ a: A, _ b: B) {
    self.a = a
    self.b = b
  }

  @inlinable public func through(_ exchange: A.Carrier, _ needed: A.Needs.User, next: Next) async throws -> Summary {
    try await a.through(exchange, A.Needs.value(of: needed)) {
      try await b.through(exchange, B.Needs.value(of: needed), next: next)
    }
  }
}

/// `B` needs a `U`: so does the fragment.
@frozen
public struct ThenDeferredExactly<A: TransparentElement, B: TransparentElement, U: Identity>: TransparentElement, Pair
where A.Carrier == B.Carrier, A.Needs: MetByAnyIdentity, B.Needs: MetByOneIdentity, B.Needs.User == U {
  public typealias Carrier = A.Carrier
  public typealias Needs = Exactly<U>
  public typealias Unmet = B.Unmet
  public typealias Gives = Unchanged

  public var a: A
  public var b: B

  @inlinable public init(_ a: A, _ b: B) {
    self.a = a
    self.b = b
  }

  @inlinable public func through(_ exchange: A.Carrier, _ needed: U, next: Next) async throws -> Summary {
    try await a.through(exchange, A.Needs.value(of: needed)) {
      try await b.through(exchange, B.Needs.value(of: needed), next: next)
    }
  }
}

/// `A` and `B` both need a `U`: so does the fragment.
@frozen
public struct ThenDeferredSame<A: TransparentElement, B: TransparentElement, U: Identity>: TransparentElement, Pair
where A.Carrier == B.Carrier, A.Needs: MetByOneIdentity, A.Needs.User == U, B.Needs: MetByOneIdentity, B.Needs.User == U
{
  public typealias Carrier = A.Carrier
  public typealias Needs = Exactly<U>
  public typealias Unmet = B.Unmet
  public typealias Gives = Unchanged

  public var a: A
  public var b: B

  @inlinable public init(_ a: A, _ b: B) {
    self.a = a
    self.b = b
  }

  @inlinable public func through(_ exchange: A.Carrier, _ needed: U, next: Next) async throws -> Summary {
    try await a.through(exchange, A.Needs.value(of: needed)) {
      try await b.through(exchange, B.Needs.value(of: needed), next: next)
    }
  }
}
