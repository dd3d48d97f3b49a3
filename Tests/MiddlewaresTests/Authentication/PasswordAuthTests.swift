import Middlewares
import Pipeline
import Testing

struct PasswordAuthTests {
  private let world = LoginWorld()
  private let verifier = CountingVerifier()

  private func auth(_ users: String..., limits: LoginLimits = .standard) throws -> (PasswordAuth, UserTable) {
    let table = try UserTable(verifier: verifier)
    for user in users {
      let fields = user.split(separator: ":").map(String.init)
      try table.set(.init(name: fields[0], password: fields[1], roles: Set(fields.dropFirst(2)), hashedBy: verifier))
    }
    return (PasswordAuth(table, limits: limits), table)
  }

  @Test func theRightPasswordGivesTheUserWithItsRoles() async throws {
    let (auth, _) = try auth("ann:secret:admin:ops")
    let login = Login("ann", "secret")
    let exchange = LoginExchange(world, login.credentials, from: login.client, control: login.control)
    let user = try await auth.authenticate(exchange)
    #expect(user == AuthenticatedUser(Principal("ann"), roles: ["admin", "ops"]))
    #expect(user.has(role: "admin"))
    #expect(!user.has(role: "root"))
  }

  @Test func whoSendsNoCredentialsIsAskedForThem() async throws {
    let (auth, _) = try auth("ann:secret")
    var login = Login("", "")
    login.credentials = nil
    #expect(await login.run(auth, in: world).kind == .credentialsRequired)
    #expect(verifier.verifications == 0)
  }

  @Test func aWrongPasswordIsInvalid() async throws {
    let (auth, _) = try auth("ann:secret")
    #expect(await Login("ann", "Secret").run(auth, in: world).kind == .credentialsInvalid)
    #expect(await Login("ann", "").run(auth, in: world).kind == .credentialsInvalid)
  }

  @Test func anUnknownUserIsVerifiedAgainstTheHashOfAnotherAndNeverMatches() async throws {
    let (auth, _) = try auth("ann:secret")
    let result = await Login("bob", "secret").run(auth, in: world)
    #expect(result.kind == .credentialsInvalid)
    #expect(verifier.verified == [try verifier.hash(Array("secret".utf8)).text.reveal()])
  }

  @Test func aTableWithoutUsersHashesToTakeAsLong() async throws {
    let (auth, _) = try auth()
    #expect(await Login("bob", "decoy").run(auth, in: world).kind == .credentialsInvalid)
    #expect(verifier.verifications == 1)
    #expect(verifier.hashes == 1)
  }

  @Test func aBlockedUserIsVerifiedAndRefused() async throws {
    let (auth, table) = try auth("ann:secret")
    table.block("ann")
    #expect(await Login("ann", "secret").run(auth, in: world).kind == .credentialsInvalid)
    #expect(verifier.verifications == 1)
  }

