internal import Pipeline
internal import Synchronization

/// One fetch that others wait for, who asked for the same (collapsed forwarding).
final class CacheFlight: Sendable {
  enum Outcome {
    /// Look again: it is there now.
    case stored
    /// Nothing that others may have: everybody asks the origin.
    case notShared
    /// The origin failed, and would fail all who wait, too.
    case failed(Rejection)
    /// Nothing is known: its client went away.
    case abandoned
  }

  struct Key: Hashable, Sendable {
    let hash: UInt64
    /// Of the fields that choose a response, as far as it is known which they are.
    let variant: Int
  }

  let key: Key
  /// Whose target it is, for hashes that are equal by chance.
  let target: [UInt8]
  let landed = Signal()
  private let result = Mutex<Outcome?>(nil)

  init(key: Key, target: [UInt8]) {
    self.key = key
    self.target = target
  }

  /// `abandoned` until it has landed.
  var outcome: Outcome { result.withLock { $0 } ?? .abandoned }

  var hasLanded: Bool { result.withLock { $0 != nil } }

  /// The first outcome counts.
  func land(_ outcome: Outcome) {
    let isFirst = result.withLock { result in
      if result != nil { return false }
      result = outcome
      return true
    }
    if isFirst { landed.fire() }
  }
}

/// What a request for something cacheable has to do next.
enum CacheStep {
  case serve(CachedResponse, CacheStatus)
  /// Nothing is stored, and the client wants nothing else (`only-if-cached`).
  case refuse
  /// Go on as if there were no cache.
  case pass
  /// Ask the origin; others wait for it.
  case lead(CacheFlight, stale: CachedResponse?)
  /// Serve what is stale now, and ask the origin afterwards.
  case refresh(CacheFlight, CachedResponse)
  /// Somebody asks the origin for the same: wait.
  case follow(CacheFlight, stale: CachedResponse?)
  /// Ask the origin, whoever else does. What comes may be stored.
  case alone(stale: CachedResponse?)
}

/// What the client is told in `x-cache-status`.
enum CacheStatus: String, Sendable {
  /// Stored and fresh; the origin was not asked.
  case hit = "HIT"
  /// The origin answered.
  case miss = "MISS"
  /// Stored and stale: the origin failed, or the client takes it so.
  case stale = "STALE"
  /// Stored; the origin was asked and said that it is still the same.
  case revalidated = "REVALIDATED"
  /// Stored and stale, while a fresh one is being fetched.
  case updating = "UPDATING"
  /// The cache had no part in it.
  case bypass = "BYPASS"
}
