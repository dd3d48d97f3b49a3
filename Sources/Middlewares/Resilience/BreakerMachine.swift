internal import Pipeline

/// The states of a circuit breaker and what leads from one to the next. A pure value: time and outcomes come in.
///
/// Closed, everything passes. Open, nothing does, for a rest that doubles each time the probes fail. Half open, a few probes
/// are let through; when as many have succeeded it closes, and the first that fails opens it again.
struct BreakerMachine: Sendable {
  enum Phase: Hashable, Sendable {
    case closed
    case open(until: Instant)
    case halfOpen(HalfOpen)
  }

  struct HalfOpen: Hashable, Sendable {
    var passed = 0
    var running = 0
    /// Probes of an earlier batch have not come back for a whole rest, and hold no place any more.
    var batch: UInt64 = 0
    var lastAdmitted: Instant
  }

  enum Admission: Hashable, Sendable {
    case passes
    case probe(batch: UInt64)
    case refused(retryAfter: Duration)
  }

  /// What a probe brought.
  enum Verdict: Hashable, Sendable {
    case success, failure
    /// It says nothing of the upstream: the client left, or something of ours refused it.
    case nothing
  }

  enum Change: Hashable, Sendable {
    case opened(rest: Duration)
    case halfOpened
    case closed
  }

  private let rest: Duration
  private let longestRest: Duration
  private let probes: Int
  private(set) var phase = Phase.closed
  /// When the phase began.
  private(set) var since: Instant
  /// Counts phases that were closed, so that what began before an opening says nothing after it.
  private(set) var epoch: UInt64 = 0
  /// Openings since it was closed last.
  private var openings = 0

  init(rest: Duration, longestRest: Duration, probes: Int, now: Instant) {
    self.rest = rest
    self.longestRest = longestRest
    self.probes = probes
    since = now
  }

  mutating func enter(now: Instant) -> (Admission, Change?) {
    switch phase {
    case .closed:
      return (.passes, nil)
    case .open(let until):
      guard until <= now else { return (.refused(retryAfter: until - now), nil) }
      phase = .halfOpen(HalfOpen(running: 1, lastAdmitted: now))
      since = now
      return (.probe(batch: 0), .halfOpened)
    case .halfOpen(var half):
      if half.running > 0, now - half.lastAdmitted >= rest {
        // A tunnel may live for hours; it must not keep the others waiting.
        half.running = 0
        half.batch += 1
      }
      guard half.running < probes - half.passed else { return (.refused(retryAfter: rest), nil) }
      half.running += 1
      half.lastAdmitted = now
      phase = .halfOpen(half)
      return (.probe(batch: half.batch), nil)
    }
  }

  /// A rule is met by what began in this epoch.
  mutating func trip(epoch: UInt64, now: Instant) -> Change? {
    guard case .closed = phase, epoch == self.epoch else { return nil }
    return open(now)
  }

  /// A probe of this epoch and batch has come back.
  mutating func probeEnded(_ verdict: Verdict, epoch: UInt64, batch: UInt64, now: Instant) -> Change? {
    guard epoch == self.epoch, case .halfOpen(var half) = phase else { return nil }
    if half.batch == batch { half.running -= 1 }
    switch verdict {
    case .nothing:
      phase = .halfOpen(half)
      return nil
    case .failure:
      return open(now)
    case .success:
      half.passed += 1
      phase = .halfOpen(half)
      guard half.passed >= probes else { return nil }
      phase = .closed
      since = now
      openings = 0
      self.epoch += 1
      return .closed
    }
  }

  private mutating func open(_ now: Instant) -> Change {
    var rest = rest
    for _ in 0..<openings where rest < longestRest { rest += rest }
    rest = min(rest, longestRest)
    openings += 1
    epoch += 1
    phase = .open(until: now + rest)
    since = now
    return .opened(rest: rest)
  }
}