  @Test func aRepeatedLoginHashesNothing() async throws {
    let (auth, _) = try auth("ann:secret")
    for _ in 0..<100 { #expect(await Login("ann", "secret").run(auth, in: world) == .passed("ann")) }
    #expect(verifier.verifications == 1)
    #expect(await Login("ann", "secret", ip: "203.0.113.9").run(auth, in: world) == .passed("ann"))
    #expect(verifier.verifications == 1)
  }

  @Test func anAnswerIsRememberedForItsTimeAndNotLonger() async throws {
    let (auth, _) = try auth("ann:secret")
    _ = await Login("ann", "secret").run(auth, in: world)
    world.advance(by: .seconds(599))
    _ = await Login("ann", "secret").run(auth, in: world)
    #expect(verifier.verifications == 1)
    world.advance(by: .seconds(1))
    #expect(await Login("ann", "secret").run(auth, in: world) == .passed("ann"))
    #expect(verifier.verifications == 2)
  }

  @Test func aWrongPasswordIsNeverRemembered() async throws {
    let (auth, table) = try auth("ann:secret")
    #expect(await Login("ann", "other").run(auth, in: world).kind == .credentialsInvalid)
    try table.set(.init(name: "ann", password: "other", hashedBy: verifier))
    #expect(await Login("ann", "other").run(auth, in: world) == .passed("ann"))
  }

  @Test func aBlockedUserIsRefusedAtOnceAlthoughItsPasswordWasRemembered() async throws {
    let (auth, table) = try auth("ann:secret")
    #expect(await Login("ann", "secret").run(auth, in: world) == .passed("ann"))
    let version = table.version
    table.block("ann")
    #expect(table.version > version)
    #expect(await Login("ann", "secret").run(auth, in: world).kind == .credentialsInvalid)
    table.unblock("ann")
    #expect(await Login("ann", "secret").run(auth, in: world) == .passed("ann"))
    #expect(verifier.verifications == 3)
  }

  @Test func aChangedPasswordTakesEffectAtOnce() async throws {
    let (auth, table) = try auth("ann:secret")
    _ = await Login("ann", "secret").run(auth, in: world)
    try table.set(.init(name: "ann", password: "fresh", hashedBy: verifier))
    #expect(await Login("ann", "secret").run(auth, in: world).kind == .credentialsInvalid)
    #expect(await Login("ann", "fresh").run(auth, in: world) == .passed("ann"))
  }

  @Test func aRemovedUserIsUnknownAtOnce() async throws {
    let (auth, table) = try auth("ann:secret")
    _ = await Login("ann", "secret").run(auth, in: world)
    table.remove("ann")
    let result = await Login("ann", "secret").run(auth, in: world)
    #expect(result.kind == .credentialsInvalid)
    #expect(result.text.contains("unknown user"))
  }

  @Test func changedRolesAreGivenAtOnce() async throws {
    let (auth, table) = try auth("ann:secret:guest")
    _ = await Login("ann", "secret").run(auth, in: world)
    var user = try #require(table["ann"])
    user.roles = ["admin"]
    try table.set(user)
    let login = Login("ann", "secret")
    let exchange = LoginExchange(world, login.credentials, from: login.client, control: login.control)
    #expect(try await auth.authenticate(exchange).roles == ["admin"])
  }

  @Test(
    arguments: [
      [0x61, 0xff], [0x61, 0x00], [0x00], [], [0xef, 0xbf, 0xbd], [UInt8](repeating: 0x61, count: 255),
      [UInt8](repeating: 0x61, count: 256), [0xc3],
    ] as [[UInt8]])
  func namesAreComparedAsBytesAndNeverRepaired(name: [UInt8]) async throws {
    // U+FFFD is what a decoder makes of bytes that are no UTF-8: as a name, it must not be reached by them.
    let (auth, table) = try auth("a:secret", "a\u{fffd}:secret")
    #expect(await Login(name, Array("secret".utf8)).run(auth, in: world).kind == .credentialsInvalid)
    #expect(table.count == 2)
  }

  @Test func namesAndPasswordsOf255BytesWork() async throws {
    let name = String(repeating: "n", count: 255)
    let password = [UInt8](repeating: 0, count: 254) + [7]
    let (auth, table) = try auth()
    try table.set(.init(name: name, passwordHash: verifier.hash(password)))
    #expect(await Login(Array(name.utf8), password).run(auth, in: world) == .passed(name))
    #expect(await Login(Array(name.utf8), Array(password.dropFirst())).run(auth, in: world).kind == .credentialsInvalid)
  }

  @Test func anEndlessPasswordIsRefusedWithoutAnyHashing() async throws {
    let (auth, _) = try auth("ann:secret")
    let result = await Login(Array("ann".utf8), [UInt8](repeating: 1, count: 1025)).run(auth, in: world)
    #expect(result.kind == .credentialsInvalid)
    #expect(verifier.verifications == 0)
  }

  @Test func whatTheVerifierCannotAnswerIsOurOwnFault() async throws {
    let (auth, _) = try auth("ann:secret")
    verifier.fail(with: PasswordHashError("out of memory"))
    let result = await Login("ann", "secret").run(auth, in: world)
    #expect(result.kind == .internalError)
    verifier.fail(with: nil)
    #expect(await Login("ann", "secret").run(auth, in: world) == .passed("ann"))
  }
}
