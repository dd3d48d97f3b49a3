internal import Pipeline
internal import Synchronization

/// Connections of a listener that were closed before any chain saw them: counted, and told to the log once in a while, because
/// whoever is refused usually comes again at once.
final class Refusals: Sendable {
  static let quietTime = Duration.seconds(10)

  private let total = Atomic<Int>(0)
  private let told = Atomic<Int>(0)
  /// In nanoseconds of the loops' clock.
  private let quietUntil = Atomic<UInt64>(0)

  var count: Int { total.load(ordering: .relaxed) }

  /// Counts one. Calls `log` with what there is to say besides ("" or how many went unmentioned), unless it was called within
  /// `quietTime`.
  func note(at now: Instant, log: (_ unmentioned: String) -> Void) {
    let count = total.add(1, ordering: .relaxed).newValue
    let until = quietUntil.load(ordering: .relaxed)
    guard now.nanoseconds >= until else { return }
    let (exchanged, _) = quietUntil.compareExchange(
      expected: until, desired: (now + Self.quietTime).nanoseconds, ordering: .relaxed)
    guard exchanged else { return }
    let before = told.exchange(count, ordering: .relaxed)
    let unmentioned = count - before - 1
    log(unmentioned > 0 ? "; \(unmentioned) more since the last line" : "")
  }
}
