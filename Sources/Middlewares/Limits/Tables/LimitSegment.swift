internal import Synchronization

/// One key and its state.
///
/// A step reads `word`, then key and plan, and ends with a compare-and-swap of `word`. It needs no lock, because a slot passes
/// to another key or plan only in this way: the lock of its set is held, `word` becomes `changingHands`, and the first word
/// of the new key is later than every one that the slot ever held. So a compare-and-swap that succeeds proves that the key has
/// not changed since the word was read. A word that becomes smaller (a refund) leaves its old value in the ceiling, and a
/// slot is not handed on before that time has passed, too. Only a plan may change under words that come back: then a
/// thread which slept through that change, and meets the very tick again, charges one take at the old plan's price.
struct LimitSlot: ~Copyable {
  /// From which tick on the key is idle.
  let word = Atomic<UInt64>(0)
  let high = Atomic<UInt64>(0)
  let low = Atomic<UInt64>(0)
  /// The code of the plan (upper half), and the ceiling (lower half), in steps of 2³¹ ticks, rounded up.
  let meta = Atomic<UInt64>(0)

  static let changingHands = UInt64.max

  /// The tick until which the slot must not be handed on.
  static func ceiling(_ meta: UInt64) -> UInt64 { (meta & 0xffff_ffff) << 31 }

  static func meta(_ code: UInt32, ceiling: UInt64) -> UInt64 {
    UInt64(code) << 32 | min((ceiling + 0x7fff_ffff) >> 31, 0xffff_ffff)
  }

  static func code(_ meta: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: meta >> 32) }
}

/// 32 sets of 16 slots, with 8 bits of each key's hash in front: one look at 16 bytes says which of a set's slots may hold a
/// key, so that a step touches two or three cache lines.
private final class LimitGroup: Sendable {
  static let sets = 32
  /// Brings the slots to a multiple of a cache line.
  private let alignment = SIMD8<UInt64>()
  let slots: InlineArray<512, LimitSlot>
  let tags: InlineArray<64, Atomic<UInt64>>
  let locks: InlineArray<32, Mutex<Void>>

  init() {
    slots = InlineArray { _ in LimitSlot() }
    tags = InlineArray { _ in Atomic(0) }
    locks = InlineArray { _ in Mutex(()) }
  }
}

/// A fixed number of slots, in sets of 16. A key may live in two of the sets.
final class LimitSegment: Sendable {
  static let ways = 16

  let setCount: Int
  private let groups: [LimitGroup]
  /// The same again, to be used without counting references: two threads that count the same one are in each other's way.
  /// Sound because `groups` holds them as long as this object lives, and is never changed.
  private let uncounted: [Unmanaged<LimitGroup>]

  /// A quarter more slots than keys, because the two sets of some keys fill before the others.
  init(keys: Int) {
    setCount = max(1, (keys + keys / 4 + Self.ways - 1) / Self.ways)
    groups = (0..<(setCount + LimitGroup.sets - 1) / LimitGroup.sets).map { _ in LimitGroup() }
    uncounted = groups.map { Unmanaged.passUnretained($0) }
  }

  var slotCount: Int { setCount * Self.ways }

  /// The two sets of a key; the same twice where there is but one.
  func homes(_ hash: UInt64) -> (Int, Int) {
    let count = UInt64(setCount)
    let first = Int(((hash >> 32) &* count) >> 32)
    let second = Int(((hash & 0xffff_ffff) &* count) >> 32)
    guard first == second, setCount > 1 else { return (first, second) }
    return (first, second + 1 == setCount ? 0 : second + 1)
  }

  /// Reads or changes one slot.
  @inline(__always)
  func withSlot<Result>(_ slot: Int, _ body: (borrowing LimitSlot) -> Result) -> Result {
    withGroup(slot >> 9) { body($0.slots[slot & 511]) }
  }

  @inline(__always)
  private func withGroup<Result>(_ group: Int, _ body: (LimitGroup) -> Result) -> Result {
    uncounted[group]._withUnsafeGuaranteedRef(body)
  }

  /// The slot of a key, if it is there: sure while the locks of its sets are held, and else to be proved by the word.
  @inline(__always)
  func find(_ key: LimitKey, _ hash: UInt64) -> Int? {
    let (first, second) = homes(hash)
    return find(key, hash, in: first) ?? find(key, hash, in: second)
  }

  @inline(__always)
  private func find(_ key: LimitKey, _ hash: UInt64, in set: Int) -> Int? {
    let tags = (set & 31) * 2
    let wanted = Self.tag(hash) &* 0x0101_0101_0101_0101
    return withGroup(set >> 5) { group in
      for half in 0..<2 {
        let found = group.tags[tags + half].load(ordering: .acquiring) ^ wanted
        // A bit for each byte that is 0; now and then also for the byte above such a one, which the key then rules out.
        var candidates = (found &- 0x0101_0101_0101_0101) & ~found & 0x8080_8080_8080_8080
        while candidates != 0 {
          let slot = set * Self.ways + half * 8 + candidates.trailingZeroBitCount / 8
          if group.slots[slot & 511].low.load(ordering: .acquiring) == key.low,
            group.slots[slot & 511].high.load(ordering: .acquiring) == key.high
          {
            return slot
          }
          candidates &= candidates - 1
        }
      }
      return nil
    }
  }

