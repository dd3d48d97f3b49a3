/// Names one armed timer of a `TimerWheel`. A handle whose timer has fired or was cancelled is recognised as stale.
struct TimerHandle: Equatable, Sendable {
  fileprivate var index: Int32
  fileprivate var generation: UInt32

  /// A handle that names no timer.
  static let none = TimerHandle(index: -1, generation: 0)
}

/// A hierarchical timer wheel: arming and cancelling are O(1), and nothing is allocated once the pool of nodes has
/// grown to the largest number of timers that were armed at once.
///
/// Time is counted in ticks (the loop uses one tick per millisecond). Each of the six levels has 64 slots; a slot of
/// level n spans 64^n ticks. A timer sits on the level of the highest 6-bit group in which its tick differs from the
/// current one, so everything on level n is due before everything on level n + 1, and the next thing to do is found by
/// counting trailing zeros in one word per level. A timer on a higher level moves down when its slot begins: at most
/// five moves in its life.
///
/// The wheel is a plain data structure: it knows no clock. It owns raw memory, hence a class with a `deinit`; only the
/// thread that owns it may touch it.
final class TimerWheel<Payload: BitwiseCopyable> {
  private struct Node {
    var previous: Int32
    var next: Int32
    var generation: UInt32
    /// The index of the list that the node is linked in: level * 64 + slot, or `dueList`, or `unlinked`.
    var list: Int32
    var tick: UInt64
    var payload: Payload
  }

  private static var levels: Int { 6 }
  private static var dueList: Int32 { 6 * 64 }
  private static var unlinked: Int32 { -1 }
  /// So many timers are looked through for the first one.
  private static var few: Int { 16 }
  /// A later tick is clamped to this distance (63 slots of the top level, so that it never lands in the slot of the
  /// present) and moves along when its slot begins.
  private static var farthest: UInt64 { 63 << 30 }

  private var nodes: UnsafeMutablePointer<Node>
  private var capacity: Int32 = 64
  private var used: Int32 = 0
  private var free: Int32 = -1
  /// First node of each slot's list, and last of all the list of those that are due.
  private let heads: UnsafeMutablePointer<Int32>
  private let occupied: UnsafeMutablePointer<UInt64>

  /// The last tick up to which the wheel was turned.
  private(set) var currentTick: UInt64
  /// How many timers are armed.
  private(set) var count = 0

  init(startingAt tick: UInt64) {
    currentTick = tick
    nodes = .allocate(capacity: Int(capacity))
    heads = .allocate(capacity: Int(Self.dueList) + 1)
    heads.initialize(repeating: -1, count: Int(Self.dueList) + 1)
    occupied = .allocate(capacity: Self.levels)
    occupied.initialize(repeating: 0, count: Self.levels)
  }

  deinit {
    nodes.deallocate()
    heads.deallocate()
    occupied.deallocate()
  }

  /// Arms a timer. One whose tick is not after `currentTick` fires at the next turn.
  func arm(at tick: UInt64, _ payload: Payload) -> TimerHandle {
    let index = takeNode(tick: tick, payload)
    place(index)
    count += 1
    return TimerHandle(index: index, generation: nodes[Int(index)].generation)
  }

  /// Cancels a timer. Returns false when it has fired or was cancelled already.
  @discardableResult
  func cancel(_ handle: TimerHandle) -> Bool {
    guard isArmed(handle) else { return false }
    unlink(handle.index)
    release(handle.index)
    return true
  }

  func isArmed(_ handle: TimerHandle) -> Bool {
    handle.index >= 0 && handle.index < used
      && nodes[Int(handle.index)].generation == handle.generation
      && nodes[Int(handle.index)].list != Self.unlinked
  }

  /// The earliest tick at which the wheel has something to do: to fire a timer, or, with many armed, to move timers one level
  /// down. Never later than the first timer's tick. Nil when nothing is armed.
  var nextTick: UInt64? {
    if heads[Int(Self.dueList)] >= 0 { return currentTick }
    guard let slot = nextSlot() else { return nil }
    // Nobody is woken just to move a timer down, where looking for the first one is little work. The top level holds those that
    // are clamped, too: its slots are not in order.
    return count <= Self.few && slot.list < (Self.levels - 1) * 64 ? earliest(in: slot.list) : slot.tick
  }

  private func earliest(in list: Int32) -> UInt64 {
    var index = heads[Int(list)]
    var tick = UInt64.max
    while index >= 0 {
      tick = min(tick, nodes[Int(index)].tick)
      index = nodes[Int(index)].next
    }
    return max(tick, currentTick)
  }

