public import Pipeline

/// Spreads the keys of one ``Cache`` over several, by their group: partitioning by the client, for servers that know nothing of
/// each other.
///
/// ```swift
/// let cache = PartitionedCache([("10.0.0.5:6379", first), ("10.0.0.6:6379", second)])
/// ```
/// A group belongs to one of them by ``Rendezvous``: the same one in every process that gives the same names and weights. An
/// operation goes to that one only, and fails when that one fails: what is counted on one must not be counted on another. So a
/// lost store costs its own keys and no others. When a store is added or removed, the keys that change their place begin anew.
///
/// Throws what the stores throw.
public struct PartitionedCache: Cache {
  /// One of the caches, and what every process calls it.
  public struct Part: Sendable {
    public var node: Rendezvous.Node
    public var cache: any Cache

    /// - Parameters:
    ///   - name: decides which keys it gets: the same in every process.
    ///   - weight: how much it takes, beside the others.
    public init(_ name: String, weight: Double = 1, _ cache: any Cache) {
      node = Rendezvous.Node(name, weight: weight)
      self.cache = cache
    }
  }

  private let parts: [any Cache]
  private let rendezvous: Rendezvous

  /// - Parameter parts: one or more, each name once (`Rendezvous.problems(with:)`).
  public init(_ parts: [Part]) {
    self.parts = parts.map(\.cache)
    rendezvous = Rendezvous(parts.map(\.node))
  }

  /// The name of the part in which a group lies.
  public func part(of group: String) -> String { rendezvous.nodes[rendezvous.index(for: group)].name }

  private func cache(of key: CacheKey) -> any Cache { parts[rendezvous.index(for: key.group)] }

  public func get(_ key: CacheKey, on exchange: Exchange?) async throws -> [UInt8]? {
    try await cache(of: key).get(key, on: exchange)
  }

  public func add(
    _ delta: Int, to key: CacheKey, requiring guardKey: CacheKey?, lifetime: CacheLifetime, on exchange: Exchange?
  ) async throws -> Int? {
    try await cache(of: key).add(delta, to: key, requiring: guardKey, lifetime: lifetime, on: exchange)
  }

  public func compareAndSet(
    _ key: CacheKey, expected: [UInt8]?, new: [UInt8]?, lifetime: CacheLifetime, on exchange: Exchange?
  ) async throws -> Bool {
    try await cache(of: key).compareAndSet(key, expected: expected, new: new, lifetime: lifetime, on: exchange)
  }

  public func take(_ counters: [CacheTake], on exchange: Exchange?) async throws -> CacheTaken {
    guard let first = counters.first else { return CacheTaken(exhausted: nil, values: []) }
    return try await cache(of: first.key).take(counters, on: exchange)
  }

  /// Runs all of them.
  public func run(_ services: any BackgroundServices) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for part in parts { group.addTask { try await part.run(services) } }
      try await group.waitForAll()
    }
  }

  public func close() async {
    for part in parts { await part.close() }
  }
}
