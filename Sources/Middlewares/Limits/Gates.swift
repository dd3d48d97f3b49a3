internal import Pipeline
internal import Synchronization

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

  /// Of the limit that has one key for all.
  var globalLoad: (running: Int, waiting: Int) { global.load }

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
