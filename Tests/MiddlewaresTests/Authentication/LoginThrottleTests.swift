import Pipeline
import Testing

@testable import Middlewares

/// The table alone: no clock, no lock, no password.
struct LoginThrottleTests {
  private let halfLife = Duration.seconds(100)
  private let start = Instant(nanoseconds: 1_000_000_000)
  private let ann = LoginKey.user(Array("ann".utf8))
  private let bob = LoginKey.user(Array("bob".utf8))

  private func fail(_ throttle: inout LoginThrottle, _ key: LoginKey, times: Int, limit: Int = 5, at now: Instant) {
    for _ in 0..<times {
      #expect(throttle.admit(key, limit: limit, halfLife: halfLife, now: now) == .admitted)
      throttle.settle(key, failed: true, halfLife: halfLife, now: now)
    }
  }

  @Test func theFailureThatReachesTheLimitIsTheLastOne() {
    var throttle = LoginThrottle()
    fail(&throttle, ann, times: 5, at: start)
    guard case .refused = throttle.admit(ann, limit: 5, halfLife: halfLife, now: start) else {
      Issue.record("the sixth attempt was let through")
      return
    }
    #expect(throttle.admit(bob, limit: 5, halfLife: halfLife, now: start) == .admitted)
  }

  @Test func whoComesBackAfterTheTimeThatItWasToldIsHeardAndNotBefore() throws {
    for limit in [1, 2, 3, 5, 8, 20, 1000] {
      var throttle = LoginThrottle()
      fail(&throttle, ann, times: limit, limit: limit, at: start)
      let wait = try #require(throttle.refusal(ann, limit: limit, halfLife: halfLife, now: start))
      #expect(wait > .zero)
      #expect(throttle.refusal(ann, limit: limit, halfLife: halfLife, now: start + (wait - .seconds(1))) != nil)
      #expect(throttle.refusal(ann, limit: limit, halfLife: halfLife, now: start + wait) == nil)
    }
  }

  @Test func failuresHalveAtEveryHalfLife() {
    var throttle = LoginThrottle()
    fail(&throttle, ann, times: 8, limit: 8, at: start)
    // 8, 4, 2, 1: there is room for one more where what is left is at most the limit less one.
    func isRefused(limit: Int, after lives: Int) -> Bool {
      throttle.refusal(ann, limit: limit, halfLife: halfLife, now: start + halfLife * lives) != nil
    }
    #expect(isRefused(limit: 4, after: 1) && !isRefused(limit: 5, after: 1))
    #expect(isRefused(limit: 2, after: 2) && !isRefused(limit: 3, after: 2))
    #expect(isRefused(limit: 1, after: 3) && !isRefused(limit: 2, after: 3))
    #expect(!isRefused(limit: 1, after: 8))
    #expect(!isRefused(limit: 1, after: 1_000_000))
  }

  @Test func whoGoesOnGuessingGetsOneGuessInAboutEightyOfFiveMinutes() throws {
    let limits = LoginLimits.standard
    var throttle = LoginThrottle()
    var now = start
    var guesses = 0
    while now < start + .seconds(86_400) {
      if let wait = throttle.refusal(ann, limit: 5, halfLife: limits.halfLife, now: now) {
        now = now + wait
      } else {
        #expect(throttle.admit(ann, limit: 5, halfLife: limits.halfLife, now: now) == .admitted)
        throttle.settle(ann, failed: true, halfLife: limits.halfLife, now: now)
        guesses += 1
      }
    }
    #expect((700...1200).contains(guesses))
  }

