import Middlewares
import Synchronization

/// Keeps stored responses from one configuration to the next.
final class CacheShelf: Sendable {
  private let kept = Mutex<(entries: Int, store: CacheStore)?>(nil)

  /// The store for so many responses: the present one, where it is of this size.
  func store(for caching: ProxySettings.Caching?) -> CacheStore? {
    guard let caching else { return nil }
    return kept.withLock { kept in
      if let kept, kept.entries == caching.entries { return kept.store }
      return CacheStore(maxEntries: caching.entries)
    }
  }

  /// The configuration with this store is in use.
  func keep(_ store: CacheStore?, for caching: ProxySettings.Caching?) {
    kept.withLock { kept in
      if let store, let caching { kept = (caching.entries, store) } else { kept = nil }
    }
  }
}
