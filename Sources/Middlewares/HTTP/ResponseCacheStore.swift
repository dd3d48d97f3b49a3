internal import Pipeline
internal import Synchronization

/// Where a ``ResponseCache`` keeps responses: in memory, bounded by bytes and by entries; what was not used longest
/// goes first.
///
/// Several caches may share one, in which case they must stand in front of the same origins: a response is found by
/// the host and the target of the request alone.
///
/// One lock for each shard, held for well under a microsecond and never across a wait.
public final class CacheStore: Sendable {
  /// What a store holds and what it has been asked, since the start.
  public struct Statistics: Sendable, Hashable {
    /// Served as fresh.
    public var hits = 0
    /// The origin was asked, and nothing of what was stored could be used.
    public var misses = 0
    /// Served stale: for want of an origin, or because the client takes it.
    public var stale = 0
    /// Served after the origin said that it is still the same.
    public var revalidated = 0
    /// Served stale while a fresh one was fetched.
    public var updating = 0
    /// Requests and methods that the cache leaves alone.
    public var bypassed = 0
    /// Requests that waited for another's fetch.
    public var collapsed = 0
    /// Responses that were stored, updated ones included.
    public var stored = 0
    /// Responses that had to make room.
    public var evicted = 0
    /// Responses that a request changed or a purge removed.
    public var invalidated = 0
    /// What it holds now.
    public var entries = 0
    public var bytes = 0
  }

  private final class Shard: Sendable {
    let state: Mutex<CacheShard>
    init(_ shard: CacheShard) { state = Mutex(shard) }
  }

  private struct Counters: ~Copyable {
    let misses = Atomic<Int>(0)
    let stale = Atomic<Int>(0)
    let revalidated = Atomic<Int>(0)
    let updating = Atomic<Int>(0)
    let bypassed = Atomic<Int>(0)
    let collapsed = Atomic<Int>(0)
    let stored = Atomic<Int>(0)
    let invalidated = Atomic<Int>(0)
  }

  /// Bytes of one response, head and all, that are stored at most.
  public let maxEntryBytes: Int
  private let shards: [Shard]
  private let counters = Counters()

  /// - Parameters:
  ///   - maxBytes: of memory, for all responses together: 64 KiB or more.
  ///   - maxEntries: responses: 1 or more.
  ///   - maxEntryBytes: of one response: 1 KiB ... `maxBytes`.
  public init(maxBytes: Int = 64 << 20, maxEntries: Int = 10_000, maxEntryBytes: Int = 1 << 20) {
    precondition(maxBytes >= 64 << 10, "maxBytes is \(maxBytes): 65536 or more are allowed")
    precondition(maxEntries >= 1, "maxEntries is \(maxEntries): 1 or more are allowed")
    precondition(
      (1 << 10...maxBytes).contains(maxEntryBytes), "maxEntryBytes is \(maxEntryBytes): 1024 to maxBytes are allowed")
    self.maxEntryBytes = maxEntryBytes
    // Every shard must have room for a few of the largest; few entries are kept in one order.
    var count = 1
    while count < 16, maxBytes / (count * 2) >= 4 * maxEntryBytes, maxEntries / (count * 2) >= 64 { count *= 2 }
    shards = (0..<count).map { _ in
      Shard(CacheShard(maxBytes: maxBytes / count, maxEntries: maxEntries / count))
    }
  }

  public var statistics: Statistics {
    var sum = Statistics()
    for shard in shards {
      shard.state.withLock { state in
        sum.hits += state.hits
        sum.evicted += state.evicted
        sum.entries += state.count
        sum.bytes += state.bytes
      }
    }
    sum.misses = counters.misses.load(ordering: .relaxed)
    sum.stale = counters.stale.load(ordering: .relaxed)
    sum.revalidated = counters.revalidated.load(ordering: .relaxed)
    sum.updating = counters.updating.load(ordering: .relaxed)
    sum.bypassed = counters.bypassed.load(ordering: .relaxed)
    sum.collapsed = counters.collapsed.load(ordering: .relaxed)
    sum.stored = counters.stored.load(ordering: .relaxed)
    sum.invalidated = counters.invalidated.load(ordering: .relaxed)
    return sum
  }

