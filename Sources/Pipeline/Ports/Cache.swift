/// What several processes, or the loops of one, count together: the one thing that a limiter, a quota and a tracker need of a
/// store, so that a new cache is written once.
///
/// Every operation is atomic. Keys that share a ``CacheKey/group`` lie on one node, and one operation may touch several of them.
/// An operation ends by its own time limit, and when the exchange on whose behalf it is made ends. Time is the cache's own: no
/// clock of a process matters.
///
/// A value is bytes. A counter is a value of decimal digits (`-12`), so that what one operation wrote every other reads.
/// Whoever writes a cache runs `CacheFacts` of `PipelineTesting` against it.
public protocol Cache: Sendable {
  /// The value, or `nil`.
  ///
  /// - Throws: ``CacheError``, or what ends a wait of the exchange. So does every operation.
  func get(_ key: CacheKey, on exchange: Exchange?) async throws -> [UInt8]?

  /// Adds to a counter and returns what it holds then; a counter that is not there begins at 0.
  ///
  /// - Parameter guardKey: only if this key exists, in the same group; else nothing is done.
  /// - Returns: `nil` where `guardKey` is not there.
  /// - Throws: ``CacheError/notACounter`` where the value is no number, or the sum none of 64 bits.
  func add(
    _ delta: Int, to key: CacheKey, requiring guardKey: CacheKey?, lifetime: CacheLifetime, on exchange: Exchange?
  ) async throws -> Int?

  /// Puts `new` in the place of `expected`; `nil` stands for no value. `false`: something else was there, and nothing is changed.
  func compareAndSet(
    _ key: CacheKey, expected: [UInt8]?, new: [UInt8]?, lifetime: CacheLifetime, on exchange: Exchange?
  ) async throws -> Bool

  /// Takes from several counters at once, all of one group: each grows by its cost where none would pass its limit; else none
  /// grows. A cost of 0 looks and changes nothing; a negative one gives back, never below 0, and is never refused. A counter
  /// that stands there twice takes both. Exact up to 2⁵³ - 1; larger limits count as that.
  func take(_ counters: [CacheTake], on exchange: Exchange?) async throws -> CacheTaken

  /// Connections and housekeeping, until cancelled. Several may run it at once; one does (``SharedRun``). Whoever still needs
  /// the cache after its own cancellation, to hand back what it holds, runs it in a task of its own that it ends last.
  func run(_ services: any BackgroundServices) async throws

  /// Ends it; every later call throws ``CacheError/closed``.
  func close() async
}

/// A key of a ``Cache``.
public struct CacheKey: Hashable, Sendable {
  /// What has to lie together: keys with the same group are on one node of a cluster.
  public var group: String
  /// The key within its group; may be empty.
  public var name: String

  public init(_ group: String, _ name: String = "") {
    self.group = group
    self.name = name
  }
}

/// How long a key lasts, from an operation that changes it on.
public enum CacheLifetime: Hashable, Sendable {
  /// It does not expire, also where an earlier change had said so.
  case forever
  /// From when it is made; for a key that is there nothing changes. 1 ms to 100 years, in whole milliseconds, rounded up.
  case fromCreation(Duration)
  /// From now. 1 ms to 100 years, in whole milliseconds, rounded up.
  case fromChange(Duration)

  /// Milliseconds of a lifetime, within what is allowed; `nil`: for ever.
  public var milliseconds: Int64? {
    switch self {
    case .forever: nil
    case .fromCreation(let time), .fromChange(let time):
      min(max(1, time.nanosecondsClamped / 1_000_000 + (time.nanosecondsClamped % 1_000_000 > 0 ? 1 : 0)), Self.longest)
    }
  }

  private static let longest: Int64 = 100 * 366 * 86_400_000
}

/// One counter of a ``Cache/take(_:on:)``.
public struct CacheTake: Hashable, Sendable {
  public var key: CacheKey
  public var cost: Int
  /// The counter does not grow above it; 0 or more.
  public var limit: Int
  public var lifetime: CacheLifetime

  public init(_ key: CacheKey, cost: Int, limit: Int, lifetime: CacheLifetime) {
    self.key = key
    self.cost = cost
    self.limit = limit
    self.lifetime = lifetime
  }
}

/// What a ``Cache/take(_:on:)`` found.
public struct CacheTaken: Hashable, Sendable {
  /// Which of the counters, by its place, would have passed its limit, the first of them; `nil`: all were taken.
  public var exhausted: Int?
  /// What the counters hold now, in the same order.
  public var values: [Int]

  public init(exhausted: Int?, values: [Int]) {
    self.exhausted = exhausted
    self.values = values
  }
}

/// Why a cache did not do what it was asked.
public enum CacheError: Error, Sendable, Hashable, CustomStringConvertible {
  /// It cannot be reached, or did not answer in time; whether it did what it was asked is known only where `mayHaveRun` is false.
  case unavailable(String, mayHaveRun: Bool)
  /// There is no room for a new key.
  case full
  /// The value of the key is no whole number of 64 bits, or would be none.
  case notACounter
  /// The keys of one operation are of several groups.
  case severalGroups
  case closed

  public var description: String {
    switch self {
    case .unavailable(let detail, _): "the cache is not available: \(detail)"
    case .full: "the cache is full"
    case .notACounter: "the value is no whole number"
    case .severalGroups: "the keys of one operation are of several groups"
    case .closed: "the cache is closed"
    }
  }
}
