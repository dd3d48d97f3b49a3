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
  /// What all but the last hold, and what the last one holds.
  public typealias Held = (upper: A.Held, last: B.Held)

  @inlinable public var isImmediate: Bool { b.isImmediate && isImmediateToLast }
  @inlinable var isImmediateToLast: Bool { a.isImmediate }

  @inlinable public func before(_ exchange: A.Carrier, _ needed: A.Needs.Value) throws -> Held {
    let upper = try beforeLast(exchange, needed)
    do {
      return (upper, try b.before(exchange, B.Needs.value))
    } catch {
      throw failedAboveLast(exchange, upper, error)
    }
  }

  @inlinable public func after(_ exchange: A.Carrier, _ held: Held, _ summary: Summary) {
    b.after(exchange, held.last, summary)
    afterLast(exchange, held.upper, summary)
  }

  @inlinable public func failed(_ exchange: A.Carrier, _ held: Held, _ error: any Error) -> any Error {
    failedAboveLast(exchange, held.upper, b.failed(exchange, held.last, error))
  }

  @inlinable func beforeLast(_ exchange: A.Carrier, _ needed: A.Needs.Value) throws -> A.Held {
    try a.before(exchange, needed)
  }

  @inlinable func afterLast(_ exchange: A.Carrier, _ held: A.Held, _ summary: Summary) {
    a.after(exchange, held, summary)
  }

  @inlinable func failedAboveLast(_ exchange: A.Carrier, _ held: A.Held, _ error: any Error) -> any Error {
    a.failed(exchange, held, error)
  }

  // A run of immediate elements is one async frame, whatever the last of them is: with an element below that waits, without a closure.
  @inlinable public func through(_ exchange: A.Carrier, _ needed: A.Needs.Value, next: Next) async throws -> Summary {
    if isImmediate { return try await surround(exchange, needed, next: next) }
    guard isImmediateToLast else { return try await nested(exchange, needed, next: next) }
    let held = try beforeLast(exchange, needed)
    let summary: Summary
    do {
      summary = try await b.through(exchange, B.Needs.value, next: next)
    } catch {
      throw failedAboveLast(exchange, held, error)
    }
    afterLast(exchange, held, summary)
    return summary
  }

  @inlinable func nested(_ exchange: A.Carrier, _ needed: A.Needs.Value, next: Next) async throws -> Summary {
    try await a.through(exchange, needed) { try await b.through(exchange, B.Needs.value, next: next) }
  }
}

extension Then: Middleware where A: Middleware, B: Middleware {
  @inlinable public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    try await a.handle(exchange) { try await b.handle(exchange, next: next) }
  }
}
