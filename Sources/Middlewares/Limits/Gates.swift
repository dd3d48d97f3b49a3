internal import Pipeline
internal import Synchronization

/// The right to be one of so many. Given back when the value goes away, on whatever path that is: it cannot leak and cannot
/// be given back twice.
struct Permit: ~Copyable {
  private let gate: Gate

  /// The permit that ``Gate/enter(limit:queue:)`` or a signal has promised.
  init(_ gate: Gate) { self.gate = gate }

  deinit { gate.release() }

  /// Holds the permit while `body` runs.
  func hold<Result>(_ body: () async throws -> Result) async throws -> Result { try await body() }
}

/// One exchange that waits for a permit.
final class PermitWaiter: Sendable {
  private enum Fate { static let open: UInt8 = 0, granted: UInt8 = 1, left: UInt8 = 2 }

  let signal = Signal()
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
  func wait(at gate: Gate, on exchange: Exchange, atMost limit: Duration) async throws {
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
struct WaitedTooLong: Error {}

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

/// Who runs and who waits, for one key.
///
/// First come, first served across all loops: a permit that becomes free goes to the head of the queue and to nobody who
/// arrives at that moment.
final class Gate: Sendable {
  enum Entry {
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

  /// Exchanges that hold a permit, and exchanges that wait for one.
  var load: (running: Int, waiting: Int) { state.withLock { ($0.running, $0.queue.count) } }

  func enter(limit: Int, queue: Int) -> Entry {
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
  func leave(_ waiter: PermitWaiter) -> Bool {
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

/// The gates of a ``ConcurrencyLimit``, one for each key.
final class Gates: Sendable {
  private struct Shard {
    var gates: [LimitKey: Gate] = [:]
    /// Gates that nobody uses are dropped when there are so many, so that there are at most twice as many gates as keys in
    /// use, and a known key allocates nothing.
    var pruneAt = 64
  }

  private final class LockedShard: Sendable {
    let shard = Mutex(Shard())
  }

  /// Where there is one key only, nothing is looked up.
  private let global = Gate()
  private let shards = (0..<16).map { _ in LockedShard() }

  /// Gates that are kept now.
  var count: Int { shards.map { $0.shard.withLock { $0.gates.count } }.reduce(0, +) }

  func enter(_ key: LimitKey, limit: Int, queue: Int) -> (Gate, Gate.Entry) {
    if key == .global { return (global, global.enter(limit: limit, queue: queue)) }
    return shard(of: key).shard.withLock { shard in
      let gate = gate(of: key, in: &shard)
      // Under the lock of the shard, so that no gate is dropped between being found and being entered.
      return (gate, gate.enter(limit: limit, queue: queue))
    }
  }

  /// Whether somebody runs or waits under this key.
  func isBusy(_ key: LimitKey) -> Bool {
    if key == .global { return global.load != (0, 0) }
    return shard(of: key).shard.withLock { ($0.gates[key]?.load ?? (0, 0)) != (0, 0) }
  }

  private func shard(of key: LimitKey) -> LockedShard {
    let mixed = (key.high ^ key.low) &* 0x9E37_79B9_7F4A_7C15
    return shards[Int(truncatingIfNeeded: mixed >> 60)]
  }

  private func gate(of key: LimitKey, in shard: inout Shard) -> Gate {
    if let gate = shard.gates[key] { return gate }
    if shard.gates.count >= shard.pruneAt {
      shard.gates = shard.gates.filter { $0.value.load != (0, 0) }
      shard.pruneAt = max(64, 2 * shard.gates.count)
    }
    let gate = Gate()
    shard.gates[key] = gate
    return gate
  }
}
