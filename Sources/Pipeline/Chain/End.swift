/// A destination in its place: an element that never calls `next`.
@frozen public struct End<Carrier: Exchange, Target: Terminal>: TransparentElement {
  public typealias Needs = Target.Needs
  public typealias Unmet = Target.Unmet
  public typealias Gives = Unchanged

  @usableFromInline var box: SiteBox<Target>
  @usableFromInline var index = 0

  @inlinable init(_ target: Target) { box = SiteBox(target) }

  // Sound because the builder makes an end only where Target.Carrier is Carrier or one of its superclasses.
  @inlinable public func through(
    _ exchange: Carrier, _ needed: Target.Needs.Value, next: Next
  ) async throws -> Summary {
    exchange.enter(index)
    exchange.settlesItself = box.settlesItself
    if box.settlesItself {
      return try await box.content.finish(unsafeDowncast(exchange as Exchange, to: Target.Carrier.self), needed)
    }
    let summary = try await box.content.finish(unsafeDowncast(exchange as Exchange, to: Target.Carrier.self), needed)
    exchange.settled = index
    return summary
  }

  public mutating func place(_ placement: inout Placement) {
    var own = box.content
    index = placement.begin(&own, kind: .destination)
    box = SiteBox(own)
  }
}
