internal import Pipeline
internal import Synchronization

/// The keys of one authenticator, as they are now, and the fetch that may be under way for new ones.
///
/// What a request reads that is known already are two atomics. The lock is held for well under a microsecond, and
/// never across a wait.
final class KeyRing: Sendable {
  /// What a request that needs keys does.
  enum Step {
    /// These are good enough.
    case use(JWKSet)
    /// Fetch them, and say how it went.
    case fetch
    /// Somebody fetches them, and there are none to use meanwhile.
    case wait(Signal)
    /// There are none, and it is too early to ask again.
    case none
  }

  private struct State {
    var keys: JWKSet?
    /// Of the set, to tell whether it has changed.
    var json: [UInt8] = []
    var staleAt = Instant.distantFuture
    var dueAt = Instant(nanoseconds: 0)
    /// When keys that nobody knows may be asked for again.
    var nextExtraFetch = Instant(nanoseconds: 0)
    var fetch: Signal?
    /// What is wrong, as far as the log has been told.
    var reported: String?
  }

  private let state = Mutex(State())
  private let currentVersion = Atomic<UInt64>(1)
  private let dueNanoseconds = Atomic<UInt64>(.max)

  init(_ source: JWTKeySource) {
    switch source.kind {
    case .fixed(let keys): state.withLock { $0.keys = JWKSet(keys: keys) }
    case .file: break
    case .url: dueNanoseconds.store(0, ordering: .relaxed)
    }
  }

  /// Moves with every change of the keys: what was verified with others counts no more.
  var version: UInt64 { currentVersion.load(ordering: .acquiring) }

  /// Whether somebody should fetch, or the keys are too old to be used.
  func isDue(_ now: Instant) -> Bool { now.nanoseconds >= dueNanoseconds.load(ordering: .relaxed) }

  /// - Parameter unknownKey: the keys that are there do not have the one that a token names.
  func step(_ now: Instant, unknownKey: Bool, _ refresh: KeyRefresh?) -> Step {
    state.withLock { state in
      if now >= state.staleAt, state.keys != nil {
        state.keys = nil
        state.json = []
        currentVersion.add(1, ordering: .releasing)
      }
      guard let refresh else { return state.keys.map(Step.use) ?? .none }
      if let fetch = state.fetch {
        guard let keys = state.keys, !unknownKey else { return .wait(fetch) }
        return .use(keys)
      }
      if unknownKey {
        guard now >= state.nextExtraFetch else { return state.keys.map(Step.use) ?? .none }
        state.nextExtraFetch = now + refresh.pause
      } else if now < state.dueAt {
        return state.keys.map(Step.use) ?? .none
      }
      state.fetch = Signal()
      // While one fetches, the others shall not stop to ask.
      dueNanoseconds.store(state.keys == nil ? 0 : state.staleAt.nanoseconds, ordering: .relaxed)
      return .fetch
    }
  }

  /// The fetch brought a set.
  ///
  /// - Returns: what the log should say.
  func fetched(_ set: JWKSet, _ json: [UInt8], _ now: Instant, _ refresh: KeyRefresh) -> String? {
    finishFetch { state in
      state.dueAt = now + refresh.every
      state.staleAt = now + max(refresh.staleLimit, refresh.every)
      state.nextExtraFetch = now + refresh.pause
      return self.replace(&state, set, json)
    }
  }

  /// The fetch failed: the keys stay, until they are too old.
  ///
  /// - Returns: what the log should say; `nil` when it has been told.
  func failed(_ why: String, _ now: Instant, _ refresh: KeyRefresh) -> String? {
    finishFetch { state in
      state.dueAt = now + refresh.pause
      return Self.report(&state, why)
    }
  }

  /// The client of the fetch went away: nothing is known, and the next one fetches.
  func abandoned() {
    _ = finishFetch { state in
      state.nextExtraFetch = Instant(nanoseconds: 0)
      return nil
    }
  }

  private func finishFetch(_ body: (inout State) -> String?) -> String? {
    let (signal, message) = state.withLock { state in
      let message = body(&state)
      let signal = state.fetch
      state.fetch = nil
      // Without keys every request has to look.
      let due = state.keys == nil ? Instant(nanoseconds: 0) : min(state.dueAt, state.staleAt)
      dueNanoseconds.store(due.nanoseconds, ordering: .relaxed)
      return (signal, message)
    }
    signal?.fire()
    return message
  }

  // MARK: - From a file

  /// The file was read.
  func loaded(_ set: JWKSet, _ json: [UInt8]) -> String? { state.withLock { replace(&$0, set, json) } }

  func notLoaded(_ why: String) -> String? { state.withLock { Self.report(&$0, why) } }

  private func replace(_ state: inout State, _ set: JWKSet, _ json: [UInt8]) -> String? {
    let failedBefore = state.reported != nil
    state.reported = nil
    let isNew = state.keys == nil || state.json != json
    if isNew {
      state.keys = set
      state.json = json
      currentVersion.add(1, ordering: .releasing)
    }
    guard isNew || failedBefore else { return nil }
    let skipped = set.skipped.isEmpty ? "" : "; not used: \(set.skipped.joined(separator: "; "))"
    return "keys: \(set.keys.map(\.description).joined(separator: ", "))\(skipped)"
  }

  private static func report(_ state: inout State, _ why: String) -> String? {
    guard state.reported != why else { return nil }
    state.reported = why
    return state.keys == nil ? "no keys: \(why)" : "the keys stay as they are: \(why)"
  }
}
