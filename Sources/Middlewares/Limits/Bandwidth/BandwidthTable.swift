internal import Pipeline
internal import Synchronization

/// The buckets of a ``Bandwidth``, one for each key that has something to remember.
final class BandwidthTable: Sendable {
  private struct Shard {
    var plan: BandwidthPlan
    var buckets: [LimitKey: ByteBucket] = [:]
    /// Of exchanges that are over, so that the next one allocates nothing.
    var spare: [BandwidthFlow] = []
    /// Idle buckets are dropped when there are so many: at most twice as many are kept as are in use.
    var pruneAt = 64
  }

  private final class LockedShard: Sendable {
    let shard: Mutex<Shard>
    init(_ plan: BandwidthPlan) { shard = Mutex(Shard(plan: plan)) }
  }

  private static let shardCount = 16
  private static let spareFlows = 256

  private let maxKeys: Int
  private let shards: [LockedShard]
  private let keys = Atomic<Int>(0)
  private let turnedAwayCount = Atomic<Int>(0)

  /// - Parameter maxKeys: buckets that are kept at most.
  init(_ plan: BandwidthPlan, maxKeys: Int) {
    self.maxKeys = maxKeys
    shards = (0..<Self.shardCount).map { _ in LockedShard(plan) }
  }

  /// Keys that found no room.
  var turnedAway: Int { turnedAwayCount.load(ordering: .relaxed) }

  /// Buckets that are kept now.
  var count: Int { keys.load(ordering: .relaxed) }

  /// Meters that wait for another exchange. For tests.
  var spare: Int { shards.map { $0.shard.withLock { $0.spare.count } }.reduce(0, +) }

  /// The meter of one more exchange; `nil`: there is no room for another key.
  func enter(_ key: LimitKey, now: UInt64) -> BandwidthFlow? {
    if let flow = tryEnter(key, now) { return flow }
    sweep(now: now)
    if let flow = tryEnter(key, now) { return flow }
    turnedAwayCount.add(1, ordering: .relaxed)
    return nil
  }

  /// Takes back the meter of an exchange that is over.
  func leave(_ flow: BandwidthFlow, _ key: LimitKey) {
    shards[index(of: key)].shard.withLock { shard in
      if shard.spare.count < Self.spareFlows { shard.spare.append(flow) }
    }
  }

  /// Drops the buckets that have nothing to remember.
  func sweep(now: UInt64) {
    for locked in shards { locked.shard.withLock { prune(&$0, now) } }
  }

  /// A reload: the same keys at other rates.
  func change(to plan: BandwidthPlan) {
    for locked in shards {
      locked.shard.withLock { shard in
        shard.plan = plan
        for bucket in shard.buckets.values { bucket.change(to: plan) }
      }
    }
  }

  func bucket(of key: LimitKey) -> ByteBucket? { shards[index(of: key)].shard.withLock { $0.buckets[key] } }

  private func index(of key: LimitKey) -> Int { key.hashValue & (Self.shardCount - 1) }

  private func tryEnter(_ key: LimitKey, _ now: UInt64) -> BandwidthFlow? {
    shards[index(of: key)].shard.withLock { shard -> BandwidthFlow? in
      guard let bucket = bucket(of: key, in: &shard, now) else { return nil }
      // Under the lock of the shard, so that no bucket is dropped between being found and being entered.
      bucket.enter()
      let flow = shard.spare.popLast() ?? BandwidthFlow()
      flow.begin(bucket)
      return flow
    }
  }

  private func bucket(of key: LimitKey, in shard: inout Shard, _ now: UInt64) -> ByteBucket? {
    if let bucket = shard.buckets[key] { return bucket }
    if shard.buckets.count >= shard.pruneAt { prune(&shard, now) }
    guard keys.wrappingAdd(1, ordering: .relaxed).newValue <= maxKeys else {
      keys.subtract(1, ordering: .relaxed)
      return nil
    }
    let bucket = ByteBucket(shard.plan, now: now)
    shard.buckets[key] = bucket
    return bucket
  }

  private func prune(_ shard: inout Shard, _ now: UInt64) {
    let before = shard.buckets.count
    shard.buckets = shard.buckets.filter { !$0.value.isIdle(now) }
    keys.subtract(before - shard.buckets.count, ordering: .relaxed)
    shard.pruneAt = max(64, 2 * shard.buckets.count)
  }
}
