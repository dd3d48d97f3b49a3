import Middlewares
import Pipeline
import Testing

/// Many logins at the same time: each is a task of its own, and the pool waits for the test.
struct LoginStormTests {
  private let world = LoginWorld()
  private let verifier = CountingVerifier()

  private func table(_ users: String...) throws -> UserTable {
    try UserTable(
      verifier: verifier,
      users.map { user in
        let fields = user.split(separator: ":").map(String.init)
        return try .init(name: fields[0], password: fields[1], hashedBy: verifier)
      })
  }

  /// Runs all logins at once, plays the pool once so many are parked, and returns what came of each.
  private func storm(
    _ logins: [Login], _ auth: PasswordAuth, parked: Int, play: @Sendable () async -> Void
  ) async -> [LoginResult] {
    await withTaskGroup(of: (Int, LoginResult).self) { group in
      for (index, login) in logins.enumerated() {
        group.addTask { [world] in (index, await login.run(auth, in: world)) }
      }
      await world.untilParked(parked)
      await play()
      var results: [Int: LoginResult] = [:]
      for await (index, result) in group { results[index] = result }
      return logins.indices.compactMap { results[$0] }
    }
  }

  @Test func aThousandEqualLoginsAtOnceAreOneVerification() async throws {
    let auth = PasswordAuth(try table("ann:secret"))
    world.holdPool()
    let logins = (0..<1000).map { Login("ann", "secret", ip: "198.51.100.\($0 % 250)") }
    let results = await storm(logins, auth, parked: 1000) { [world] in
      #expect(world.queuedCount == 1)
      world.runPool()
    }
    #expect(results.count == 1000)
    #expect(results.allSatisfy { $0 == .passed("ann") })
    #expect(verifier.verifications == 1)
  }

  @Test func aThousandEqualWrongLoginsAreOneVerificationAndOneFailure() async throws {
    let auth = PasswordAuth(try table("ann:secret"), limits: LoginLimits(failuresPerUser: 2, failuresPerAddress: 2))
    world.holdPool()
    let logins = (0..<1000).map { _ in Login("ann", "wrong") }
    let results = await storm(logins, auth, parked: 1000) { [world] in world.runPool() }
    #expect(results.allSatisfy { $0.kind == .credentialsInvalid })
    #expect(verifier.verifications == 1)
    world.holdPool(limit: 1)
    let after = await storm([Login("ann", "secret")], auth, parked: 1) { [world] in world.runPool() }
    #expect(after == [.passed("ann")])
  }

  @Test func differentCredentialsAreVerifiedApart() async throws {
    let auth = PasswordAuth(try table("ann:secret", "bob:thicket"))
    world.holdPool()
    let logins = [Login("ann", "secret"), Login("bob", "thicket"), Login("ann", "thicket"), Login("bob", "thicket")]
    let results = await storm(logins, auth, parked: 4) { [world] in world.runPool() }
    #expect(results[0] == .passed("ann"))
    #expect(results[1] == .passed("bob"))
    #expect(results[2].kind == .credentialsInvalid)
    #expect(results[3] == .passed("bob"))
    #expect(verifier.verifications == 3)
  }

  @Test func aThousandGuessesAtOnceGetNoMoreVerificationsThanTheLimit() async throws {
    let auth = PasswordAuth(try table("ann:secret"), limits: LoginLimits(failuresPerUser: 5, failuresPerAddress: 20))
    world.holdPool()
    let logins = (0..<1000).map { Login("ann", "guess\($0)", ip: "198.51.100.\($0 % 250)") }
    let results = await storm(logins, auth, parked: 1000) { [world] in
      #expect(world.queuedCount == 5)
      while world.queuedCount > 0 { world.runPool(atMost: 1) }
    }
    #expect(verifier.verifications == 5)
    #expect(results.count { $0.kind == .credentialsInvalid } == 5)
    #expect(results.count { $0.kind == .rateLimited } == 995)
    #expect(results.allSatisfy { $0.kind != .rateLimited || $0.retryAfter != nil })
  }

