internal import Pipeline
internal import Synchronization

/// The limit of one key, and how many run under it.
final class AdaptiveGate: Sendable {
  private struct State {
    var limit: GradientLimit
    var running = 0
    /// Of the newest configuration that has let somebody in.
    var options: AdaptiveConcurrencyOptions
  }

  private let state: Mutex<State>

  init(_ options: AdaptiveConcurrencyOptions, now: UInt64) {
    state = Mutex(State(limit: GradientLimit(options, now: now), options: options))
  }

  /// How many run, and how many may.
  var load: (running: Int, allowed: Int) {
    state.withLock { ($0.running, $0.limit.allowed($0.options)) }
  }

  var isIdle: Bool { state.withLock { $0.running == 0 } }

  /// - Returns: `nil` when one more may run; else the limit.
  func enter(_ options: AdaptiveConcurrencyOptions, now: UInt64) -> Int? {
    state.withLock { state in
      state.options = options
      state.limit.noteArrival(running: state.running + 1, now: now)
      let allowed = state.limit.allowed(options)
      guard state.running < allowed else { return allowed }
      state.running += 1
      return nil
    }
  }

  fileprivate func leave() { state.withLock { $0.running -= 1 } }

  func record(_ latency: UInt64, start: UInt64, now: UInt64, random: UInt64) {
    state.withLock { $0.limit.record(latency, start: start, now: now, random: random, $0.options) }
  }
}

/// The right to run. Given back when the value goes away, on whatever path that is.
struct AdaptivePermit: ~Copyable {
  private let gate: AdaptiveGate

  /// The permit that ``AdaptiveGate/enter(_:now:)`` has given.
  init(_ gate: AdaptiveGate) { self.gate = gate }

  deinit { gate.leave() }

  /// Holds the permit while `body` runs.
  func hold(_ body: Next) async throws -> Summary { try await body() }
}

/// The gates of an ``AdaptiveConcurrency``, one for each key.
final class AdaptiveGates: Sendable {
  private struct Shard {
    var gates: [LimitKey: AdaptiveGate] = [:]
  }

  private final class LockedShard: Sendable {
    let shard = Mutex(Shard())
  }

  enum Entry {
    case entered(AdaptiveGate)
    case full(limit: Int)
    case noRoom
  }

  private let keysPerShard: Int
  private let shards = (0..<16).map { _ in LockedShard() }

  /// - Parameter maxKeys: gates that are kept at most, about: an unused one makes way for a new key, which then begins anew.
  init(maxKeys: Int) { keysPerShard = max(1, (maxKeys + 15) / 16) }

  /// Gates that are kept now.
  var count: Int { shards.map { $0.shard.withLock { $0.gates.count } }.reduce(0, +) }

  func gate(of key: LimitKey) -> AdaptiveGate? { locked(key).shard.withLock { $0.gates[key] } }

  func enter(_ key: LimitKey, _ options: AdaptiveConcurrencyOptions, now: UInt64) -> Entry {
    // Under the lock of the shard, so that no gate is dropped between being found and being entered.
    locked(key).shard.withLock { shard in
      if shard.gates[key] == nil, shard.gates.count >= keysPerShard {
        shard.gates = shard.gates.filter { !$0.value.isIdle }
        if shard.gates.count >= keysPerShard { return .noRoom }
      }
      let gate = shard.gates[key] ?? AdaptiveGate(options, now: now)
      shard.gates[key] = gate
      if let limit = gate.enter(options, now: now) { return .full(limit: limit) }
      return .entered(gate)
    }
  }

  private func locked(_ key: LimitKey) -> LockedShard { shards[key.hashValue & 15] }
}
