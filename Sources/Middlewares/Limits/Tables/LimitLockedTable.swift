internal import Synchronization

/// The keys of an algorithm whose state is more than one word: 64 shards with a lock each.
///
/// Memory follows the keys that are kept, `maxKeys` at most: about 150 bytes each, and what the state keeps outside of itself
/// (``SlidingLog``: its log). When all are kept a new key takes the place of an idle one among the 64 of its shard that
/// come next; where all of these are in use there is no room.
public final class LimitLockedTable<Algorithm: LimitAlgorithm>: LimitTable {
  private struct Entry {
    var key: LimitKey
    var plan: LimitPlan
    var idleFrom: UInt64
    var state: Algorithm.State
  }

  private struct Shard {
    var places: [LimitKey: Int] = [:]
    var entries: [Entry] = []
    /// Where the search for an idle key goes on.
    var hand = 0

    mutating func append(_ entry: Entry) {
      places[entry.key] = entries.count
      entries.append(entry)
    }

    mutating func replace(_ place: Int, with entry: Entry) {
      places[entries[place].key] = nil
      places[entry.key] = place
      entries[place] = entry
    }

    mutating func remove(_ place: Int) {
      places[entries[place].key] = nil
      let last = entries.removeLast()
      guard place < entries.count else { return }
      entries[place] = last
      places[last.key] = place
    }

    mutating func idlePlace(_ now: UInt64) -> Int? {
      for _ in 0..<min(64, entries.count) {
        hand = hand + 1 < entries.count ? hand + 1 : 0
        if entries[hand].idleFrom <= now { return hand }
      }
      return nil
    }
  }

  private final class LockedShard: Sendable {
    let shard = Mutex(Shard())
  }

  private static var shardCount: Int { 64 }

  private let algorithm: Algorithm
  private let maxKeys: Int
  private let shards: [LockedShard]
  private let kept = Atomic<Int>(0)
  private let turnedAway = Atomic<Int>(0)
  private let evicted = Atomic<Int>(0)

  public init(_ algorithm: Algorithm, _ options: LimitStoreOptions) {
    self.algorithm = algorithm
    maxKeys = min(max(options.maxKeys, 1), 1 << 24)
    // Few keys in few shards, so that a key which needs room sees most of those that are idle.
    let count = min(Self.shardCount, (maxKeys + 63) / 64)
    shards = (0..<count).map { _ in LockedShard() }
    let each = min(max(options.initialSize, 1), maxKeys) / count
    for shard in shards {
      shard.shard.withLock { shard in
        shard.places.reserveCapacity(each)
        shard.entries.reserveCapacity(each)
      }
    }
  }

  public var counts: LimitTableCounts {
    LimitTableCounts(
      kept: kept.load(ordering: .relaxed), turnedAway: turnedAway.load(ordering: .relaxed),
      evicted: evicted.load(ordering: .relaxed),
      room: shards.reduce(0) { sum, shard in sum + shard.shard.withLock { $0.entries.capacity } })
  }

  public func step(
    _ operation: LimitOperation, _ key: LimitKey, _ plan: LimitPlan, now: () -> UInt64
  ) -> LimitDecision? {
    shard(of: key).shard.withLock { shard in
      // Under the lock, so that the times of the steps on a key are in the order of the steps.
      let tick = now()
      if let place = shard.places[key] {
        if shard.entries[place].plan != plan {
          algorithm.rescale(&shard.entries[place].state, from: shard.entries[place].plan, to: plan, at: tick)
          shard.entries[place].plan = plan
        }
        let decision = algorithm.run(operation, on: &shard.entries[place].state, at: tick, plan)
        shard.entries[place].idleFrom = algorithm.idle(from: shard.entries[place].state, plan)
        return decision
      }
      var state = algorithm.fresh
      let decision = algorithm.run(operation, on: &state, at: tick, plan)
      let idleFrom = algorithm.idle(from: state, plan)
      // A key that took nothing is as good as unknown.
      guard idleFrom > tick else { return decision }
      let entry = Entry(key: key, plan: plan, idleFrom: idleFrom, state: state)
      if kept.add(1, ordering: .relaxed).newValue <= maxKeys {
        shard.append(entry)
        return decision
      }
      kept.subtract(1, ordering: .relaxed)
      guard let place = shard.idlePlace(tick) else {
        turnedAway.add(1, ordering: .relaxed)
        return nil
      }
      evicted.add(1, ordering: .relaxed)
      shard.replace(place, with: entry)
      return decision
    }
  }

  public func holds(_ key: LimitKey) -> Bool { shard(of: key).shard.withLock { $0.places[key] != nil } }

  public func collect(now: UInt64, age: UInt64) -> Int {
    var used = 0
    for shard in shards {
      shard.shard.withLock { shard in
        for place in shard.entries.indices.reversed() {
          let since = shard.entries[place].idleFrom
          if since > now {
            used += 1
          } else if now - since >= age {
            shard.remove(place)
            kept.subtract(1, ordering: .relaxed)
          }
        }
      }
    }
    return used
  }

  private func shard(of key: LimitKey) -> LockedShard {
    let mixed = (key.high ^ (key.low &* 0xD6E8_FEB8_6659_FD93)) &* 0x9E37_79B9_7F4A_7C15
    return shards[Int(((mixed >> 32) &* UInt64(shards.count)) >> 32)]
  }
}
