internal import Pipeline
internal import Synchronization

/// Counts events of the last seconds, on all loops at once: two plain atomics an event, no lock, and a sum for whoever asks.
///
/// Time goes in ten slots; the one that runs counts as a whole, so that between nine and ten tenths of the window are seen.
/// A loop writes to a shard of its own. Where there are more loops than shards two of them may lose a few events to each
/// other when a slot begins anew: who asks then sees too few.
final class ShardedWindow: Sendable {
  struct Counts: Hashable {
    var all = 0
    var marked = 0
  }

  private struct Slot: ~Copyable {
    /// The epoch (upper 16 bits) and the slot's number since the clock began.
    let stamp = Atomic<UInt64>(.max)
    let all = Atomic<Int>(0)
    let marked = Atomic<Int>(0)
  }

  private final class Shard: Sendable {
    /// Keeps two shards two cache lines apart, so that no two loops write to the same one.
    private let gap = (SIMD8<UInt64>(), SIMD8<UInt64>())
    let slots: InlineArray<16, Slot>

    init() { slots = InlineArray { _ in Slot() } }
  }

  private static let shardMask = 31
  private static let slotsInWindow: UInt64 = 10

  private let width: UInt64
  private let shards: [Shard]

  /// - Parameter length: more than zero.
  init(_ length: Duration) {
    width = max(1, UInt64(max(1, length.nanosecondsClamped)) / Self.slotsInWindow)
    shards = (0...Self.shardMask).map { _ in Shard() }
  }

  private func number(_ now: UInt64) -> UInt64 { now / width }

  /// - Parameter epoch: events of other epochs are not seen in this one.
  func add(marked isMarked: Bool = false, on shard: Int, now: UInt64, epoch: UInt64 = 0) {
    let number = number(now)
    let stamp = epoch << 48 | number
    let index = Int(number & 15)
    let shard = shards[shard & Self.shardMask]
    if shard.slots[index].stamp.load(ordering: .relaxed) != stamp {
      shard.slots[index].all.store(0, ordering: .relaxed)
      shard.slots[index].marked.store(0, ordering: .relaxed)
      shard.slots[index].stamp.store(stamp, ordering: .releasing)
    }
    shard.slots[index].all.wrappingAdd(1, ordering: .relaxed)
    if isMarked { shard.slots[index].marked.wrappingAdd(1, ordering: .relaxed) }
  }

  func counts(now: UInt64, epoch: UInt64 = 0) -> Counts {
    let last = number(now)
    let first = last - min(last, Self.slotsInWindow - 1)
    var counts = Counts()
    for shard in shards {
      for index in 0..<16 {
        let stamp = shard.slots[index].stamp.load(ordering: .acquiring)
        guard stamp >> 48 == epoch & 0xffff, (first...last).contains(stamp & 0xffff_ffff_ffff) else { continue }
        counts.all += shard.slots[index].all.load(ordering: .relaxed)
        counts.marked += shard.slots[index].marked.load(ordering: .relaxed)
      }
    }
    return counts
  }
}
