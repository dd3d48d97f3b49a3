internal import Pipeline

/// What a look-up found.
struct LookupAnswer: Sendable, Hashable {
  var addresses: [IPAddress]
  /// How long the answer holds, where the source says so (getaddrinfo does not).
  var timeToLive: Duration?
}

/// Why a look-up found nothing.
enum LookupFailure: Error, Hashable, Sendable {
  /// The name does not exist or has no address.
  case notFound
  /// The resolver could not say: no answer, or an error of its own. The code is getaddrinfo's.
  case temporary(Int32)
}

/// How long answers are kept.
struct ResolverCaching: Sendable, Hashable {
  /// For answers whose source names no time.
  var usualTimeToLive = Duration.seconds(60)
  /// What a source says is brought into these bounds.
  var leastTimeToLive = Duration.seconds(5)
  var mostTimeToLive = Duration.seconds(3600)
  /// How long "there is no such name" holds (RFC 2308).
  var negativeTimeToLive = Duration.seconds(10)
  /// How long an expired answer may still serve when asking anew fails (RFC 8767).
  var staleTime = Duration.seconds(3600)
  /// How long a stale answer serves before the resolver is asked again.
  var staleRetry = Duration.seconds(5)
  /// Names kept, 1 or more.
  var capacity = 4096
}

/// The memory of the resolver as a pure value: which names are known, which are being looked up and by whom they are
/// awaited. It knows no thread and no clock.
struct ResolverCache<Waiter> {
  typealias Outcome = Result<[IPAddress], LookupFailure>

  /// What to do for one question.
  enum Reply {
    case known(Outcome)
    /// Somebody is asking already; the waiter is woken with everybody else.
    case joined
    /// The caller is to look the name up and to call `complete`; the waiter is woken then.
    case lookUp
  }

  private struct Entry {
    var name: DomainName
    var outcome: Outcome?
    var expires = Instant(nanoseconds: 0)
    /// Until when a failure to refresh is bridged by the old answer.
    var staleUntil = Instant(nanoseconds: 0)
    var waiters: [Waiter] = []
    var isBeingLookedUp = false
    /// Asked for again since the sweep came by last: survives it once more (the "clock" algorithm). Names that are asked
    /// for only once go first.
    var wasUsed = false
  }

  private let caching: ResolverCaching
  private var entries: [Entry] = []
  private var places: [DomainName: Int] = [:]
  private var sweep = 0

  init(_ caching: ResolverCaching = ResolverCaching()) {
    precondition(caching.capacity >= 1, "a resolver cache holds 1 name or more, got \(caching.capacity)")
    self.caching = caching
  }

  var count: Int { entries.count }

  /// What is known and still holds.
  mutating func recall(_ name: DomainName, now: Instant) -> Outcome? {
    guard let place = places[name], now < entries[place].expires else { return nil }
    entries[place].wasUsed = true
    return entries[place].outcome
  }

  /// Asks, with somebody who waits for the answer.
  mutating func ask(_ name: DomainName, now: Instant, _ waiter: Waiter) -> Reply {
    guard let place = places[name] else {
      insert(Entry(name: name, waiters: [waiter], isBeingLookedUp: true))
      return .lookUp
    }
    entries[place].wasUsed = true
    if let outcome = entries[place].outcome, now < entries[place].expires { return .known(outcome) }
    entries[place].waiters.append(waiter)
    if entries[place].isBeingLookedUp { return .joined }
    entries[place].isBeingLookedUp = true
    return .lookUp
  }

  /// A look-up has ended: keeps what it says and returns whom to tell what.
  mutating func complete(
    _ name: DomainName, _ result: Result<LookupAnswer, LookupFailure>, now: Instant
  ) -> (outcome: Outcome, waiters: [Waiter]) {
    // Entries that are being looked up are never swept away.
    guard let place = places[name] else { return (result.map(\.addresses), []) }
    var entry = entries[place]
    switch result {
    case .success(let answer) where !answer.addresses.isEmpty:
      let said = answer.timeToLive ?? caching.usualTimeToLive
      entry.outcome = .success(answer.addresses)
      entry.expires = now + min(max(said, caching.leastTimeToLive), caching.mostTimeToLive)
      entry.staleUntil = entry.expires + caching.staleTime
    case .success, .failure(.notFound):
      entry.outcome = .failure(.notFound)
      entry.expires = now + caching.negativeTimeToLive
    case .failure(let failure):
      if case .success = entry.outcome, now < entry.staleUntil {
        entry.expires = now + caching.staleRetry
      } else {
        // Not kept: the next question asks anew.
        entry.outcome = .failure(failure)
        entry.expires = now
      }
    }
    let waiters = entry.waiters
    entry.waiters = []
    entry.isBeingLookedUp = false
    entries[place] = entry
    return (entry.outcome ?? .failure(.notFound), waiters)
  }

  /// Takes a started look-up back (there is no thread for it) and returns everybody who waits for it.
  mutating func abandon(_ name: DomainName) -> [Waiter] {
    guard let place = places[name] else { return [] }
    let waiters = entries[place].waiters
    entries[place].waiters = []
    entries[place].isBeingLookedUp = false
    return waiters
  }

  private mutating func insert(_ entry: Entry) {
    if entries.count >= caching.capacity, let place = placeToReuse() {
      places[entries[place].name] = nil
      places[entry.name] = place
      entries[place] = entry
    } else {
      // Above the capacity only while that many names are being looked up at once, which the offload queue bounds.
      places[entry.name] = entries.count
      entries.append(entry)
    }
  }

  private mutating func placeToReuse() -> Int? {
    for _ in 0..<entries.count * 2 {
      sweep = (sweep + 1) % entries.count
      if entries[sweep].isBeingLookedUp { continue }
      if !entries[sweep].wasUsed { return sweep }
      entries[sweep].wasUsed = false
    }
    return nil
  }
}