  /// Removes every variant of one target.
  ///
  /// - Parameter url: `http://example.org/path?query`, or without `http://`.
  /// - Returns: how many responses were removed.
  @discardableResult public func purge(_ url: String) -> Int {
    let key = Self.key(of: url)
    return purge { $0 == key }
  }

  /// Removes everything whose URL begins like this: `example.org/images/`.
  @discardableResult public func purge(prefix: String) -> Int {
    let prefix = Self.key(of: prefix)
    return purge { $0.starts(with: prefix) }
  }

  /// Removes everything.
  @discardableResult public func purgeAll() -> Int { purge { _ in true } }

  private func purge(where isUnwanted: @Sendable ([UInt8]) -> Bool) -> Int {
    var removed = 0
    for shard in shards { removed += shard.state.withLock { $0.purge(where: isUnwanted) } }
    counters.invalidated.add(removed, ordering: .relaxed)
    return removed
  }

  /// As ``CacheRequest/key(in:)`` makes them.
  private static func key(of url: String) -> [UInt8] {
    var text = Substring(url)
    if text.lowercased().hasPrefix("http://") { text = text.dropFirst(7) }
    let slash = text.firstIndex(of: "/") ?? text.endIndex
    var authority = text[..<slash].lowercased()
    if authority.hasSuffix(":80") { authority.removeLast(3) }
    return Array(authority.utf8) + Array(text[slash...].utf8)
  }
}

// MARK: - For the element

extension CacheStore {
  private func shard(_ hash: UInt64) -> Shard { shards[Int(truncatingIfNeeded: hash >> 32) & (shards.count - 1)] }

  func step(_ request: CacheRequest, _ head: HTTPRequestHead, now: Instant, mayWait: Bool) -> CacheStep {
    shard(request.hash).state.withLock { $0.step(request, head, now: now, mayWait: mayWait) }
  }

  func epoch(of hash: UInt64) -> UInt64 { shard(hash).state.withLock { $0.epoch } }

  /// False when it was invalidated while it was fetched.
  func insert(_ response: CachedResponse, for head: HeaderFields, since epoch: UInt64) -> Bool {
    guard response.cost <= maxEntryBytes else { return false }
    let isStored = shard(response.hash).state.withLock { $0.insert(response, for: head, since: epoch) }
    if isStored { counters.stored.add(1, ordering: .relaxed) }
    return isStored
  }

  func markNotShared(_ key: [UInt8], _ hash: UInt64, until: Instant) {
    shard(hash).state.withLock { $0.markNotShared(key, hash, until: until) }
  }

  func remove(_ response: CachedResponse) { shard(response.hash).state.withLock { $0.remove(response) } }

  func invalidate(_ hash: UInt64) {
    let removed = shard(hash).state.withLock { $0.invalidate(hash) }
    counters.invalidated.add(removed, ordering: .relaxed)
  }

  func pauseRefresh(of hash: UInt64, until: Instant, now: Instant) {
    shard(hash).state.withLock { $0.pauseRefresh(of: hash, until: until, now: now) }
  }

  func land(_ flight: CacheFlight, _ outcome: CacheFlight.Outcome) {
    shard(flight.key.hash).state.withLock { $0.remove(flight) }
    flight.land(outcome)
  }

  func countCollapsed() { counters.collapsed.add(1, ordering: .relaxed) }

  /// Hits are counted under the shard's lock, which they take anyway.
  func count(_ status: CacheStatus) {
    switch status {
    case .hit: break
    case .miss: counters.misses.add(1, ordering: .relaxed)
    case .stale: counters.stale.add(1, ordering: .relaxed)
    case .revalidated: counters.revalidated.add(1, ordering: .relaxed)
    case .updating: counters.updating.add(1, ordering: .relaxed)
    case .bypass: counters.bypassed.add(1, ordering: .relaxed)
    }
  }
}