  /// Turns the wheel up to `tick` and takes one due timer off. Call until nil; the caller may arm and cancel in between.
  func popDue(upTo tick: UInt64) -> Payload? {
    while true {
      let due = heads[Int(Self.dueList)]
      if due >= 0 {
        unlink(due)
        let payload = nodes[Int(due)].payload
        release(due)
        return payload
      }
      guard let slot = nextSlot(), slot.tick <= tick else {
        currentTick = max(currentTick, tick)
        return nil
      }
      currentTick = max(currentTick, slot.tick)
      openSlot(slot.list)
    }
  }

  // MARK: Placing

  /// Where the next non-empty slot begins, and its list. The lowest occupied level always holds the earliest.
  private func nextSlot() -> (tick: UInt64, list: Int32)? {
    for level in 0..<Self.levels where occupied[level] != 0 {
      let shift = UInt64(6 * level)
      let here = (currentTick >> shift) & 63
      // Slots behind the current one belong to the next turn of this level (only the top level has such).
      let rotated = rotateRight(occupied[level], by: here)
      let distance = UInt64(rotated.trailingZeroBitCount)
      let slot = (here + distance) & 63
      let start = ((currentTick >> shift) + distance) << shift
      return (max(start, currentTick), Int32(level * 64) + Int32(slot))
    }
    return nil
  }

  private func rotateRight(_ word: UInt64, by count: UInt64) -> UInt64 {
    count == 0 ? word : (word >> count) | (word << (64 - count))
  }

  /// Empties a slot whose time has come: what is due goes to the due list, the rest one level or more down.
  private func openSlot(_ list: Int32) {
    var index = heads[Int(list)]
    heads[Int(list)] = -1
    occupied[Int(list) / 64] &= ~(1 << UInt64(list % 64))
    while index >= 0 {
      let next = nodes[Int(index)].next
      place(index)
      index = next
    }
  }

  private func place(_ index: Int32) {
    let tick = nodes[Int(index)].tick
    guard tick > currentTick else { return link(index, into: Self.dueList) }
    let horizon = min(tick, currentTick + Self.farthest)
    let difference = (horizon ^ currentTick) | 63
    // A carry out of the top group leaves the tick on the top level, one turn ahead.
    let level = min((63 - difference.leadingZeroBitCount) / 6, Self.levels - 1)
    let slot = Int32((horizon >> UInt64(6 * level)) & 63)
    link(index, into: Int32(level * 64) + slot)
  }

  private func link(_ index: Int32, into list: Int32) {
    let head = heads[Int(list)]
    nodes[Int(index)].previous = -1
    nodes[Int(index)].next = head
    nodes[Int(index)].list = list
    if head >= 0 { nodes[Int(head)].previous = index }
    heads[Int(list)] = index
    if list < Self.dueList { occupied[Int(list) / 64] |= 1 << UInt64(list % 64) }
  }

  private func unlink(_ index: Int32) {
    let node = nodes[Int(index)]
    if node.previous >= 0 { nodes[Int(node.previous)].next = node.next } else { heads[Int(node.list)] = node.next }
    if node.next >= 0 { nodes[Int(node.next)].previous = node.previous }
    if node.list < Self.dueList, heads[Int(node.list)] < 0 {
      occupied[Int(node.list) / 64] &= ~(1 << UInt64(node.list % 64))
    }
    nodes[Int(index)].list = Self.unlinked
  }

  // MARK: Nodes

  private func takeNode(tick: UInt64, _ payload: Payload) -> Int32 {
    if free >= 0 {
      let index = free
      free = nodes[Int(index)].next
      nodes[Int(index)].tick = tick
      nodes[Int(index)].payload = payload
      return index
    }
    if used == capacity { grow() }
    let index = used
    used += 1
    (nodes + Int(index)).initialize(
      to: Node(previous: -1, next: -1, generation: 0, list: Self.unlinked, tick: tick, payload: payload))
    return index
  }

  private func release(_ index: Int32) {
    nodes[Int(index)].generation &+= 1
    nodes[Int(index)].next = free
    free = index
    count -= 1
  }

  private func grow() {
    let larger = UnsafeMutablePointer<Node>.allocate(capacity: Int(capacity) * 2)
    larger.moveInitialize(from: nodes, count: Int(used))
    nodes.deallocate()
    nodes = larger
    capacity *= 2
  }
}
