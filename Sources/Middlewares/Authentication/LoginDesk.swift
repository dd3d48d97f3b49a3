internal import Pipeline
internal import Synchronization

/// One verification that is under way, and all who wait for it.
final class LoginFlight: Sendable {
  enum Outcome {
    case right
    case wrong
    /// Nobody could find out.
    case failed(Rejection)
    /// It was never begun: the pool was full, or the connection that had asked for it was cut.
    case abandoned
  }

  let attempt: LoginAttempt
  /// Fires when ``outcome`` is there.
  let landed = Signal()
  private let result = Mutex<Outcome?>(nil)

  init(_ attempt: LoginAttempt) { self.attempt = attempt }

  /// `abandoned` until it has landed.
  var outcome: Outcome { result.withLock { $0 } ?? .abandoned }

  /// False when it has landed already.
  fileprivate func land(_ outcome: Outcome) -> Bool {
    result.withLock { result in
      if result != nil { return false }
      result = outcome
      return true
    }
  }
}

/// What one login is about.
struct LoginAttempt: Sendable {
  let digest: PasswordDigest
  /// `nil`: nobody of this name.
  let account: Account?
  let user: LoginKey
  let origin: LoginKey
  var now: Instant
}

/// Where logins wait that are not remembered: equal ones share one verification, and who has failed too often is turned
/// away before anything is hashed.
///
/// One lock, held for well under a microsecond and never across a wait. Logins that are remembered pass by without it
/// while nobody has failed.
final class LoginDesk: Sendable {
  enum Step {
    /// Verify it, and let the flight land.
    case lead(LoginFlight)
    /// Somebody verifies these credentials now: wait for the flight.
    case follow(LoginFlight)
    /// Wait for one of the attempts that are under way, and ask again.
    case wait(Signal)
    case refused(retryAfter: Duration)
  }

  private struct State {
    var throttle: LoginThrottle
    var flights: [PasswordDigest: LoginFlight] = [:]
    /// For those who wait for an attempt of this key to be settled.
    var turns: [LoginKey: Signal] = [:]
  }

  private let state: Mutex<State>
  private let counted = Atomic<Int>(0)

  /// - Parameter capacity: for how many names and addresses failures are counted at once.
  init(capacity: Int = 8192) { state = Mutex(State(throttle: LoginThrottle(capacity: capacity))) }

  /// How many names and addresses are counted now.
  var countedKeys: Int { counted.load(ordering: .relaxed) }

  /// How many verifications are under way.
  var flightCount: Int { state.withLock { $0.flights.count } }

  /// When this key may try again; `nil`: now.
  func refusal(_ key: LoginKey, limit: Int, halfLife: Duration, now: Instant) -> Duration? {
    // A stale 0 lets at most what is under way at this instant pass to the hashing, which asks again.
    if counted.load(ordering: .relaxed) == 0 { return nil }
    return state.withLock { $0.throttle.refusal(key, limit: limit, halfLife: halfLife, now: now) }
  }

  /// What a login that is not remembered has to do next.
  func step(_ attempt: LoginAttempt, _ limits: LoginLimits) -> Step {
    state.withLock { state in
      defer { counted.store(state.throttle.count, ordering: .relaxed) }
      // A flight for a user who was changed since then would say something about the old password.
      if let flight = state.flights[attempt.digest], flight.attempt.account === attempt.account {
        return .follow(flight)
      }
      for (key, limit) in Self.limits(attempt, limits) {
        switch state.throttle.admit(key, limit: limit, halfLife: limits.halfLife, now: attempt.now) {
        case .admitted: continue
        case .full:
          if key == attempt.user { Self.release(attempt.origin, in: &state, limits, attempt.now) }
          return .wait(Self.turn(of: key, in: &state))
        case .refused(let retryAfter):
          if key == attempt.user { Self.release(attempt.origin, in: &state, limits, attempt.now) }
          return .refused(retryAfter: retryAfter)
        }
      }
      let flight = LoginFlight(attempt)
      state.flights[attempt.digest] = flight
      return .lead(flight)
    }
  }

  /// The address first: it is the one that keeps a guesser out.
  private static func limits(_ attempt: LoginAttempt, _ limits: LoginLimits) -> [(LoginKey, Int)] {
    [(attempt.origin, limits.failuresPerAddress), (attempt.user, limits.failuresPerUser)]
  }

  private static func release(_ key: LoginKey, in state: inout State, _ limits: LoginLimits, _ now: Instant) {
    state.throttle.settle(key, failed: false, halfLife: limits.halfLife, now: now)
  }

  private static func turn(of key: LoginKey, in state: inout State) -> Signal {
    if let signal = state.turns[key] { return signal }
    let signal = Signal()
    state.turns[key] = signal
    return signal
  }

  /// Ends a flight and wakes who waits for it. A second landing is ignored.
  ///
  /// One verification counts as one failure, however many connections wait for it: they have learnt about one password.
  func land(_ flight: LoginFlight, _ outcome: LoginFlight.Outcome, _ limits: LoginLimits) {
    guard flight.land(outcome) else { return }
    let attempt = flight.attempt
    let failed = if case .wrong = outcome { true } else { false }
    let turns = state.withLock { state -> [Signal] in
      if state.flights[attempt.digest] === flight { state.flights[attempt.digest] = nil }
      for (key, _) in Self.limits(attempt, limits) {
        state.throttle.settle(key, failed: failed, halfLife: limits.halfLife, now: attempt.now)
      }
      counted.store(state.throttle.count, ordering: .relaxed)
      return [attempt.origin, attempt.user].compactMap { state.turns.removeValue(forKey: $0) }
    }
    flight.landed.fire()
    for turn in turns { turn.fire() }
  }

  /// Counts a failure that was found without a flight: nothing had to be waited for.
  func noteFailure(_ attempt: LoginAttempt, _ limits: LoginLimits) {
    state.withLock { state in
      for (key, _) in Self.limits(attempt, limits) {
        state.throttle.settle(key, failed: true, halfLife: limits.halfLife, now: attempt.now)
      }
      counted.store(state.throttle.count, ordering: .relaxed)
    }
  }

  /// Forgets failures that are as good as forgotten.
  func forgetOld(_ limits: LoginLimits, now: Instant) {
    state.withLock { state in
      state.throttle.forgetOld(halfLife: limits.halfLife, now: now)
      counted.store(state.throttle.count, ordering: .relaxed)
    }
  }

  /// The work of a flight's leader, for the offload pool. If it is dropped without being run, the flight is abandoned.
  func verification(
    of flight: LoginFlight, _ limits: LoginLimits, _ verify: @escaping @Sendable () throws -> Bool
  ) -> @Sendable () -> Void {
    let landing = Landing(flight, self, limits)
    return {
      do {
        landing.land(try verify() ? .right : .wrong)
      } catch {
        landing.land(
          .failed(Rejection(.internalError, detail: "a password could not be verified: \(error)", cause: error)))
      }
    }
  }

  /// Lands its flight on every path: whoever holds it last has dropped the work.
  private final class Landing: Sendable {
    private let flight: LoginFlight
    private let desk: LoginDesk
    private let limits: LoginLimits

    init(_ flight: LoginFlight, _ desk: LoginDesk, _ limits: LoginLimits) {
      self.flight = flight
      self.desk = desk
      self.limits = limits
    }

    deinit { land(.abandoned) }

    func land(_ outcome: LoginFlight.Outcome) { desk.land(flight, outcome, limits) }
  }
}
