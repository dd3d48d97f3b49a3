internal import Pipeline

/// What is known of one backend's health: what checks and exchanges find goes in, transitions come out.
struct BackendHealth: Sendable {
  /// What active checks say.
  enum Checked: Sendable {
    /// None has come back yet; it may be used.
    case not
    case up, down
  }

  /// What exchanges say.
  enum Trust: Sendable, Equatable {
    case full
    case ejected(until: Instant)
    /// An ejection has ended: one exchange at a time, until one succeeds.
    case trial
  }

  /// What follows for the choice of a backend.
  enum Standing: UInt8, Sendable {
    case open, trial, ejected, down
  }

  private(set) var checked = Checked.not
  private(set) var trust = Trust.full
  /// Why it stands as it does.
  private(set) var reason = ""
  private(set) var since: Instant
  /// Checks in a row.
  private(set) var passes = 0
  private(set) var fails = 0
  /// Failed exchanges in a row.
  private(set) var failuresInARow = 0
  private var window: OutcomeWindow
  /// Ejections that still make the next one longer.
  private var ejections = 0
  private var lastEjection = Duration.zero
  private var trustedSince: Instant

  init(at now: Instant) {
    since = now
    trustedSince = now
    window = OutcomeWindow()
  }

  var standing: Standing {
    if case .down = checked { return .down }
    switch trust {
    case .full: return .open
    case .trial: return .trial
    case .ejected: return .ejected
    }
  }

  var ejectedUntil: Instant? { if case .ejected(let until) = trust { until } else { nil } }

  // MARK: Active checks

  /// Returns whether its standing has changed.
  mutating func checkPassed(rise: Int, at now: Instant) -> Bool {
    let before = standing
    fails = 0
    passes += 1
    let why = passes == 1 ? "a check passed" : "\(passes) checks passed in a row"
    switch checked {
    case .not:
      checked = .up
      if before == .open { reason = why }
    case .up: break
    case .down:
      guard passes >= rise else { return false }
      checked = .up
    }
    if passes >= rise { trustFully(at: now) }
    return note(before, why, at: now)
  }

  /// Returns whether its standing has changed.
  mutating func checkFailed(_ why: String, fall: Int, at now: Instant) -> Bool {
    let before = standing
    passes = 0
    fails += 1
    switch checked {
    case .down:
      reason = why
      return false
    case .not: break
    case .up: if fails < fall { return false }
    }
    checked = .down
    return note(before, fails == 1 ? why : "\(fails) checks in a row failed, the last one: \(why)", at: now)
  }

  /// Nobody asks any more: what the last one who asked has found is no reason to keep it out for ever. Returns whether its
  /// standing has changed.
  mutating func forgetChecks(at now: Instant) -> Bool {
    let before = standing
    checked = .not
    passes = 0
    fails = 0
    return note(before, "nobody checks it any more", at: now)
  }

  // MARK: Exchanges

  /// Returns whether its standing has changed.
  mutating func succeeded(_ rules: PassiveHealth, at now: Instant) -> Bool {
    failuresInARow = 0
    if rules.failureRatio != nil { window.note(isFailure: false, rules.window, at: now) }
    guard case .trial = trust else { return false }
    let before = standing
    trustFully(at: now)
    return note(before, "an exchange succeeded", at: now)
  }

  /// Returns why it is to be ejected; whether it may be is the group's to say, which then calls ``eject(_:_:at:)``.
  ///
  /// - Parameter began: when the exchange was sent there. What fails late, after the backend has come back, says nothing of it
  ///   as it is now.
  mutating func failed(
    _ kind: UpstreamFailure, began: Instant, _ rules: PassiveHealth, at now: Instant
  ) -> String? {
    guard began >= since else { return nil }
    failuresInARow += 1
    if rules.failureRatio != nil { window.note(isFailure: true, rules.window, at: now) }
    switch trust {
    case .ejected: return nil
    case .trial: return "on trial: \(kind.sentence)"
    case .full: break
    }
    if let limit = rules.consecutiveFailures, failuresInARow >= limit {
      return "\(failuresInARow) exchanges in a row failed, the last one: \(kind.sentence)"
    }
    if let ratio = rules.failureRatio {
      let (failures, all) = window.counts(rules.window, at: now)
      if all >= rules.minimumAnswers, Double(failures) >= ratio * Double(all) {
        return "\(failures) of \(all) exchanges failed within \(rules.window), the last one: \(kind.sentence)"
      }
    }
    return nil
  }

  /// Returns whether its standing has changed.
  mutating func eject(_ why: String, _ rules: PassiveHealth, at now: Instant) -> Bool {
    let before = standing
    // What went well since the last one makes the next one shorter, step by step.
    if lastEjection > .zero, case .full = trust {
      let steps = (now - trustedSince) / lastEjection
      ejections = max(0, ejections - Int(min(steps, 100)))
    }
    var length = rules.ejection
    for _ in 0..<min(ejections, 30) where length < rules.longestEjection { length = length * 2 }
    length = min(length, rules.longestEjection)
    ejections += 1
    lastEjection = length
    trust = .ejected(until: now + length)
    passes = 0
    failuresInARow = 0
    window = OutcomeWindow()
    return note(before, "\(why); for \(length)", at: now)
  }

  /// The ejection may have ended by the time. Returns whether its standing has changed.
  mutating func endEjection(at now: Instant) -> Bool {
    guard case .ejected(let until) = trust, until <= now else { return false }
    let before = standing
    trust = .trial
    return note(before, "its ejection is over: one exchange at a time", at: now)
  }

  private mutating func trustFully(at now: Instant) {
    if case .full = trust { return }
    trust = .full
    trustedSince = now
    failuresInARow = 0
  }

  private mutating func note(_ before: Standing, _ why: String, at now: Instant) -> Bool {
    guard standing != before else { return false }
    reason = why
    since = now
    return true
  }
}

/// Answers and failures of the last seconds, in ten parts.
private struct OutcomeWindow: Sendable {
  private struct Part: Sendable {
    var number: UInt64 = .max
    var failures: UInt32 = 0
    var all: UInt32 = 0
  }

  private var parts: [Part] = []

  mutating func note(isFailure: Bool, _ window: Duration, at now: Instant) {
    // Made once; nothing is allocated for a backend that nobody uses.
    if parts.isEmpty { parts = Array(repeating: Part(), count: 10) }
    let number = Self.number(window, now)
    let index = Int(number % 10)
    if parts[index].number != number { parts[index] = Part(number: number) }
    parts[index].all &+= 1
    if isFailure { parts[index].failures &+= 1 }
  }

  func counts(_ window: Duration, at now: Instant) -> (failures: Int, all: Int) {
    let newest = Self.number(window, now)
    var sums = (failures: 0, all: 0)
    for part in parts where part.number <= newest && newest - part.number < 10 {
      sums.failures += Int(part.failures)
      sums.all += Int(part.all)
    }
    return sums
  }

  private static func number(_ window: Duration, _ now: Instant) -> UInt64 {
    now.nanoseconds / UInt64(max(1, window.nanosecondsClamped / 10))
  }
}
