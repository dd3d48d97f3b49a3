internal import Synchronization

/// The right to be one of so many. Given back when the value goes away, on whatever path that is: it cannot leak and cannot
/// be given back twice.
package struct Permit: ~Copyable {
  private let gate: Gate

  /// The permit that ``Gate/enter(limit:queue:)`` or a signal has promised.
  package init(_ gate: Gate) { self.gate = gate }

  deinit { gate.release() }

  /// Holds the permit while the rest of a chain runs.
  package func hold(_ next: Next) async throws -> Summary { try await next() }

  /// Holds the permit while `body` runs.
  package func hold<Result>(_ body: () async throws -> Result) async throws -> Result { try await body() }
}

/// One exchange that waits for a permit.
package final class PermitWaiter: Sendable {
  private enum Fate { static let open: UInt8 = 0, granted: UInt8 = 1, left: UInt8 = 2 }

  package let signal = Signal()
  private let fate = Atomic<UInt8>(Fate.open)

  /// False when it has left.
  fileprivate func grant() -> Bool { decide(Fate.granted) }

  /// False when it has been granted the permit meanwhile, which is then its own to give back.
  fileprivate func leave() -> Bool { decide(Fate.left) }

  fileprivate var hasLeft: Bool { fate.load(ordering: .acquiring) == Fate.left }

  private func decide(_ outcome: UInt8) -> Bool {
    fate.compareExchange(expected: Fate.open, desired: outcome, ordering: .acquiringAndReleasing).exchanged
  }

  /// Returns when the permit is the exchange's own; throws when it has left the queue.
  ///
  /// - Throws: ``WaitedTooLong`` when `limit` has passed; what else ends a wait.
  package func wait(at gate: Gate, on exchange: Exchange, atMost limit: Duration) async throws {
    let outer = exchange.deadline
    let mine = exchange.now + limit
    exchange.deadline = min(outer, mine)
    defer { exchange.deadline = outer }
    do {
      try await exchange.runtime.wait(for: signal)
    } catch {
      let ownDeadline = mine < outer && (error as? DeadlineExceeded)?.deadline == mine
      if !gate.leave(self) {
        // Granted at the last moment: good if only the wait was too long, else it goes to the next one.
        if ownDeadline { return }
        _ = Permit(gate)
        throw error
      }
      throw ownDeadline ? WaitedTooLong() : error
    }
  }
}

/// A wait for a permit took as long as it may.
package struct WaitedTooLong: Error {}

/// Those who wait, in the order of arrival. Joining, leaving and taking the first cost the same however long it is.
private struct PermitQueue {
  private var waiters: [PermitWaiter] = []
  /// Those before it have been taken.
  private var head = 0
  /// Without those who have left but are still in `waiters`.
  private(set) var count = 0

  mutating func append(_ waiter: PermitWaiter) {
    waiters.append(waiter)
    count += 1
  }

  /// Grants the permit to the first who still waits.
  mutating func grantFirst() -> PermitWaiter? {
    while head < waiters.count {
      let waiter = waiters[head]
      head += 1
      if waiter.grant() {
        count -= 1
        compact()
        return waiter
      }
    }
    compact()
    return nil
  }

  /// One of them has left.
  mutating func leave() {
    count -= 1
    compact()
  }

  private mutating func compact() {
    guard waiters.count > 2 * count + 16 || count == 0 && !waiters.isEmpty else { return }
    waiters.removeSubrange(..<head)
    head = 0
    waiters.removeAll { $0.hasLeft }
  }
}

/// Who runs and who waits: for one key of a limit, or one backend.
///
/// First come, first served across all loops: a permit that becomes free goes to the head of the queue and to nobody who
/// arrives at that moment.
package final class Gate: Sendable {
  package enum Entry {
    case enter, queueFull
    case wait(PermitWaiter)
  }

  private struct State {
    var running = 0
    var queue = PermitQueue()
    /// Of the newest configuration that has let somebody in: a permit from before a reload is given back under it.
    var limit = 0

    /// Grants what is free to those who wait, and says who they are.
    mutating func grantFree() -> [PermitWaiter] {
      guard queue.count > 0 else { return [] }
      var granted: [PermitWaiter] = []
      while running < limit, let waiter = queue.grantFirst() {
        running += 1
        granted.append(waiter)
      }
      return granted
    }
  }

  private let state = Mutex(State())

  package init() {}

  /// Exchanges that hold a permit, and exchanges that wait for one.
  package var load: (running: Int, waiting: Int) { state.withLock { ($0.running, $0.queue.count) } }

  package func enter(limit: Int, queue: Int) -> Entry {
    let (entry, granted) = state.withLock { state -> (Entry, [PermitWaiter]) in
      // Something is free while others wait only where a reload has raised the limit: they come first.
      state.limit = limit
      let granted = state.grantFree()
      if state.running < limit {
        state.running += 1
        return (.enter, granted)
      }
      guard state.queue.count < queue else { return (.queueFull, granted) }
      let waiter = PermitWaiter()
      state.queue.append(waiter)
      return (.wait(waiter), granted)
    }
    for waiter in granted { waiter.signal.fire() }
    return entry
  }

  /// Takes a waiter out of the queue. False when it has been granted the permit meanwhile.
  package func leave(_ waiter: PermitWaiter) -> Bool {
    guard waiter.leave() else { return false }
    state.withLock { $0.queue.leave() }
    return true
  }

  /// Hands the permit to the next in the queue, or to several where a reload has raised the limit, or to nobody where it has
  /// lowered it.
  fileprivate func release() {
    let granted = state.withLock { state in
      state.running -= 1
      return state.grantFree()
    }
    // Outside the lock: whoever is woken may come back at once.
    for waiter in granted { waiter.signal.fire() }
  }
}
