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
  /// What all but the last hold, and what the last one holds.
  public typealias Held = (upper: (A.Held, B.Held), last: C.Held)

  @inlinable public var isImmediate: Bool { c.isImmediate && isImmediateToLast }
  @inlinable var isImmediateToLast: Bool { b.isImmediate && a.isImmediate }

  @inlinable public func before(_ exchange: A.Carrier, _ needed: A.Needs.Value) throws -> Held {
    let upper = try beforeLast(exchange, needed)
    do {
      return (upper, try c.before(exchange, C.Needs.value))
    } catch {
      throw failedAboveLast(exchange, upper, error)
    }
  }

  @inlinable public func after(_ exchange: A.Carrier, _ held: Held, _ summary: Summary) {
    c.after(exchange, held.last, summary)
    afterLast(exchange, held.upper, summary)
  }

  @inlinable public func failed(_ exchange: A.Carrier, _ held: Held, _ error: any Error) -> any Error {
    failedAboveLast(exchange, held.upper, c.failed(exchange, held.last, error))
  }

  @inlinable func beforeLast(_ exchange: A.Carrier, _ needed: A.Needs.Value) throws -> (A.Held, B.Held) {
    let heldByA = try a.before(exchange, needed)
    let heldByB: B.Held
    do {
      heldByB = try b.before(exchange, B.Needs.value)
    } catch {
      throw a.failed(exchange, heldByA, error)
    }
    return (heldByA, heldByB)
  }

  @inlinable func afterLast(_ exchange: A.Carrier, _ held: (A.Held, B.Held), _ summary: Summary) {
    b.after(exchange, held.1, summary)
    a.after(exchange, held.0, summary)
  }

  @inlinable func failedAboveLast(_ exchange: A.Carrier, _ held: (A.Held, B.Held), _ error: any Error) -> any Error {
    a.failed(exchange, held.0, b.failed(exchange, held.1, error))
  }

  // A run of immediate elements is one async frame, whatever the last of them is: with an element below that waits, without a closure.
  @inlinable public func through(_ exchange: A.Carrier, _ needed: A.Needs.Value, next: Next) async throws -> Summary {
    if isImmediate { return try await surround(exchange, needed, next: next) }
    guard isImmediateToLast else { return try await nested(exchange, needed, next: next) }
    let held = try beforeLast(exchange, needed)
    let summary: Summary
    do {
      summary = try await c.through(exchange, C.Needs.value, next: next)
    } catch {
      throw failedAboveLast(exchange, held, error)
    }
    afterLast(exchange, held, summary)
    return summary
  }

  @inlinable func nested(_ exchange: A.Carrier, _ needed: A.Needs.Value, next: Next) async throws -> Summary {
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
  /// What all but the last hold, and what the last one holds.
  public typealias Held = (upper: (A.Held, B.Held, C.Held), last: D.Held)

  @inlinable public var isImmediate: Bool { d.isImmediate && isImmediateToLast }
  @inlinable var isImmediateToLast: Bool { c.isImmediate && b.isImmediate && a.isImmediate }

  @inlinable public func before(_ exchange: A.Carrier, _ needed: A.Needs.Value) throws -> Held {
    let upper = try beforeLast(exchange, needed)
    do {
      return (upper, try d.before(exchange, D.Needs.value))
    } catch {
      throw failedAboveLast(exchange, upper, error)
    }
  }

  @inlinable public func after(_ exchange: A.Carrier, _ held: Held, _ summary: Summary) {
    d.after(exchange, held.last, summary)
    afterLast(exchange, held.upper, summary)
  }

  @inlinable public func failed(_ exchange: A.Carrier, _ held: Held, _ error: any Error) -> any Error {
    failedAboveLast(exchange, held.upper, d.failed(exchange, held.last, error))
  }

  @inlinable func beforeLast(_ exchange: A.Carrier, _ needed: A.Needs.Value) throws -> (A.Held, B.Held, C.Held) {
    let heldByA = try a.before(exchange, needed)
    let heldByB: B.Held
    do {
      heldByB = try b.before(exchange, B.Needs.value)
    } catch {
      throw a.failed(exchange, heldByA, error)
    }
    let heldByC: C.Held
    do {
      heldByC = try c.before(exchange, C.Needs.value)
    } catch {
      throw a.failed(exchange, heldByA, b.failed(exchange, heldByB, error))
    }
    return (heldByA, heldByB, heldByC)
  }

  @inlinable func afterLast(_ exchange: A.Carrier, _ held: (A.Held, B.Held, C.Held), _ summary: Summary) {
    c.after(exchange, held.2, summary)
    b.after(exchange, held.1, summary)
    a.after(exchange, held.0, summary)
  }

  @inlinable func failedAboveLast(_ exchange: A.Carrier, _ held: (A.Held, B.Held, C.Held), _ error: any Error)
    -> any Error
  {
    a.failed(exchange, held.0, b.failed(exchange, held.1, c.failed(exchange, held.2, error)))
  }

  // A run of immediate elements is one async frame, whatever the last of them is: with an element below that waits, without a closure.
  @inlinable public func through(_ exchange: A.Carrier, _ needed: A.Needs.Value, next: Next) async throws -> Summary {
    if isImmediate { return try await surround(exchange, needed, next: next) }
    guard isImmediateToLast else { return try await nested(exchange, needed, next: next) }
    let held = try beforeLast(exchange, needed)
    let summary: Summary
    do {
      summary = try await d.through(exchange, D.Needs.value, next: next)
    } catch {
      throw failedAboveLast(exchange, held, error)
    }
    afterLast(exchange, held, summary)
    return summary
  }

  @inlinable func nested(_ exchange: A.Carrier, _ needed: A.Needs.Value, next: Next) async throws -> Summary {
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
