internal import Synchronization

/// One key and its bucket.
///
/// `fullAt` is the whole state of a bucket: the time at which it is full again. It only ever grows, also when the slot
/// passes to another key. So a compare-and-swap on it that succeeds proves that the key beside it has not changed since
/// it was read, and a take needs no lock.
private struct BucketSlot: ~Copyable {
  let fullAt = Atomic<UInt64>(0)
  let high = Atomic<UInt64>(0)
  let low = Atomic<UInt64>(0)

  /// While the slot passes from one key to another.
  static let changingHands = UInt64.max
}

private struct BucketSet: ~Copyable {
  static let ways = 16
  /// Held to give a slot to a new key; takes do not need it.
  let lock = Mutex(())
  let slots: InlineArray<16, BucketSlot>
  init() { slots = InlineArray { _ in BucketSlot() } }
}

private final class BucketGroup: Sendable {
  static let count = 32
  let sets: InlineArray<32, BucketSet>
  init() { sets = InlineArray { _ in BucketSet() } }
}

/// The buckets of one limit: a fixed number of slots, so that an attack with many keys costs no memory.
///
/// A key lives in one of two sets of 16 slots. A new key gets a slot that is empty or whose bucket is full again: a full
/// bucket is what every new key starts with, so that forgetting it changes no decision. Where all 32 slots are in use the
/// key finds no room, and the limit's policy decides.
final class BucketTable: Sendable {
  enum Take: Equatable {
    /// `fullAt`: when the bucket is full again.
    case admitted(fullAt: UInt64)
    case refused(fullAt: UInt64)
    /// Every slot that the key may have is in use.
    case noRoom
  }

  /// How many slots there are.
  let slotCount: Int
  private let groups: [BucketGroup]
  private let mask: Int
  private let seed: (UInt64, UInt64)
  private let turnedAwayCount = Atomic<Int>(0)

  /// - Parameter keys: how many keys in use at once shall fit: 1...16,777,216.
  init(keys: Int) {
    let wanted = min(max(keys, 1), 1 << 24)
    // A fifth more than asked, because the two sets of some keys fill before the others.
    var sets = BucketGroup.count
    while sets * BucketSet.ways < wanted + wanted / 5 { sets *= 2 }
    mask = sets - 1
    slotCount = sets * BucketSet.ways
    groups = (0..<sets / BucketGroup.count).map { _ in BucketGroup() }
    var random = SystemRandomNumberGenerator()
    seed = (random.next(), random.next() | 1)
  }

  /// New keys that found no room.
  var turnedAway: Int { turnedAwayCount.load(ordering: .relaxed) }

  /// Takes one token if there is one.
  func take(_ key: LimitKey, now: UInt64, _ time: BucketTime) -> Take {
    let (first, second) = homes(of: key)
    return take(key, in: first, now, time) ?? take(key, in: second, now, time)
      ?? admit(key, first, second, now, time)
  }

  /// Forgets every bucket that is full again, and says how many are in use.
  func sweep(now: UInt64) -> Int {
    var used = 0
    for group in groups {
      for set in 0..<BucketGroup.count {
        group.sets[set].lock.withLock { _ in
          for way in 0..<BucketSet.ways {
            let fullAt = group.sets[set].slots[way].fullAt.load(ordering: .relaxed)
            if fullAt >= now {
              used += 1
            } else if group.sets[set].slots[way].high.load(ordering: .relaxed) != 0, claim(group, set, way, fullAt) {
              settle(group, set, way, high: 0, low: 0, fullAt: fullAt + 1)
            }
          }
        }
      }
    }
    return used
  }

  // MARK: - Where a key lives

  /// Two different sets, by a hash that nobody outside can foresee.
  private func homes(of key: LimitKey) -> (Int, Int) {
    let (high, low) = (key.low ^ seed.0).multipliedFullWidth(by: (key.high &* 0x9E37_79B9_7F4A_7C15) ^ seed.1)
    var hash = (high ^ low) &* 0xD6E8_FEB8_6659_FD93
    hash ^= hash >> 32
    let first = Int(truncatingIfNeeded: hash) & mask
    let second = Int(truncatingIfNeeded: hash >> 33) & mask
    return (first, first == second ? second ^ 1 : second)
  }

  // MARK: - Known keys: no lock

