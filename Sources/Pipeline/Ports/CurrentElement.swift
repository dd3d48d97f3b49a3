public import Synchronization

/// Which element of its chain the exchange that runs on a loop has entered last: what a watchdog names when the loop does not
/// get on.
///
/// One for each loop. The loop's exchanges write it with one plain store; any thread may read it.
public final class CurrentElement: Sendable {
  @usableFromInline let index = Atomic<Int>(-1)

  public init() {}

  /// The index in `placement.entries` of the chain; `nil`: none since the loop turned to what it does now.
  public var place: Int? {
    let index = index.load(ordering: .relaxed)
    return index < 0 ? nil : index
  }

  /// The loop turns to something else.
  @inlinable public func clear() { index.store(-1, ordering: .relaxed) }

  @inlinable func enter(_ place: Int) { index.store(place, ordering: .relaxed) }
}
