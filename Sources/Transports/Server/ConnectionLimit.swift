internal import Synchronization

/// How many connections may be open at once, for one listener or for the server, over all loops.
final class ConnectionLimit: Sendable {
  private let open = Atomic<Int>(0)
  private let limit: Atomic<Int>
  private let someoneWaits = Atomic<Bool>(false)
  private let waiting = Mutex<[Intake]>([])

  /// - Parameter limit: `nil`: only counted.
  init(_ limit: Int?) { self.limit = Atomic(limit ?? .max) }

  /// Connections that are open.
  var count: Int { open.load(ordering: .sequentiallyConsistent) }

  /// A reload changed it. Connections that are open stay, even if they are more.
  func change(to limit: Int?) {
    self.limit.store(limit ?? .max, ordering: .sequentiallyConsistent)
    wakeWaiting()
  }

  /// Counts one connection in, unless the limit is reached.
  func enter() -> Bool {
    // Never above the limit, not even for a moment: a loop that sees a number that another is about to take back would
    // wait for a connection to end, and there may be none.
    var seen = open.load(ordering: .relaxed)
    while seen < limit.load(ordering: .relaxed) {
      let (exchanged, original) = open.compareExchange(
        expected: seen, desired: seen + 1, ordering: .sequentiallyConsistent)
      if exchanged { return true }
      seen = original
    }
    return false
  }

  /// Has `intake` called when there may be room. It must try once more after this call: the room may have come before.
  func wait(_ intake: Intake) {
    waiting.withLock { waiting in
      if !waiting.contains(where: { $0 === intake }) { waiting.append(intake) }
    }
    someoneWaits.store(true, ordering: .sequentiallyConsistent)
  }

  /// Counts one connection out. Returns how many are left.
  @discardableResult
  func leave() -> Int {
    let left = open.subtract(1, ordering: .sequentiallyConsistent).newValue
    wakeWaiting()
    return left
  }

  private func wakeWaiting() {
    guard someoneWaits.load(ordering: .sequentiallyConsistent) else { return }
    someoneWaits.store(false, ordering: .sequentiallyConsistent)
    let woken = waiting.withLock { waiting in
      defer { waiting.removeAll() }
      return waiting
    }
    for intake in woken { intake.loop.post(intake) }
  }
}
