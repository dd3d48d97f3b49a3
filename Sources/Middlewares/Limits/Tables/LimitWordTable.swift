internal import Synchronization

/// The keys of an algorithm whose state is one word: one atomic a key, without a lock for keys that are known.
///
/// Memory follows the number of slots and not the number of keys that come: 33 bytes a slot and five slots for four keys, at
/// first for `initialSize` keys and, once these do not suffice, for `maxKeys`. A new key takes an empty slot, else one whose
/// key is idle: such a key decides as a new one does, so that forgetting it changes nothing.
public final class LimitWordTable<Algorithm: LimitWordAlgorithm>: LimitTable {
  private let algorithm: Algorithm
  private let maxKeys: Int
  private let initialSize: Int
  private let minTTL: UInt64
  private let first: LimitSegment
  /// The slots for the keys above `initialSize`, from the moment when they are needed.
  private let rest = AtomicLazyReference<LimitSegment>()
  /// Spares a look at `rest`, which would count references.
  private let hasGrown = Atomic<Bool>(false)
  private let seed: (UInt64, UInt64)
  private let plans = LimitPlans()

  private let kept = Atomic<Int>(0)
  private let turnedAway = Atomic<Int>(0)
  private let evicted = Atomic<Int>(0)

  public init(_ algorithm: Algorithm, _ options: LimitStoreOptions) {
    self.algorithm = algorithm
    maxKeys = min(max(options.maxKeys, 1), 1 << 24)
    initialSize = min(max(options.initialSize, 1), maxKeys)
    minTTL = LimitPlan.ticks(options.minTTL)
    first = LimitSegment(keys: initialSize)
    var random = SystemRandomNumberGenerator()
    seed = (random.next(), random.next() | 1)
  }

  public var counts: LimitTableCounts {
    LimitTableCounts(
      kept: kept.load(ordering: .relaxed), turnedAway: turnedAway.load(ordering: .relaxed),
      evicted: evicted.load(ordering: .relaxed), room: hasGrown.load(ordering: .acquiring) ? maxKeys : initialSize)
  }

  public func step(
    _ operation: LimitOperation, _ key: LimitKey, _ plan: LimitPlan, now: () -> UInt64
  ) -> LimitDecision? {
    let hash = hash(key)
    if let slot = first.find(key, hash), let decision = step(operation, key, plan, now, first, slot) { return decision }
    if hasGrown.load(ordering: .acquiring), let rest = rest.load(), let slot = rest.find(key, hash),
      let decision = step(operation, key, plan, now, rest, slot)
    {
      return decision
    }
    return first.withLocks(hash) {
      // Where it is made meanwhile, who makes it holds the locks of its own key only: this one is not in it yet.
      guard let rest = rest.load() else { return stepLocked(operation, key, hash, plan, now, nil) }
      return rest.withLocks(hash) { stepLocked(operation, key, hash, plan, now, rest) }
    }
  }

  public func holds(_ key: LimitKey) -> Bool {
    let hash = hash(key)
    return first.withLocks(hash) { first.find(key, hash) != nil || rest.load()?.find(key, hash) != nil }
  }

  public func collect(now: UInt64, age: UInt64) -> Int {
    collect(first, now, age) + (rest.load().map { collect($0, now, age) } ?? 0)
  }

  /// By a hash that nobody outside can foresee: no choice of keys fills two sets.
  private func hash(_ key: LimitKey) -> UInt64 {
    let (high, low) = (key.low ^ seed.0).multipliedFullWidth(by: (key.high &* 0x9E37_79B9_7F4A_7C15) ^ seed.1)
    let hash = (high ^ low) &* 0xD6E8_FEB8_6659_FD93
    return hash ^ (hash >> 32)
  }

  // MARK: - Known keys: no lock

  /// `nil`: the slot holds another key, or the key under another plan.
  @inline(__always)
  private func step(
    _ operation: LimitOperation, _ key: LimitKey, _ plan: LimitPlan, _ now: () -> UInt64, _ segment: LimitSegment,
    _ index: Int
  ) -> LimitDecision? {
    segment.withSlot(index) { slot in
      while true {
        // The order matters: key and plan are read after the word, and the word is compared again after them. The time is
        // read after the word, too: so the times of successful steps on a key are in the order of the steps.
        let word = slot.word.load(ordering: .acquiring)
        let meta = slot.meta.load(ordering: .acquiring)
        guard word != LimitSlot.changingHands, slot.low.load(ordering: .acquiring) == key.low,
          slot.high.load(ordering: .acquiring) == key.high, LimitSlot.code(meta) == plan.code
        else { return nil }
        var next = word
        let decision = algorithm.run(operation, on: &next, at: now(), plan)
        if next == word {
          // An answer from a state that the key had at that time.
          if slot.word.load(ordering: .acquiring) == word { return decision }
          continue
        }
        if next < word, LimitSlot.ceiling(meta) < word {
          let raised = LimitSlot.meta(plan.code, ceiling: word)
          guard slot.meta.compareExchange(expected: meta, desired: raised, ordering: .acquiringAndReleasing).exchanged
          else { continue }
        }
        if slot.word.compareExchange(expected: word, desired: next, ordering: .acquiringAndReleasing).exchanged {
          return decision
        }
      }
    }
  }

  // MARK: - New keys and new plans: under the locks of the key's sets

