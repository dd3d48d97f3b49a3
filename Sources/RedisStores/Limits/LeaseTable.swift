internal import Middlewares
internal import Pipeline
internal import Synchronization

/// Tokens that this process has taken from the shared limit in advance, by key.
///
/// They are taken before they are used, so the shared count is never behind; but they may be used up to `holdFor` later. In
/// any stretch of time each process thus admits at most `batch - 1` tokens a key more than were taken in it.
final class LeaseTable: Sendable {
  /// Whose tokens.
  struct Holder: Hashable, Sendable {
    let key: LimitKey
    let rate: Rate?
  }

  /// What is left over and goes back.
  struct Leftover: Hashable, Sendable {
    let holder: Holder
    let tokens: Int
  }

  enum Answer: Sendable {
    /// Served from what is here.
    case served(LimitDecision)
    /// The shared limit has to be asked, for so many tokens at most; the answer comes back by ``fetched(_:_:for:now:)``.
    case fetch(want: Int)
    /// The shared limit has to be asked for the cost alone: somebody fetches for this key already, or there is no room.
    case ask
  }

  private struct Lease {
    var tokens = 0
    var until = Instant(nanoseconds: 0)
    var isFetching = false
    /// What the shared limit said last.
    var last = LimitDecision(isAllowed: true, limit: 0, remaining: 0, reset: .zero)
  }

  private final class Shard: Sendable {
    let leases = Mutex<[Holder: Lease]>([:])
  }

  let batch: Int
  let holdFor: Duration
  private let keysPerShard: Int
  private let shards = (0..<16).map { _ in Shard() }

  init(batch: Int, holdFor: Duration, maxKeys: Int) {
    self.batch = batch
    self.holdFor = holdFor
    keysPerShard = max(1, maxKeys / 16)
  }

  private func leases<Result>(
    of key: LimitKey, _ body: (inout sending [Holder: Lease]) -> sending Result
  ) -> sending Result {
    let mixed = (key.high ^ key.low) &* 0x9E37_79B9_7F4A_7C15
    return shards[Int(truncatingIfNeeded: mixed >> 60)].leases.withLock(body)
  }

  func take(_ cost: Int, _ holder: Holder, now: Instant) -> Answer {
    leases(of: holder.key) { leases in
      guard cost < batch else { return .ask }
      if var lease = leases[holder] {
        if lease.tokens >= cost, now < lease.until {
          lease.tokens -= cost
          leases[holder] = lease
          var decision = lease.last
          // The shared count runs on meanwhile: these two are as of the last fetch.
          decision.remaining += lease.tokens
          decision.retryAfter = .zero
          return .served(decision)
        }
        // What has expired is handed back by the sweep, and not used.
        if lease.isFetching || now >= lease.until && lease.tokens > 0 { return .ask }
        lease.isFetching = true
        leases[holder] = lease
        return .fetch(want: batch - lease.tokens)
      }
      guard leases.count < keysPerShard else { return .ask }
      leases[holder] = Lease(isFetching: true)
      return .fetch(want: batch)
    }
  }

  /// What came of a fetch: `granted` tokens, of which `cost` are used; `nil`: nothing was granted, or nobody knows.
  func fetched(_ granted: Int?, _ decision: LimitDecision?, cost: Int, _ holder: Holder, now: Instant) {
    leases(of: holder.key) { leases in
      guard var lease = leases[holder] else { return }
      lease.isFetching = false
      if let granted, let decision {
        lease.tokens += granted - cost
        lease.until = now + holdFor
        lease.last = decision
        // What is here is added when it is asked.
        lease.last.remaining -= granted - cost
      }
      leases[holder] = lease.tokens > 0 ? lease : nil
    }
  }

  /// Takes out what has expired by now, or everything.
  func collect(now: Instant, everything: Bool = false) -> [Leftover] {
    var leftovers: [Leftover] = []
    for shard in shards {
      leftovers += shard.leases.withLock { leases in
        var found: [Leftover] = []
        for (holder, lease) in leases where everything || lease.until <= now {
          if lease.tokens > 0 { found.append(Leftover(holder: holder, tokens: lease.tokens)) }
          if lease.isFetching, !everything {
            leases[holder]?.tokens = 0
          } else {
            leases[holder] = nil
          }
        }
        return found
      }
    }
    return leftovers
  }

  /// Tokens that are held now.
  var held: Int {
    shards.reduce(0) { $0 + $1.leases.withLock { $0.values.reduce(0) { $0 + $1.tokens } } }
  }
}
