import Synchronization

/// Counts of one element, over all loops.
public struct ElementCounts: Sendable, Hashable {
  public let label: String
  public let name: String?
  /// Exchanges that came to this element; an attempt of a retry above counts again.
  public internal(set) var entered = 0
  /// Of these, ended by a ``Rejection`` that it threw.
  public internal(set) var refused = 0
  /// Of these, ended by another error that it threw, or given up by a retry above while they were here.
  public internal(set) var failed = 0
  /// Decision time in nanoseconds, of the exchanges that were timed.
  public internal(set) var nanoseconds = 0

  init(label: String, name: String?) {
    self.label = label
    self.name = name
  }

  /// Those that it let through, or served.
  public var passed: Int { entered - refused - failed }
}

/// The tallies of one service: one row per loop, freed with the service.
///
/// `@unchecked Sendable` is sound: the pointers never change, a row is written by its loop's thread alone, and every
/// counter in it is atomic.
final class TallySheet: @unchecked Sendable {
  private let rows: [UnsafeMutablePointer<Tally>]
  private let elements: Int

  /// - Parameter lateThrowers: for each element, the nearest above that may throw after its `next` has returned, or -1.
  init(shards: Int, lateThrowers: [Int]) {
    let elements = lateThrowers.count
    self.elements = elements
    rows = (0..<max(shards, 1)).map { _ in
      // Two cache lines apart, so that no two loops write to the same one, the adjacent-line prefetcher included.
      let bytes = UnsafeMutableRawPointer.allocate(
        byteCount: max(elements, 1) * MemoryLayout<Tally>.stride, alignment: 128)
      let row = bytes.bindMemory(to: Tally.self, capacity: max(elements, 1))
      for i in 0..<elements { (row + i).initialize(to: Tally(lateThrower: lateThrowers[i])) }
      return row
    }
  }

  deinit {
    for row in rows {
      row.deinitialize(count: elements)
      UnsafeMutableRawPointer(row).deallocate()
    }
  }

  func row(_ shard: Int) -> UnsafeMutablePointer<Tally> { rows[shard] }

  func add(_ index: Int, to counts: inout ElementCounts) {
    for row in rows {
      counts.entered += row[index].entered.load(ordering: .relaxed)
      counts.refused += row[index].refused.load(ordering: .relaxed)
      counts.failed += row[index].failed.load(ordering: .relaxed)
      counts.nanoseconds += row[index].nanoseconds.load(ordering: .relaxed)
    }
  }
}