  /// 1 to 255; 0 is an empty slot. From the bits that choose neither set.
  private static func tag(_ hash: UInt64) -> UInt64 { max((hash &* 0x9E37_79B9_7F4A_7C15) >> 56, 1) }

  // MARK: - Under the locks of the sets

  /// Always in the same order, so that two that want both cannot wait for each other.
  func withLocks<Result>(_ hash: UInt64, _ body: () -> Result) -> Result {
    let (first, second) = homes(hash)
    return withLock(min(first, second)) {
      first == second ? body() : withLock(max(first, second), body)
    }
  }

  func withLock<Result>(_ set: Int, _ body: () -> Result) -> Result {
    withGroup(set >> 5) { $0.locks[set & 31].withLock { _ in body() } }
  }

  /// Which slots a new key may have.
  struct Vacancies {
    var empty: Int?
    var emptyCount = 0
    /// The slot that has been idle for longest.
    var idle: Int?
    var idleSince = UInt64.max
  }

  func vacancies(_ hash: UInt64, _ now: UInt64) -> Vacancies {
    let (first, second) = homes(hash)
    var vacancies = Vacancies()
    look(for: &vacancies, in: first, now)
    if second != first { look(for: &vacancies, in: second, now) }
    return vacancies
  }

  /// Prefers the emptier of two sets: so both fill evenly, and hardly any key finds both full before all are.
  private func look(for vacancies: inout Vacancies, in set: Int, _ now: UInt64) {
    var empty: Int?
    var emptyCount = 0
    for slot in set * Self.ways..<(set + 1) * Self.ways {
      if isEmpty(slot) {
        empty = slot
        emptyCount += 1
        continue
      }
      let since = idleSince(slot)
      if since <= now, since < vacancies.idleSince {
        vacancies.idle = slot
        vacancies.idleSince = since
      }
    }
    if emptyCount > vacancies.emptyCount {
      vacancies.empty = empty
      vacancies.emptyCount = emptyCount
    }
  }

  func isEmpty(_ slot: Int) -> Bool { tagByte(slot) == 0 }

  /// The least word that a key in this empty slot may have.
  func emptyWord(_ slot: Int) -> UInt64 { withSlot(slot) { $0.word.load(ordering: .acquiring) } }

  /// From when on the slot may be handed on.
  func idleSince(_ slot: Int) -> UInt64 {
    withSlot(slot) { slot in
      let word = slot.word.load(ordering: .acquiring)
      return max(word, LimitSlot.ceiling(slot.meta.load(ordering: .acquiring)))
    }
  }

  /// Takes an idle slot away from its key.
  ///
  /// - Returns: false when the key has just been used: then it is not idle.
  func claim(_ slot: Int, now: UInt64) -> Bool {
    withSlot(slot) { slot in
      let word = slot.word.load(ordering: .acquiring)
      guard max(word, LimitSlot.ceiling(slot.meta.load(ordering: .acquiring))) <= now else { return false }
      return slot.word.compareExchange(
        expected: word, desired: LimitSlot.changingHands, ordering: .acquiringAndReleasing
      ).exchanged
    }
  }

  /// Gives a slot that was claimed, or that is empty, to a key. Releasing stores: whoever sees a part of the new key also sees
  /// that the slot changes hands.
  func settle(_ slot: Int, _ key: LimitKey, _ hash: UInt64, code: UInt32, word: UInt64) {
    withSlot(slot) { slot in
      slot.word.store(LimitSlot.changingHands, ordering: .releasing)
      slot.high.store(key.high, ordering: .releasing)
      slot.low.store(key.low, ordering: .releasing)
      slot.meta.store(LimitSlot.meta(code, ceiling: 0), ordering: .releasing)
      slot.word.store(word, ordering: .releasing)
    }
    setTag(slot, Self.tag(hash))
  }

  /// Empties a slot that was claimed.
  func empty(_ slot: Int, now: UInt64) {
    withSlot(slot) { slot in
      slot.high.store(0, ordering: .releasing)
      slot.low.store(0, ordering: .releasing)
      slot.meta.store(0, ordering: .releasing)
      slot.word.store(now + 1, ordering: .releasing)
    }
    setTag(slot, 0)
  }

  private func tagByte(_ slot: Int) -> UInt64 {
    let tags = withGroup(slot >> 9) { $0.tags[(slot & 511) >> 3].load(ordering: .acquiring) }
    return (tags >> UInt64((slot & 7) * 8)) & 0xff
  }

  private func setTag(_ slot: Int, _ tag: UInt64) {
    let shift = UInt64((slot & 7) * 8)
    withGroup(slot >> 9) { group in
      let tags = group.tags[(slot & 511) >> 3].load(ordering: .acquiring)
      group.tags[(slot & 511) >> 3].store(tags & ~(0xff << shift) | (tag << shift), ordering: .releasing)
    }
  }
}