  @Test func manyUsersBehindOneAddressTakeTurnsAndAllGetIn() async throws {
    let users = (0..<100).map { "user\($0):secret\($0)" }
    let table = try UserTable(verifier: verifier)
    for index in 0..<100 { try table.set(.init(name: "user\(index)", password: "secret\(index)", hashedBy: verifier)) }
    let auth = PasswordAuth(table, limits: LoginLimits(failuresPerUser: 5, failuresPerAddress: 20))
    world.holdPool()
    let logins = (0..<100).map { Login("user\($0)", "secret\($0)") }
    let results = await storm(logins, auth, parked: 100) { [world] in
      #expect(world.queuedCount == 20)
      // Whoever gets a turn queues its own work: a hundred in all.
      for left in stride(from: 100, to: 0, by: -1) {
        await world.untilParked(left)
        await world.untilQueued(1)
        world.runPool(atMost: 1)
      }
    }
    #expect(results.count { if case .passed = $0 { true } else { false } } == users.count)
    #expect(verifier.verifications == 100)
  }

  @Test func aFullPoolIsOverloadedForAllWhoWait() async throws {
    let auth = PasswordAuth(try table("ann:secret"))
    world.holdPool(limit: 0)
    let result = await Login("ann", "secret").run(auth, in: world)
    #expect(result.kind == .overloaded)
    #expect(verifier.verifications == 0)
    world.holdPool(limit: 1)
    let after = await storm([Login("ann", "secret")], auth, parked: 1) { [world] in world.runPool() }
    #expect(after == [.passed("ann")])
  }

  @Test func theFollowersGetTheirAnswerAlthoughTheClientThatLedIsGone() async throws {
    let auth = PasswordAuth(try table("ann:secret"))
    world.holdPool()
    let leader = Login("ann", "secret")
    let follower = Login("ann", "secret")
    async let first = leader.run(auth, in: world)
    await world.untilParked(1)
    async let second = follower.run(auth, in: world)
    await world.untilParked(2)
    leader.control.cut(.clientGone)
    #expect(await first.kind == .clientGone)
    world.runPool()
    #expect(await second == .passed("ann"))
    #expect(verifier.verifications == 1)
  }

  @Test func aFollowerThatLeavesDisturbsNobody() async throws {
    let auth = PasswordAuth(try table("ann:secret"))
    world.holdPool()
    let follower = Login("ann", "secret")
    async let first = Login("ann", "secret").run(auth, in: world)
    await world.untilParked(1)
    async let second = follower.run(auth, in: world)
    await world.untilParked(2)
    follower.control.cut(.draining)
    #expect(await second.kind == .draining)
    world.runPool()
    #expect(await first == .passed("ann"))
  }

  @Test func aUserWhoIsBlockedWhileItIsVerifiedDoesNotGetIn() async throws {
    let table = try table("ann:secret")
    let auth = PasswordAuth(table)
    world.holdPool()
    let results = await storm([Login("ann", "secret")], auth, parked: 1) { [world] in
      table.block("ann")
      world.runPool()
      await world.untilQueued(1)
      world.runPool()
    }
    #expect(results.map(\.kind) == [.credentialsInvalid])
  }

  @Test func aUserWhoseRolesChangeWhileItIsVerifiedGetsInAfterASecondLook() async throws {
    let table = try table("ann:secret")
    let auth = PasswordAuth(table)
    world.holdPool()
    let results = await storm([Login("ann", "secret")], auth, parked: 1) { [world] in
      var user = table["ann"]!
      user.roles = ["admin"]
      try! table.set(user)
      world.runPool()
      await world.untilQueued(1)
      world.runPool()
    }
    #expect(results == [.passed("ann")])
    #expect(verifier.verifications == 2)
  }
}
