// Longer runs of elements that ask for nothing: the same joins as in Composing.swift, each more specialised than one there.
extension Composing {
  /// One more line that asks for nothing; what stands above may need some identity.
  @inlinable public static func buildPartialBlock<A: TransparentElement, B: TransparentElement, C: TransparentElement>(
    accumulated joined: Then<A, B>, next c: C
  ) -> Then3<A, B, C>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, C.Carrier == Carrier, A.Needs: MetByAnyIdentity, B.Needs: MetByNothing,
    C.Needs: MetByNothing
  {
    .init(joined.a, joined.b, c)
  }

  /// One more line that asks for nothing; what stands above needs one identity type.
  @inlinable public static func buildPartialBlock<A: TransparentElement, B: TransparentElement, C: TransparentElement>(
    accumulated joined: Then<A, B>, next c: C
  ) -> Then3<A, B, C>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, C.Carrier == Carrier, A.Needs: MetByOneIdentity, B.Needs: MetByNothing,
    C.Needs: MetByNothing
  {
    .init(joined.a, joined.b, c)
  }

  /// One more line that asks for nothing; an identity passes by.
  @inlinable public static func buildPartialBlock<A: ChainElement, B: TransparentElement, C: TransparentElement, U>(
    accumulated joined: Then<A, B>, next c: C
  ) -> Then3<A, B, C>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, C.Carrier == Carrier, A.Gives == Identified<U>, B.Needs: MetByNothing,
    C.Needs: MetByNothing
  {
    .init(joined.a, joined.b, c)
  }

  /// One more line that asks for nothing; what stands above may need some identity.
  @inlinable
  public static func buildPartialBlock<
    A: TransparentElement, B: TransparentElement, C: TransparentElement, D: TransparentElement
  >(
    accumulated joined: Then3<A, B, C>, next d: D
  ) -> Then4<A, B, C, D>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, C.Carrier == Carrier, D.Carrier == Carrier, A.Needs: MetByAnyIdentity,
    B.Needs: MetByNothing, C.Needs: MetByNothing, D.Needs: MetByNothing
  {
    .init(joined.a, joined.b, joined.c, d)
  }

  /// One more line that asks for nothing; what stands above needs one identity type.
  @inlinable
  public static func buildPartialBlock<
    A: TransparentElement, B: TransparentElement, C: TransparentElement, D: TransparentElement
  >(
    accumulated joined: Then3<A, B, C>, next d: D
  ) -> Then4<A, B, C, D>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, C.Carrier == Carrier, D.Carrier == Carrier, A.Needs: MetByOneIdentity,
    B.Needs: MetByNothing, C.Needs: MetByNothing, D.Needs: MetByNothing
  {
    .init(joined.a, joined.b, joined.c, d)
  }

  /// One more line that asks for nothing; an identity passes by.
  @inlinable
  public static func buildPartialBlock<
    A: ChainElement, B: TransparentElement, C: TransparentElement, D: TransparentElement, U
  >(
    accumulated joined: Then3<A, B, C>, next d: D
  ) -> Then4<A, B, C, D>
  where
    A.Carrier == Carrier, B.Carrier == Carrier, C.Carrier == Carrier, D.Carrier == Carrier, A.Gives == Identified<U>,
    B.Needs: MetByNothing, C.Needs: MetByNothing, D.Needs: MetByNothing
  {
    .init(joined.a, joined.b, joined.c, d)
  }
}
