// The counters of an exchange's way through its chain. `depth` is the index of the element that was entered last: the one
// that runs or, after a throw, the one that threw. An element is open (its `next` was called) when its index is smaller.
extension Exchange {
  /// An element or a destination begins.
  @inlinable func enter(_ index: Int) {
    if let tallies {
      if depth >= index { chargeAttempt(from: index) }
      if timed { lap(again: depth >= index) }
      Tally.add(1, tallies[index].entered)
    }
    depth = index
    settled = .max
    current?.enter(index)
  }

  /// Somebody above calls `next` again: if the last attempt failed, it failed where it was.
  @usableFromInline func chargeAttempt(from index: Int) {
    let thrower = thrower
    if thrower >= index, let tallies { Tally.add(1, tallies[thrower].failed) }
  }

  /// The destination, which was entered last, returns.
  package final func noteReturn() { if settlesItself { settled = depth } }

  /// The index of the element that was entered last. An element that reads it before it calls `next` reads its own.
  package final var currentPlace: Int { depth }

  /// The element at this place answers itself, though it has called `next`: those below it are closed again, and none of
  /// them, nor the element itself, hears of the answer.
  package final func takeOver(at place: Int) {
    if tallies != nil { chargeAttempt(from: place + 1) }
    depth = place
    settled = .max
  }

  /// Charges the time since the last entry to the element entered last: what it took to decide.
  @usableFromInline func lap(again: Bool) {
    let now = now.nanoseconds
    if depth >= 0, !again, let tallies { Tally.add(Int(truncatingIfNeeded: now &- mark), tallies[depth].nanoseconds) }
    mark = now
  }

  /// The error reached the top: charges it to the element that threw it.
  func blame(_ error: any Error) {
    let thrower = thrower
    guard thrower >= 0, let tallies else { return }
    if error is Rejection { Tally.add(1, tallies[thrower].refused) } else { Tally.add(1, tallies[thrower].failed) }
  }

  /// Who threw, if anybody did. Whatever returned did not: then it was the nearest element above it that may throw after its
  /// `next` has returned.
  private var thrower: Int {
    guard settled != .max, let tallies else { return depth }
    return tallies[settled].lateThrower
  }
}
