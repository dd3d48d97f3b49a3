public import Synchronization

/// Live counts of one element on one loop. Written by the loop's thread alone, read by whoever reports.
public struct Tally: ~Copyable {
  public let entered = Atomic<Int>(0)
  public let refused = Atomic<Int>(0)
  public let failed = Atomic<Int>(0)
  /// Decision time in nanoseconds, of the exchanges that are timed.
  public let nanoseconds = Atomic<Int>(0)
  /// The index of the nearest element above that may throw after its `next` has returned; -1: none.
  @usableFromInline let lateThrower: Int

  init(lateThrower: Int) { self.lateThrower = lateThrower }

  /// One writer only, so a relaxed load and store is enough and costs no locked instruction.
  @inlinable static func add(_ n: Int, _ counter: borrowing Atomic<Int>) {
    counter.store(counter.load(ordering: .relaxed) &+ n, ordering: .relaxed)
  }
}
