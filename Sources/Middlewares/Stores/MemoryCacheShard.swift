internal import Pipeline
internal import Synchronization

/// How many keys all shards of a cache keep together.
final class MemoryCacheRoom: Sendable {
  private let most: Int
  private let kept = Atomic<Int>(0)
  private let turnedAway = Atomic<Int>(0)
  private let expired = Atomic<Int>(0)

  init(_ most: Int) { self.most = most }

  var counts: MemoryCacheCounts {
    MemoryCacheCounts(
      kept: kept.load(ordering: .relaxed), turnedAway: turnedAway.load(ordering: .relaxed),
      expired: expired.load(ordering: .relaxed))
  }

  /// False when there is no place for so many more.
  func enter(_ count: Int) -> Bool {
    if kept.add(count, ordering: .relaxed).newValue <= most { return true }
    kept.subtract(count, ordering: .relaxed)
    return false
  }

  func refused() { turnedAway.add(1, ordering: .relaxed) }

  func leave(_ count: Int, expired isExpired: Bool) {
    kept.subtract(count, ordering: .relaxed)
    if isExpired { expired.add(count, ordering: .relaxed) }
  }
}

/// One part of a ``MemoryCache``, under one lock.
final class MemoryCacheShard: Sendable {
  private enum Value {
    case counter(Int)
    case bytes([UInt8])

    /// As `get` gives it.
    var bytes: [UInt8] {
      switch self {
      case .counter(let number): Array(String(number).utf8)
      case .bytes(let bytes): bytes
      }
    }

    /// Only the shortest way of writing a number is one, as in Redis: else two ways of writing one would be two values.
    var number: Int? {
      switch self {
      case .counter(let number): return number
      case .bytes(let bytes):
        let text = String(decoding: bytes, as: UTF8.self)
        guard bytes.count <= 20, let number = Int(text), String(number) == text else { return nil }
        return number
      }
    }
  }

  private struct Entry {
    var value: Value
    var expires: Instant
  }

  private struct State {
    var entries: [CacheKey: Entry] = [:]
    /// Nothing expires before.
    var earliest = Instant.distantFuture
  }

  private let room: MemoryCacheRoom
  private let state = Mutex(State())

  init(_ room: MemoryCacheRoom) { self.room = room }

  // MARK: Operations

  func value(_ key: CacheKey, _ now: Instant) -> [UInt8]? {
    state.withLock { live(key, &$0, now)?.value.bytes }
  }

  func add(
    _ delta: Int, _ key: CacheKey, _ guardKey: CacheKey?, _ lifetime: CacheLifetime, _ now: Instant
  ) throws(CacheError) -> Int? {
    try state.withLock { state throws(CacheError) in
      if let guardKey, live(guardKey, &state, now) == nil { return nil }
      let old = live(key, &state, now)
      guard let before = old.map({ $0.value.number }) ?? 0 else { throw .notACounter }
      let (sum, overflow) = before.addingReportingOverflow(delta)
      if overflow { throw .notACounter }
      if old == nil { try makeRoom(1, &state, now) }
      put(.counter(sum), key, old, lifetime, &state, now)
      return sum
    }
  }

  func replace(
    _ key: CacheKey, _ expected: [UInt8]?, _ new: [UInt8]?, _ lifetime: CacheLifetime, _ now: Instant
  ) throws(CacheError) -> Bool {
    try state.withLock { state throws(CacheError) in
      let old = live(key, &state, now)
      guard old?.value.bytes == expected else { return false }
      if let new {
        if old == nil { try makeRoom(1, &state, now) }
        put(.bytes(new), key, old, lifetime, &state, now)
      } else if old != nil {
        state.entries[key] = nil
        room.leave(1, expired: false)
      }
      return true
    }
  }

  func take(_ counters: [CacheTake], _ now: Instant) throws(CacheError) -> CacheTaken {
    try state.withLock { state throws(CacheError) in
      var values: [Int] = []
      values.reserveCapacity(counters.count)
      for counter in counters {
        guard let value = live(counter.key, &state, now).map({ $0.value.number }) ?? 0 else { throw .notACounter }
        values.append(value)
      }
      let before = values
      for (index, counter) in counters.enumerated() {
        let first = Self.first(index, counters)
        guard let after = Self.taken(counter, from: values[first]) else {
          return CacheTaken(exhausted: index, values: before)
        }
        values[first] = after
      }
      // What was not there and still holds nothing is not made.
      let made = counters.indices.count { index in
        Self.first(index, counters) == index && values[index] != 0 && live(counters[index].key, &state, now) == nil
      }
      if made > 0 { try makeRoom(made, &state, now) }
      for (index, counter) in counters.enumerated() {
        values[index] = values[Self.first(index, counters)]
        let old = live(counter.key, &state, now)
        if counter.cost == 0 || (old == nil && values[index] == 0) { continue }
        put(.counter(values[index]), counter.key, old, counter.lifetime, &state, now)
      }
      return CacheTaken(exhausted: nil, values: values)
    }
  }

  /// Where a key stands for the first time.
  private static func first(_ index: Int, _ counters: [CacheTake]) -> Int {
    for earlier in 0..<index where counters[earlier].key == counters[index].key { return earlier }
    return index
  }

  /// What a counter holds after a take; `nil`: it would pass its limit.
  private static func taken(_ counter: CacheTake, from value: Int) -> Int? {
    if counter.cost <= 0 { return value <= 0 ? value : max(0, value + max(counter.cost, -value)) }
    let limit = min(max(counter.limit, 0), 1 << 53 - 1)
    return counter.cost > limit || value > limit - counter.cost ? nil : value + counter.cost
  }

  // MARK: Keys

  /// What is there and has not expired.
  private func live(_ key: CacheKey, _ state: inout State, _ now: Instant) -> Entry? {
    guard let entry = state.entries[key] else { return nil }
    if now < entry.expires { return entry }
    state.entries[key] = nil
    room.leave(1, expired: true)
    return nil
  }

  private func put(
    _ value: Value, _ key: CacheKey, _ old: Entry?, _ lifetime: CacheLifetime, _ state: inout State, _ now: Instant
  ) {
    let expires: Instant
    switch lifetime {
    case .forever: expires = .distantFuture
    case .fromCreation: expires = old?.expires ?? now + .milliseconds(lifetime.milliseconds ?? 0)
    case .fromChange: expires = now + .milliseconds(lifetime.milliseconds ?? 0)
    }
    state.earliest = min(state.earliest, expires)
    state.entries[key] = Entry(value: value, expires: expires)
  }

  private func makeRoom(_ count: Int, _ state: inout State, _ now: Instant) throws(CacheError) {
    if room.enter(count) { return }
    collect(&state, now)
    if room.enter(count) { return }
    room.refused()
    throw .full
  }

  func collect(_ now: Instant) { state.withLock { collect(&$0, now) } }

  private func collect(_ state: inout State, _ now: Instant) {
    guard state.earliest <= now else { return }
    let before = state.entries.count
    var earliest = Instant.distantFuture
    state.entries = state.entries.filter { entry in
      guard now < entry.value.expires else { return false }
      earliest = min(earliest, entry.value.expires)
      return true
    }
    state.earliest = earliest
    room.leave(before - state.entries.count, expired: true)
  }

  func empty() {
    state.withLock { state in
      room.leave(state.entries.count, expired: false)
      state = State()
    }
  }
}
