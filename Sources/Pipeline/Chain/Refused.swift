/// What a refused overload returns, so that one mistake makes one error: everything accepts it.
public struct Refused<Carrier: Exchange, Gives: Gift>: ChainElement {
  public typealias Needs = Anyone
  public typealias Unmet = Nobody

  public func pass(
    _ exchange: Carrier, _ needed: Void, then next: (Gives.Value) async throws -> Summary
  ) async throws -> Summary {
    fatalError("a refused element cannot be built")
  }
}

extension Refused: TransparentElement where Gives == Unchanged {
  public func through(_ exchange: Carrier, _ needed: Void, next: Next) async throws -> Summary {
    fatalError("a refused element cannot be built")
  }
}
