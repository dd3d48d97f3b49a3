internal import Pipeline

/// What one lock of a cache guards: some of the stored responses, in the order of their last use, and the fetches that
/// are under way for them.
struct CacheShard: Sendable {
  private struct Slot: Sendable {
    /// `nil`: a free place.
    var entry: Entry?
    /// The next one with the same hash; of a free place the next free one. -1: none.
    var next: Int32
    var newer: Int32 = -1
    var older: Int32 = -1
  }

  private enum Entry: Sendable {
    case response(CachedResponse)
    /// What came for this key could not be shared: until then nobody waits for another's fetch of it.
    case notShared(key: [UInt8], hash: UInt64, until: Instant)

    var hash: UInt64 {
      switch self {
      case .response(let response): response.hash
      case .notShared(_, let hash, _): hash
      }
    }

    var cost: Int {
      switch self {
      case .response(let response): response.cost
      case .notShared(let key, _, _): 200 + key.count
      }
    }
  }

  private static let maxVariants = 16
  /// How many invalidations a fetch can tell apart from those of other keys.
  private static let rememberedInvalidations = 64

  private let maxBytes: Int
  private let maxEntries: Int
  private var heads: [UInt64: Int32] = [:]
  private var slots: [Slot] = []
  private var firstFree: Int32 = -1
  private var newest: Int32 = -1
  private var oldest: Int32 = -1
  private var flights: [CacheFlight.Key: CacheFlight] = [:]
  /// When a refresh behind a client's back failed, the next one waits until then.
  private var refreshPauses: [UInt64: Instant] = [:]
  /// The latest ones, and when each was.
  private var invalidations: [(hash: UInt64, epoch: UInt64)] = []
  private var nextInvalidation = 0
  private(set) var epoch: UInt64 = 0
  private var lastPurge: UInt64 = 0
  private(set) var bytes = 0
  private(set) var count = 0
  private(set) var evicted = 0
  private(set) var hits = 0

  init(maxBytes: Int, maxEntries: Int) {
    self.maxBytes = maxBytes
    self.maxEntries = maxEntries
  }

  // MARK: - Deciding

  mutating func step(
    _ request: CacheRequest, _ head: HTTPRequestHead, now: Instant, mayWait: Bool
  ) -> CacheStep {
    var cached: CachedResponse?
    var isNotShared = false
    var variesLike: CachedResponse?
    var slot = heads[request.hash] ?? -1
    while slot >= 0, cached == nil {
      switch slots[Int(slot)].entry {
      case .response(let response):
        if response.matches(request, head) {
          cached = response
          touch(slot)
        } else if variesLike == nil, request.hasKey(response.key, in: head) {
          variesLike = response
        }
      case .notShared(let key, _, let until):
        if now < until, request.hasKey(key, in: head) { isNotShared = true }
      case nil: break
      }
      slot = slots[Int(slot)].next
    }
    guard let cached else {
      return stepWithout(request, head, isNotShared, like: variesLike, mayWait: mayWait)
    }
    let verdict = cached.freshness.verdict(at: now, request.directives)
    if verdict == .fresh {
      hits += 1
      return .serve(cached, .hit)
    }
    return step(request, head, stale: cached, verdict, now: now, mayWait: mayWait)
  }

  private mutating func stepWithout(
    _ request: CacheRequest, _ head: HTTPRequestHead, _ isNotShared: Bool, like sibling: CachedResponse?, mayWait: Bool
  ) -> CacheStep {
    if request.directives.flags.contains(.onlyIfCached) { return .refuse }
    guard request.mayFill else { return .pass }
    if isNotShared || !mayWait { return .alone(stale: nil) }
    return leadOrFollow(request, head, like: sibling, stale: nil)
  }

  private mutating func step(
    _ request: CacheRequest, _ head: HTTPRequestHead, stale: CachedResponse, _ verdict: CacheFreshness.Verdict,
    now: Instant, mayWait: Bool
  ) -> CacheStep {
    if verdict == .stale { return .serve(stale, .stale) }
    if request.directives.flags.contains(.onlyIfCached) { return .refuse }
    switch verdict {
    case .fresh, .stale: return .serve(stale, .hit)
    case .refresh:
      if refreshPauses[request.hash, default: now] > now { return .serve(stale, .stale) }
      // Who may not store leaves the refresh to those who may.
      guard request.mayFill else { return .serve(stale, .stale) }
      switch leadOrFollow(request, head, like: stale, stale: stale) {
      case .lead(let flight, _): return .refresh(flight, stale)
      default: return .serve(stale, .updating)
      }
    case .ask(let isForced):
      guard request.mayFill else { return .pass }
      // Another's fetch may have begun before this client asked for a new one; what is never fresh serves one client
      // only.
      if isForced || !mayWait || !stale.freshness.isEverFresh { return .alone(stale: stale) }
      return leadOrFollow(request, head, like: stale, stale: stale)
    }
  }

  private mutating func leadOrFollow(
    _ request: CacheRequest, _ head: HTTPRequestHead, like sibling: CachedResponse?, stale: CachedResponse?
  ) -> CacheStep {
    var variant = 0
    if let sibling, !sibling.vary.isEmpty {
      variant = sibling.vary.map { VaryField(name: $0.name, of: head.fields).value }.hashValue
    }
    let key = CacheFlight.Key(hash: request.hash, variant: variant)
    if let flight = flights[key] {
      return request.hasKey(flight.target, in: head) ? .follow(flight, stale: stale) : .alone(stale: stale)
    }
    let flight = CacheFlight(key: key, target: request.key(in: head))
    flights[key] = flight
    return .lead(flight, stale: stale)
  }

