// The counters of an exchange's way through its chain. `depth` is the index of the element that was entered last: the one
// that runs or, after a throw, the one that threw. An element is open (its `next` was called) when its index is smaller.
extension Exchange {
  /// An element or a destination begins.
  @inlinable func enter(_ index: Int) {
    if let tallies {
      // Somebody above calls `next` again: the last attempt ended where it was.
      if depth >= index { Tally.add(1, tallies[depth].failed) }
      if timed { lap() }
      Tally.add(1, tallies[index].entered)
    }
    depth = index
    settled = .max
  }

  /// Charges the time since the last entry to the element entered last: what it took to decide.
  @usableFromInline func lap() {
    let now = now.nanoseconds
    if depth >= 0, let tallies { Tally.add(Int(truncatingIfNeeded: now &- mark), tallies[depth].nanoseconds) }
    mark = now
  }

  /// The error reached the top: charges it to the element that threw it.
  ///
  /// - Parameter above: for each index, the index of the element directly above, or -1.
  func blame(_ error: any Error, above: [Int]) {
    guard depth >= 0, let tallies else { return }
    // Whatever returned did not throw: then it was the element above it, after its `next` had returned.
    let thrower = settled == .max ? depth : above[settled]
    guard thrower >= 0 else { return }
    if error is Rejection { Tally.add(1, tallies[thrower].refused) } else { Tally.add(1, tallies[thrower].failed) }
  }
}
