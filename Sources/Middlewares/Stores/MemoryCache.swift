public import Pipeline
internal import Synchronization

/// How a ``MemoryCache`` keeps its keys.
public struct MemoryCacheOptions: Hashable, Sendable {
  /// Keys that are kept at most: 1 to 16,777,216. What would be one more is refused with ``CacheError/full``: nothing that is
  /// counted is ever forgotten to make room.
  public var maxKeys: Int
  /// Parts with a lock of their own: 1 to 4,096. Keys of one group are in one part.
  public var shards: Int
  /// How often expired keys are collected: 1 ms to 1 day. An expired key is never seen, collected or not.
  public var collectEvery: Duration

  public init(maxKeys: Int = 1_000_000, shards: Int = 64, collectEvery: Duration = .seconds(10)) {
    self.maxKeys = maxKeys
    self.shards = shards
    self.collectEvery = collectEvery
  }

  /// What is wrong with the numbers, one sentence each.
  public var problems: [String] {
    var problems: [String] = []
    if !(1...(1 << 24)).contains(maxKeys) { problems.append("maxKeys of \(maxKeys): 1 to 16,777,216 are allowed") }
    if !(1...4096).contains(shards) { problems.append("shards of \(shards): 1 to 4,096 are allowed") }
    if collectEvery < .milliseconds(1) || collectEvery > .seconds(86_400) {
      problems.append("collectEvery of \(collectEvery): 1 ms to 1 day are allowed")
    }
    return problems
  }
}

/// What has become of the keys of a ``MemoryCache``.
public struct MemoryCacheCounts: Hashable, Sendable {
  /// Keys that are kept now, expired ones that were not collected yet among them.
  public var kept = 0
  /// Operations that were refused for want of room, since the start.
  public var turnedAway = 0
  /// Keys that expired and were collected, since the start.
  public var expired = 0
}

/// A ``Cache`` in the memory of this process, for all its loops.
///
/// ```swift
/// let cache = MemoryCache()
/// let count = try cache.add(1, to: CacheKey("visits"), requiring: nil, lifetime: .forever, on: nil)
/// ```
/// Every operation is synchronous: one short lock on the part in which the key's group lies. A counter that is known costs no
/// allocation. It is lost with the process.
///
/// Throws ``CacheError/full``, `notACounter`, `severalGroups` and `closed`, and never waits.
public final class MemoryCache: Cache {
  public let options: MemoryCacheOptions
  private let shards: [MemoryCacheShard]
  private let room: MemoryCacheRoom
  private let clock: @Sendable () -> Instant
  private let shared = SharedRun()
  private let isClosed = Atomic<Bool>(false)

  /// Numbers out of range count as the nearest allowed one: ask ``MemoryCacheOptions/problems`` first.
  ///
  /// - Parameter clock: what keys expire by; tests give one that they move. `nil`: the system's monotonic time.
  public init(_ options: MemoryCacheOptions = MemoryCacheOptions(), clock: (@Sendable () -> Instant)? = nil) {
    self.options = options
    room = MemoryCacheRoom(min(max(options.maxKeys, 1), 1 << 24))
    let room = room
    shards = (0..<min(max(options.shards, 1), 4096)).map { _ in MemoryCacheShard(room) }
    self.clock = clock ?? Self.systemTime()
  }

  private static func systemTime() -> @Sendable () -> Instant {
    let origin = SuspendingClock.now
    return {
      Instant(nanoseconds: UInt64(max(0, origin.duration(to: SuspendingClock.now).nanosecondsClamped)))
    }
  }

  /// What has become of the keys.
  public var counts: MemoryCacheCounts { room.counts }

  // MARK: The cache

  public func get(_ key: CacheKey, on exchange: Exchange?) throws -> [UInt8]? {
    try shard(of: key).value(key, clock())
  }

  public func add(
    _ delta: Int, to key: CacheKey, requiring guardKey: CacheKey?, lifetime: CacheLifetime, on exchange: Exchange?
  ) throws -> Int? {
    if let guardKey, guardKey.group != key.group { throw CacheError.severalGroups }
    return try shard(of: key).add(delta, key, guardKey, lifetime, clock())
  }

  public func compareAndSet(
    _ key: CacheKey, expected: [UInt8]?, new: [UInt8]?, lifetime: CacheLifetime, on exchange: Exchange?
  ) throws -> Bool {
    try shard(of: key).replace(key, expected, new, lifetime, clock())
  }

  public func take(_ counters: [CacheTake], on exchange: Exchange?) throws -> CacheTaken {
    guard let first = counters.first else { return CacheTaken(exhausted: nil, values: []) }
    for counter in counters where counter.key.group != first.key.group { throw CacheError.severalGroups }
    return try shard(of: first.key).take(counters, clock())
  }

  public func close() {
    isClosed.store(true, ordering: .releasing)
    for shard in shards { shard.empty() }
  }

  private func shard(of key: CacheKey) throws(CacheError) -> MemoryCacheShard {
    if isClosed.load(ordering: .acquiring) { throw .closed }
    // Seeded by the process, so that nobody who chooses groups can fill one part.
    return shards[Int(UInt(bitPattern: key.group.hashValue) % UInt(shards.count))]
  }

  // MARK: Behind the calls

  /// Forgets expired keys every ``MemoryCacheOptions/collectEvery``, and writes a line when a new key found no room.
  public func run(_ services: any BackgroundServices) async throws {
    try await shared.run {
      var reported = counts.turnedAway
      while !isClosed.load(ordering: .acquiring) {
        try await services.sleep(for: options.collectEvery)
        // A look at every key of the parts in which something expires: long, for a cache of millions.
        try await services.offload { [self] in collect() }
        let counts = counts
        if counts.turnedAway > reported {
          let count = counts.turnedAway - reported
          services.log(
            .warning, "memory cache: no room for a new key \(count) times, \(counts.kept) are kept: raise maxKeys")
          reported = counts.turnedAway
        }
      }
    }
  }

  /// Forgets expired keys.
  public func collect() {
    let now = clock()
    for shard in shards { shard.collect(now) }
  }
}