  /// The flight is over: who comes now leads another.
  mutating func remove(_ flight: CacheFlight) {
    if flights[flight.key] === flight { flights[flight.key] = nil }
  }

  mutating func pauseRefresh(of hash: UInt64, until: Instant, now: Instant) {
    refreshPauses = refreshPauses.filter { $0.value > now }
    refreshPauses[hash] = until
  }

  // MARK: - Storing

  /// Stores a response in place of those that the same request would have found. `epoch`: of the moment in which the
  /// fetch began. False when it was invalidated since then.
  mutating func insert(_ response: CachedResponse, for head: HeaderFields, since began: UInt64) -> Bool {
    guard !wasInvalidated(response.hash, since: began) else { return false }
    removeEntries(response.hash) { entry in
      switch entry {
      case .response(let old): old.key == response.key && old.vary.allSatisfy { $0.matches(head) }
      case .notShared(let key, _, _): key == response.key
      }
    }
    limitVariants(of: response)
    refreshPauses[response.hash] = nil
    add(.response(response))
    return true
  }

  mutating func markNotShared(_ key: [UInt8], _ hash: UInt64, until: Instant) {
    removeEntries(hash) { entry in
      if case .notShared(let old, _, _) = entry { return old == key }
      return false
    }
    add(.notShared(key: key, hash: hash, until: until))
  }

  mutating func remove(_ response: CachedResponse) {
    removeEntries(response.hash) { entry in
      if case .response(let old) = entry { return old === response }
      return false
    }
  }

  /// Everything under this hash is gone; what is being fetched now is not stored, and nobody waits for it any more.
  mutating func invalidate(_ hash: UInt64) -> Int {
    epoch += 1
    if invalidations.count < Self.rememberedInvalidations {
      invalidations.append((hash, epoch))
    } else {
      invalidations[nextInvalidation] = (hash, epoch)
      nextInvalidation = (nextInvalidation + 1) % Self.rememberedInvalidations
    }
    for key in flights.keys where key.hash == hash { flights[key] = nil }
    return removeEntries(hash) { _ in true }
  }

  /// Removes what `isUnwanted` names; of what is being fetched now nothing is stored.
  mutating func purge(where isUnwanted: ([UInt8]) -> Bool) -> Int {
    epoch += 1
    lastPurge = epoch
    flights = [:]
    var removed = 0
    for slot in slots.indices {
      switch slots[slot].entry {
      case .response(let response) where isUnwanted(response.key):
        remove(Int32(slot))
        removed += 1
      case .response, .notShared, nil: break
      }
    }
    return removed
  }

  private func wasInvalidated(_ hash: UInt64, since began: UInt64) -> Bool {
    if lastPurge > began || epoch - began > UInt64(Self.rememberedInvalidations) { return true }
    return epoch > began && invalidations.contains { $0.hash == hash && $0.epoch > began }
  }

  private mutating func limitVariants(of response: CachedResponse) {
    var variants = 0
    var slot = heads[response.hash] ?? -1
    while slot >= 0 {
      let next = slots[Int(slot)].next
      variants += 1
      if variants >= Self.maxVariants { remove(slot) }
      slot = next
    }
  }

  private mutating func add(_ entry: Entry) {
    let cost = entry.cost
    guard cost <= maxBytes, maxEntries > 0 else { return }
    while oldest >= 0, bytes + cost > maxBytes || count >= maxEntries {
      remove(oldest)
      evicted += 1
    }
    let index = freeSlot()
    slots[Int(index)].entry = entry
    slots[Int(index)].next = heads[entry.hash] ?? -1
    heads[entry.hash] = index
    linkNewest(index)
    bytes += cost
    count += 1
  }

  @discardableResult private mutating func removeEntries(_ hash: UInt64, where isUnwanted: (Entry) -> Bool) -> Int {
    var removed = 0
    var slot = heads[hash] ?? -1
    while slot >= 0 {
      let next = slots[Int(slot)].next
      if let entry = slots[Int(slot)].entry, isUnwanted(entry) {
        remove(slot)
        removed += 1
      }
      slot = next
    }
    return removed
  }

  private mutating func remove(_ index: Int32) {
    guard let entry = slots[Int(index)].entry else { return }
    unlink(index)
    let next = slots[Int(index)].next
    if heads[entry.hash] == index {
      heads[entry.hash] = next >= 0 ? next : nil
    } else {
      var before = heads[entry.hash] ?? -1
      while before >= 0, slots[Int(before)].next != index { before = slots[Int(before)].next }
      if before >= 0 { slots[Int(before)].next = next }
    }
    bytes -= entry.cost
    count -= 1
    slots[Int(index)].entry = nil
    slots[Int(index)].next = firstFree
    firstFree = index
  }

  private mutating func freeSlot() -> Int32 {
    guard firstFree >= 0 else {
      slots.append(Slot(entry: nil, next: -1))
      return Int32(slots.count - 1)
    }
    let index = firstFree
    firstFree = slots[Int(index)].next
    return index
  }

  // MARK: - The order of use

  private mutating func touch(_ index: Int32) {
    guard newest != index else { return }
    unlink(index)
    linkNewest(index)
  }

  private mutating func linkNewest(_ index: Int32) {
    slots[Int(index)].older = newest
    slots[Int(index)].newer = -1
    if newest >= 0 { slots[Int(newest)].newer = index }
    newest = index
    if oldest < 0 { oldest = index }
  }

  private mutating func unlink(_ index: Int32) {
    let older = slots[Int(index)].older
    let newer = slots[Int(index)].newer
    if newer >= 0 { slots[Int(newer)].older = older } else if newest == index { newest = older }
    if older >= 0 { slots[Int(older)].newer = newer } else if oldest == index { oldest = newer }
  }
}