  @Test func attemptsUnderWayUseUpTheLimitUntilTheyAreSettled() {
    var throttle = LoginThrottle()
    for _ in 0..<5 { #expect(throttle.admit(ann, limit: 5, halfLife: halfLife, now: start) == .admitted) }
    #expect(throttle.admit(ann, limit: 5, halfLife: halfLife, now: start) == .full)
    throttle.settle(ann, failed: false, halfLife: halfLife, now: start)
    #expect(throttle.admit(ann, limit: 5, halfLife: halfLife, now: start) == .admitted)
    for _ in 0..<5 { throttle.settle(ann, failed: false, halfLife: halfLife, now: start) }
    #expect(throttle.count == 0)
  }

  @Test func aGoodLoginForgivesNothing() {
    var throttle = LoginThrottle()
    fail(&throttle, ann, times: 4, at: start)
    #expect(throttle.admit(ann, limit: 5, halfLife: halfLife, now: start) == .admitted)
    throttle.settle(ann, failed: false, halfLife: halfLife, now: start)
    fail(&throttle, ann, times: 1, at: start)
    #expect(throttle.refusal(ann, limit: 5, halfLife: halfLife, now: start) != nil)
  }

  @Test func theTableStaysOfItsSizeUnderAFloodAndKeepsWhoFailsMost() {
    var throttle = LoginThrottle(capacity: 64)
    #expect(throttle.capacity == 64)
    fail(&throttle, ann, times: 5, at: start)
    for index in 0..<10_000 {
      let key = LoginKey.user(Array("flood\(index)".utf8))
      fail(&throttle, key, times: 1, at: start)
    }
    #expect(throttle.count <= 64)
    #expect(throttle.refusal(ann, limit: 5, halfLife: halfLife, now: start) != nil)
  }

  @Test func aFailureWhoseEntryMadeRoomIsCountedAllTheSame() {
    var throttle = LoginThrottle(capacity: 8)
    // Nine keys for eight places, all of them under way.
    let keys = (0..<9).map { LoginKey.user([UInt8($0)]) }
    for key in keys { #expect(throttle.admit(key, limit: 1, halfLife: halfLife, now: start) == .admitted) }
    #expect(throttle.count == 8)
    for key in keys { throttle.settle(key, failed: true, halfLife: halfLife, now: start) }
    #expect(throttle.count == 8)
    #expect(throttle.refusal(keys[8], limit: 1, halfLife: halfLife, now: start) != nil)
  }

  @Test func whatIsAsGoodAsForgottenIsDropped() {
    var throttle = LoginThrottle()
    fail(&throttle, ann, times: 1, at: start)
    fail(&throttle, bob, times: 4, at: start)
    throttle.forgetOld(halfLife: halfLife, now: start + .seconds(101))
    #expect(throttle.count == 1)
    throttle.forgetOld(halfLife: halfLife, now: start + .seconds(1000))
    #expect(throttle.count == 0)
  }

  @Test func oneCustomerOfAnIPv6NetworkIsOneKeyAndPortsDoNotMatter() {
    func key(_ ip: String, port: UInt16 = 1) -> LoginKey {
      .address(of: ClientAddress(.ip(IPAddress(ip)!, port: port)))
    }
    #expect(key("2001:db8:1:2::1") == key("2001:db8:1:2:ffff::9"))
    #expect(key("2001:db8:1:2::1") != key("2001:db8:1:3::1"))
    #expect(key("192.0.2.1", port: 1) == key("192.0.2.1", port: 2))
    #expect(key("192.0.2.1") != key("192.0.2.2"))
    #expect(key("::ffff:192.0.2.1") == key("192.0.2.1"))
    #expect(LoginKey.address(of: ClientAddress(.unix(uid: 0))) != .address(of: ClientAddress(.unix(uid: 1))))
  }
}

/// What the throttle does to clients.
struct LoginThrottlingTests {
  private let world = LoginWorld()
  private let verifier = CountingVerifier()

  private func auth(_ limits: LoginLimits) throws -> PasswordAuth {
    PasswordAuth(try .testing(verifier, "ann:secret", "bob:thicket"), limits: limits)
  }

  @Test func afterTheLimitNothingIsHashedAndTheClientIsToldWhenToComeBack() async throws {
    let auth = try auth(LoginLimits(failuresPerUser: 5, failuresPerAddress: 100))
    for index in 0..<5 {
      #expect(
        await Login("ann", "guess\(index)", ip: "198.51.100.\(index)").run(auth, in: world).kind == .credentialsInvalid)
    }
    #expect(verifier.verifications == 5)
    let refused = await Login("ann", "secret", ip: "203.0.113.9").run(auth, in: world)
    #expect(refused.kind == .rateLimited)
    let retryAfter = try #require(refused.retryAfter)
    #expect(verifier.verifications == 5)
    #expect(await Login("bob", "thicket", ip: "203.0.113.9").run(auth, in: world) == .passed("bob"))
    world.advance(by: retryAfter - .seconds(1))
    #expect(await Login("ann", "secret", ip: "203.0.113.9").run(auth, in: world).kind == .rateLimited)
    world.advance(by: .seconds(1))
    #expect(await Login("ann", "secret", ip: "203.0.113.9").run(auth, in: world) == .passed("ann"))
  }

  @Test func anAddressThatGuessesAtManyNamesIsRefused() async throws {
    let auth = try auth(LoginLimits(failuresPerUser: 5, failuresPerAddress: 20))
    for index in 0..<20 { #expect(await Login("user\(index)", "x").run(auth, in: world).kind == .credentialsInvalid) }
    #expect(await Login("ann", "secret").run(auth, in: world).kind == .rateLimited)
    #expect(verifier.verifications == 20)
    #expect(await Login("ann", "secret", ip: "203.0.113.9").run(auth, in: world) == .passed("ann"))
  }

  @Test func aThrottledAddressIsRefusedAlthoughItsPasswordIsRemembered() async throws {
    let auth = try auth(LoginLimits(failuresPerUser: 5, failuresPerAddress: 2))
    _ = await Login("ann", "secret").run(auth, in: world)
    for index in 0..<2 { _ = await Login("user\(index)", "x").run(auth, in: world) }
    // Else an address could try passwords against the cache as fast as it likes.
    #expect(await Login("ann", "secret").run(auth, in: world).kind == .rateLimited)
  }

  @Test func strangersWhoGuessAtANameDoNotLockItsUserOut() async throws {
    let auth = try auth(LoginLimits(failuresPerUser: 3, failuresPerAddress: 10))
    #expect(await Login("ann", "secret", ip: "192.0.2.7").run(auth, in: world) == .passed("ann"))
    for index in 0..<3 { _ = await Login("ann", "guess\(index)", ip: "203.0.113.9").run(auth, in: world) }
    #expect(await Login("ann", "secret", ip: "203.0.113.10").run(auth, in: world).kind == .rateLimited)
    #expect(await Login("ann", "secret", ip: "192.0.2.7").run(auth, in: world) == .passed("ann"))
    // Not even when the answer is remembered no longer, and guessing goes on.
    world.advance(by: .seconds(601))
    for index in 0..<3 { _ = await Login("ann", "guess\(index)", ip: "203.0.113.11").run(auth, in: world) }
    #expect(await Login("ann", "secret", ip: "192.0.2.7").run(auth, in: world) == .passed("ann"))
  }

  @Test func theUsualAddressOfAUserIsThrottledLikeAnyOther() async throws {
    let auth = try auth(LoginLimits(failuresPerUser: 3, failuresPerAddress: 10))
    _ = await Login("ann", "secret").run(auth, in: world)
    for index in 0..<3 {
      #expect(await Login("ann", "guess\(index)").run(auth, in: world).kind == .credentialsInvalid)
    }
    #expect(await Login("ann", "guess").run(auth, in: world).kind == .rateLimited)
    #expect(await Login("ann", "secret").run(auth, in: world).kind == .rateLimited)
  }

  @Test func unknownNamesAreThrottledLikeKnownOnes() async throws {
    let auth = try auth(LoginLimits(failuresPerUser: 3, failuresPerAddress: 100))
    for index in 0..<3 {
      _ = await Login("nobody", "guess", ip: "198.51.100.\(index)").run(auth, in: world)
      _ = await Login("ann", "guess", ip: "198.51.100.\(index)").run(auth, in: world)
    }
    let unknown = await Login("nobody", "x", ip: "203.0.113.9").run(auth, in: world)
    let known = await Login("ann", "x", ip: "203.0.113.9").run(auth, in: world)
    #expect(unknown == known)
    #expect(unknown.kind == .rateLimited)
  }

  @Test func aReloadKeepsCounting() async throws {
    let old = try auth(LoginLimits(failuresPerUser: 3, failuresPerAddress: 100))
    for _ in 0..<3 { _ = await Login("ann", "guess").run(old, in: world) }
    var new = try auth(LoginLimits(failuresPerUser: 3, failuresPerAddress: 100))
    new.adopt(from: old)
    #expect(new.state === old.state)
    #expect(await Login("ann", "secret").run(new, in: world).kind == .rateLimited)
  }

  @Test func anAttemptThatIsDroppedUnrunIsNoFailureAndWakesWhoWaits() throws {
    let limits = LoginLimits(failuresPerUser: 1, failuresPerAddress: 1)
    let desk = LoginDesk(capacity: 64)
    let attempt = LoginAttempt(
      digest: verifier.digest(user: [1], password: [2]), account: nil, user: .user([1]), origin: .user([9]),
      now: world.now)
    guard case .lead(let flight) = desk.step(attempt, limits), case .follow(let same) = desk.step(attempt, limits)
    else {
      Issue.record("the second equal attempt does not follow the first")
      return
    }
    #expect(same === flight)
    // A pool that is full lets go of the work.
    _ = desk.verification(of: flight, limits) { true }
    #expect(flight.landed.hasFired)
    guard case .abandoned = flight.outcome else {
      Issue.record("an attempt that was dropped has an outcome")
      return
    }
    #expect(desk.flightCount == 0)
    #expect(desk.countedKeys == 0)
    guard case .lead = desk.step(attempt, limits) else {
      Issue.record("a new attempt is not let through")
      return
    }
  }
}