  private func stepLocked(
    _ operation: LimitOperation, _ key: LimitKey, _ hash: UInt64, _ plan: LimitPlan, _ now: () -> UInt64,
    _ rest: LimitSegment?
  ) -> LimitDecision? {
    // Another thread may have brought the key in meanwhile.
    if let decision = stepFound(operation, key, hash, plan, now, first)
      ?? rest.flatMap({ stepFound(operation, key, hash, plan, now, $0) })
    {
      return decision
    }
    while true {
      let tick = now()
      var state = algorithm.fresh
      let decision = algorithm.run(operation, on: &state, at: tick, plan)
      // A key that took nothing is as good as unknown.
      guard state != algorithm.fresh else { return decision }
      switch place(hash, tick, rest) {
      case .slot(let segment, let slot, let word):
        plans.remember(plan)
        segment.settle(slot, key, hash, code: plan.code, word: max(state, word))
        return decision
      case .lost: continue
      case .grow:
        // Its locks are needed as well, and are taken after those that are held.
        let rest = self.rest.storeIfNil(LimitSegment(keys: maxKeys - initialSize))
        hasGrown.store(true, ordering: .releasing)
        return rest.withLocks(hash) { stepLocked(operation, key, hash, plan, now, rest) }
      case .none:
        turnedAway.add(1, ordering: .relaxed)
        return nil
      }
    }
  }

  private func stepFound(
    _ operation: LimitOperation, _ key: LimitKey, _ hash: UInt64, _ plan: LimitPlan, _ now: () -> UInt64,
    _ segment: LimitSegment
  ) -> LimitDecision? {
    guard let slot = segment.find(key, hash) else { return nil }
    rescale(segment, slot, to: plan, now)
    // Nobody else changes key or plan while the locks are held.
    return step(operation, key, plan, now, segment, slot)
  }

  private enum Place {
    /// With the least word that the new key may have.
    case slot(LimitSegment, Int, UInt64)
    /// The key of the chosen slot was faster.
    case lost
    case grow
    case none
  }

  /// An empty slot, or that of the key which has been idle for longest.
  private func place(_ hash: UInt64, _ now: UInt64, _ rest: LimitSegment?) -> Place {
    let inFirst = first.vacancies(hash, now)
    let inRest = rest?.vacancies(hash, now)
    // Memory grows for keys in use, and for idle ones that shall be kept, only.
    let mayGrow = rest == nil && initialSize < maxKeys && (inFirst.idle == nil || now - inFirst.idleSince < minTTL)
    if inFirst.empty != nil || inRest?.empty != nil || mayGrow {
      if kept.add(1, ordering: .relaxed).newValue <= maxKeys {
        if let slot = inFirst.empty { return .slot(first, slot, first.emptyWord(slot)) }
        if let rest, let slot = inRest?.empty { return .slot(rest, slot, rest.emptyWord(slot)) }
        kept.subtract(1, ordering: .relaxed)
        return .grow
      }
      kept.subtract(1, ordering: .relaxed)
    }
    var chosen = inFirst.idle.map { (first, $0) }
    if let rest, let inRest, let slot = inRest.idle, inRest.idleSince < inFirst.idleSince { chosen = (rest, slot) }
    guard let (segment, slot) = chosen else { return .none }
    guard segment.claim(slot, now: now) else { return .lost }
    evicted.add(1, ordering: .relaxed)
    return .slot(segment, slot, now + 1)
  }

  private func rescale(_ segment: LimitSegment, _ index: Int, to plan: LimitPlan, _ now: () -> UInt64) {
    segment.withSlot(index) { slot in
      while true {
        let word = slot.word.load(ordering: .acquiring)
        let meta = slot.meta.load(ordering: .acquiring)
        guard LimitSlot.code(meta) != plan.code else { return }
        guard
          slot.word.compareExchange(
            expected: word, desired: LimitSlot.changingHands, ordering: .acquiringAndReleasing
          ).exchanged
        else { continue }
        var rescaled = word
        let now = now()
        if let old = plans[LimitSlot.code(meta)], word > now {
          algorithm.rescale(&rescaled, from: old, to: plan, at: now)
        }
        plans.remember(plan)
        let ceiling = max(LimitSlot.ceiling(slot.meta.load(ordering: .acquiring)), word)
        slot.meta.store(LimitSlot.meta(plan.code, ceiling: ceiling), ordering: .releasing)
        slot.word.store(rescaled, ordering: .releasing)
        return
      }
    }
  }

  // MARK: - Idle keys

  private func collect(_ segment: LimitSegment, _ now: UInt64, _ age: UInt64) -> Int {
    var used = 0
    for set in 0..<segment.setCount {
      segment.withLock(set) {
        for slot in set * LimitSegment.ways..<(set + 1) * LimitSegment.ways where !segment.isEmpty(slot) {
          let since = segment.idleSince(slot)
          if since > now {
            used += 1
          } else if now - since >= age, segment.claim(slot, now: now) {
            segment.empty(slot, now: now)
            kept.subtract(1, ordering: .relaxed)
          }
        }
      }
    }
    return used
  }
}

/// The plans that the keys of a table have had, by code.
///
/// Bounded: of a program that makes up a new rate for each key, plans beyond 65,536 are not remembered, and a key that comes
/// from such a plan keeps what it owes as time.
final class LimitPlans: Sendable {
  private let plans = Mutex<[UInt32: LimitPlan]>([:])
  /// The plan that was remembered last, so that new keys under one plan need no lock; one more than its code.
  private let last = Atomic<UInt64>(0)

  subscript(_ code: UInt32) -> LimitPlan? { plans.withLock { $0[code] } }

  func remember(_ plan: LimitPlan) {
    guard last.load(ordering: .acquiring) != UInt64(plan.code) + 1 else { return }
    plans.withLock { plans in
      if plans[plan.code] == nil, plans.count < 65_536 { plans[plan.code] = plan }
    }
    last.store(UInt64(plan.code) + 1, ordering: .releasing)
  }
}
