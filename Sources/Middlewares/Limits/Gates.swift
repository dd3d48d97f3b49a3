internal import Pipeline
internal import Synchronization

/// The right to be one of so many. Given back when the value goes away, on whatever path that is: it cannot leak and cannot
/// be given back twice.
struct Permit: ~Copyable {
  private let gates: Gates
  private let key: LimitKey
  private let limit: Int

  fileprivate init(_ gates: Gates, _ key: LimitKey, _ limit: Int) {
    self.gates = gates
    self.key = key
    self.limit = limit
  }

  deinit { gates.release(key, limit: limit) }

  /// Holds the permit while `body` runs.
  func hold(_ body: Next) async throws -> Summary { try await body() }
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
}

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
    guard waiters.count > 2 * count + 16 || count == 0 else { return }
    waiters.removeSubrange(..<head)
    head = 0
    waiters.removeAll { $0.hasLeft }
  }
}

/// Who runs and who waits, for every key of a ``ConcurrencyLimit``.
///
/// First come, first served across all loops: a permit that becomes free goes to the head of the queue and to nobody who
/// arrives at that moment.
final class Gates: Sendable {
  enum Entry {
    case enter, queueFull
    case wait(PermitWaiter)
  }

  private struct Gate {
    var running = 0
    var queue = PermitQueue()
  }

  private final class Shard: Sendable {
    let gates = Mutex<[LimitKey: Gate]>([:])
  }

  private let shards: [Shard]

  /// - Parameter shards: a power of two; 1 where there is one key only.
  init(shards: Int) { self.shards = (0..<shards).map { _ in Shard() } }

  private func shard(of key: LimitKey) -> Shard {
    shards[Int(truncatingIfNeeded: (key.high ^ key.low) &* 0x9E37_79B9_7F4A_7C15 >> 32) & (shards.count - 1)]
  }

  /// Exchanges that hold a permit, and exchanges that wait for one.
  func load(of key: LimitKey) -> (running: Int, waiting: Int) {
    shard(of: key).gates.withLock { ($0[key]?.running ?? 0, $0[key]?.queue.count ?? 0) }
  }

  func enter(_ key: LimitKey, limit: Int, queue: Int) -> Entry {
    shard(of: key).gates.withLock { gates in
      if gates[key, default: Gate()].running < limit {
        gates[key, default: Gate()].running += 1
        return .enter
      }
      guard gates[key, default: Gate()].queue.count < queue else { return .queueFull }
      let waiter = PermitWaiter()
      gates[key, default: Gate()].queue.append(waiter)
      return .wait(waiter)
    }
  }

  /// The permit that ``enter(_:limit:queue:)`` or a signal has promised.
  func permit(_ key: LimitKey, limit: Int) -> Permit { Permit(self, key, limit) }

  /// Takes a waiter out of the queue. False when it has been granted the permit meanwhile.
  func leave(_ waiter: PermitWaiter, _ key: LimitKey) -> Bool {
    guard waiter.leave() else { return false }
    shard(of: key).gates.withLock { $0[key]?.queue.leave() }
    return true
  }

  /// Hands the permit to the next in the queue. Under a limit that a reload has lowered it is not handed on.
  fileprivate func release(_ key: LimitKey, limit: Int) {
    let next = shard(of: key).gates.withLock { gates -> PermitWaiter? in
      if gates[key, default: Gate()].running <= limit, let next = gates[key]?.queue.grantFirst() { return next }
      gates[key]?.running -= 1
      if let gate = gates[key], gate.running == 0, gate.queue.count == 0 { gates[key] = nil }
      return nil
    }
    // Outside the lock: whoever is woken may come back at once.
    next?.signal.fire()
  }
}
