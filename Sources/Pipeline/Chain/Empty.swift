/// `{ }`: a chain without elements. It has no place, so it is neither counted nor drawn.
@frozen public struct Empty<Carrier: Exchange>: TransparentElement {
  public typealias Needs = Anyone
  public typealias Unmet = Nobody
  public typealias Gives = Unchanged

  public static var label: String { "chain" }
  @inlinable public static var throwsLate: Bool { false }
  @inlinable public init() {}
  @inlinable public var isImmediate: Bool { true }
  @inlinable public func before(_ exchange: Carrier, _ needed: Void) {}
  @inlinable public func through(_ exchange: Carrier, _ needed: Void, next: Next) async throws -> Summary {
    try await next()
  }
}

extension Empty: Middleware where Carrier == Exchange {
  @inlinable public func handle(_ exchange: Exchange, next: Next) async throws -> Summary { try await next() }
}