  private func take(_ key: LimitKey, in set: Int, _ now: UInt64, _ time: BucketTime) -> Take? {
    let group = groups[set / BucketGroup.count]
    let index = set % BucketGroup.count
    for way in 0..<BucketSet.ways where group.sets[index].slots[way].low.load(ordering: .relaxed) == key.low {
      if let take = take(key, group, index, way, now, time) { return take }
    }
    return nil
  }

  /// `nil`: the slot holds another key.
  private func take(
    _ key: LimitKey, _ group: BucketGroup, _ set: Int, _ way: Int, _ now: UInt64, _ time: BucketTime
  ) -> Take? {
    while true {
      // The order matters: the key is read after `fullAt`, and `fullAt` is compared again after the key.
      let fullAt = group.sets[set].slots[way].fullAt.load(ordering: .acquiring)
      guard fullAt != BucketSlot.changingHands,
        group.sets[set].slots[way].low.load(ordering: .acquiring) == key.low,
        group.sets[set].slots[way].high.load(ordering: .acquiring) == key.high
      else { return nil }
      let next = max(fullAt, now) + time.cost
      if next > now + time.capacity {
        if group.sets[set].slots[way].fullAt.load(ordering: .relaxed) == fullAt { return .refused(fullAt: fullAt) }
      } else if group.sets[set].slots[way].fullAt.compareExchange(
        expected: fullAt, desired: next, ordering: .acquiringAndReleasing
      ).exchanged {
        return .admitted(fullAt: next)
      }
    }
  }

  // MARK: - New keys: under the locks of both sets

  private func admit(_ key: LimitKey, _ first: Int, _ second: Int, _ now: UInt64, _ time: BucketTime) -> Take {
    // Always in the same order, so that two new keys cannot wait for each other.
    let low = min(first, second)
    let high = max(first, second)
    return groups[low / BucketGroup.count].sets[low % BucketGroup.count].lock.withLock { _ in
      groups[high / BucketGroup.count].sets[high % BucketGroup.count].lock.withLock { _ in
        while true {
          // Another thread may have brought the same key in meanwhile.
          if let take = take(key, in: first, now, time) ?? take(key, in: second, now, time) { return take }
          let inFirst = idle(in: first, now)
          let inSecond = idle(in: second, now)
          guard let slot = inFirst.count >= inSecond.count ? inFirst.oldest : inSecond.oldest else {
            turnedAwayCount.add(1, ordering: .relaxed)
            return .noRoom
          }
          let set = inFirst.count >= inSecond.count ? first : second
          let group = groups[set / BucketGroup.count]
          // Fails when its own key took from it just now: then it is no longer idle.
          if claim(group, set % BucketGroup.count, slot.way, slot.fullAt) {
            settle(
              group, set % BucketGroup.count, slot.way, high: key.high, low: key.low, fullAt: now + time.cost)
            return .admitted(fullAt: now + time.cost)
          }
        }
      }
    }
  }

  private func idle(in set: Int, _ now: UInt64) -> (count: Int, oldest: (way: Int, fullAt: UInt64)?) {
    let group = groups[set / BucketGroup.count]
    var count = 0
    var oldest: (way: Int, fullAt: UInt64)?
    for way in 0..<BucketSet.ways {
      let fullAt = group.sets[set % BucketGroup.count].slots[way].fullAt.load(ordering: .relaxed)
      guard fullAt <= now else { continue }
      count += 1
      if fullAt < oldest?.fullAt ?? .max { oldest = (way, fullAt) }
    }
    return (count, oldest)
  }

  private func claim(_ group: BucketGroup, _ set: Int, _ way: Int, _ fullAt: UInt64) -> Bool {
    group.sets[set].slots[way].fullAt.compareExchange(
      expected: fullAt, desired: BucketSlot.changingHands, ordering: .acquiringAndReleasing
    ).exchanged
  }

  /// Releasing stores: whoever sees a part of the new key also sees that the slot changes hands.
  private func settle(_ group: BucketGroup, _ set: Int, _ way: Int, high: UInt64, low: UInt64, fullAt: UInt64) {
    group.sets[set].slots[way].high.store(high, ordering: .releasing)
    group.sets[set].slots[way].low.store(low, ordering: .releasing)
    group.sets[set].slots[way].fullAt.store(fullAt, ordering: .releasing)
  }
}
