/// The identity state machine and control flow, shared by the builders of chains and of destinations.
///
/// Joining two elements compares what the lower one needs with what stands above. A need that nothing meets yet is deferred:
/// the block of an `if` or of a route is type-checked alone, and settled where it is joined.
public protocol Composing {
  associatedtype Carrier: Exchange
}

extension Composing {
  /// The first line of a block.
  @inlinable public static func buildPartialBlock<A: ChainElement>(first: A) -> A { first }

  /// The line below asks for nothing; what stands above may need some identity.
  @inlinable public static func buildPartialBlock<A: TransparentElement, B: TransparentElement>(
    accumulated a: A, next b: B
  ) -> Then<A, B>
  where A.Carrier == Carrier, B.Carrier == Carrier, A.Needs: MetByAnyIdentity, B.Needs: MetByNothing {
    .init(a, b)
  }

  /// The line below asks for nothing; what stands above needs one identity type.
  @inlinable public static func buildPartialBlock<A: TransparentElement, B: TransparentElement>(
    accumulated a: A, next b: B
  ) -> Then<A, B>
  where A.Carrier == Carrier, B.Carrier == Carrier, A.Needs: MetByOneIdentity, B.Needs: MetByNothing {
    .init(a, b)
  }

  /// The line below asks for nothing; an identity passes by.
  @inlinable public static func buildPartialBlock<A: ChainElement, B: TransparentElement, U>(
    accumulated a: A, next b: B
  ) -> Then<A, B>
  where A.Carrier == Carrier, B.Carrier == Carrier, A.Gives == Identified<U>, B.Needs: MetByNothing {
    .init(a, b)
  }

  /// The line below authenticates.
  @inlinable public static func buildPartialBlock<A: TransparentElement, B: ChainElement, U>(
    accumulated a: A, next b: B
  ) -> ThenAuthenticate<A, B>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, A.Needs: MetByNothing, B.Needs: MetByNothing, B.Gives == Identified<U>
  {
    .init(a, b)
  }

  /// The line below authenticates again: the new identity replaces the old one.
  @inlinable public static func buildPartialBlock<A: ChainElement, B: ChainElement, U, V>(accumulated a: A, next b: B)
    -> ThenReauthenticate<A, B>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, A.Gives == Identified<V>, B.Needs: MetByNothing,
    B.Gives == Identified<U>
  {
    .init(a, b)
  }

  /// The line below needs some identity, and one stands above.
  @inlinable public static func buildPartialBlock<A: ChainElement, B: TransparentElement, U>(
    accumulated a: A, next b: B
  ) -> ThenWithSome<A, B, U>
  where A.Carrier == Carrier, B.Carrier == Carrier, A.Gives == Identified<U>, B.Needs: MetByAnyIdentity {
    .init(a, b)
  }

  /// The line below needs a `U`, and a `U` stands above.
  @inlinable public static func buildPartialBlock<A: ChainElement, B: TransparentElement, U>(
    accumulated a: A, next b: B
  ) -> ThenWith<A, B, U>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, A.Gives == Identified<U>, B.Needs: MetByOneIdentity, B.Needs.User == U
  {
    .init(a, b)
  }

  /// The line below turns the `U` above into a `V`.
  @inlinable public static func buildPartialBlock<A: ChainElement, B: ChainElement, U, V>(accumulated a: A, next b: B)
    -> ThenTransform<A, B, U>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, A.Gives == Identified<U>, B.Needs: MetByOneIdentity, B.Needs.User == U,
    B.Gives == Identified<V>
  {
    .init(a, b)
  }
}

// Fragments that leave a need unmet.
extension Composing {
  /// The line below needs some identity, none above: the fragment needs it.
  @inlinable public static func buildPartialBlock<A: TransparentElement, B: TransparentElement>(
    accumulated a: A, next b: B
  ) -> ThenDeferred<A, B>
  where A.Carrier == Carrier, B.Carrier == Carrier, A.Needs: MetByAnyIdentity, B.Needs: MetByAnyIdentity {
    .init(a, b)
  }

  /// The line below needs some identity, and the fragment needs a typed one already.
  @inlinable public static func buildPartialBlock<A: TransparentElement, B: TransparentElement>(
    accumulated a: A, next b: B
  ) -> ThenDeferredTyped<A, B>
  where A.Carrier == Carrier, B.Carrier == Carrier, A.Needs: MetByOneIdentity, B.Needs: MetByAnyIdentity {
    .init(a, b)
  }

  /// The line below needs a `U`, none above: the fragment needs it.
  @inlinable public static func buildPartialBlock<A: TransparentElement, B: TransparentElement, U>(
    accumulated a: A, next b: B
  ) -> ThenDeferredExactly<A, B, U>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, A.Needs: MetByAnyIdentity, B.Needs: MetByOneIdentity, B.Needs.User == U
  {
    .init(a, b)
  }

  /// The line below needs a `U`, and the fragment needs a `U` already.
  @inlinable public static func buildPartialBlock<A: TransparentElement, B: TransparentElement, U>(
    accumulated a: A, next b: B
  ) -> ThenDeferredSame<A, B, U>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, A.Needs: MetByOneIdentity, A.Needs.User == U, B.Needs: MetByOneIdentity,
    B.Needs.User == U
  {
    .init(a, b)
  }
}

// Control flow. `buildOptional` and `buildEither` accept everything; `When` and `Either` are elements only under conditions,
// and the unavailable overloads in ComposingRefusals.swift catch the rest.
extension Composing {
  /// `if limited { TokenBucket(…) }`, in which every element is transparent.
  @inlinable public static func buildOptional<E: ChainElement>(_ content: E?) -> When<E> { When(content) }

  /// `if a { … } else { … }` and `switch`: the branch taken when the chain was built.
  @inlinable public static func buildEither<A: ChainElement, B: ChainElement>(first: A) -> Either<A, B> {
    .first(first)
  }

  /// The other branch.
  @inlinable public static func buildEither<A: ChainElement, B: ChainElement>(second: B) -> Either<A, B> {
    .second(second)
  }

  /// `for limit in limits { TokenBucket(limit) }`.
  @inlinable public static func buildArray<E: TransparentElement>(_ elements: [E]) -> ForEach<E> { ForEach(elements) }

  /// `if #available(…) { … }`.
  @inlinable public static func buildLimitedAvailability<E: ChainElement>(_ element: E) -> E { element }
}
