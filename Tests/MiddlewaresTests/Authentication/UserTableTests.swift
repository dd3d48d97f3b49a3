import Pipeline
import PipelineTesting
import Testing

@testable import Middlewares

struct UserTableTests {
  private let verifier = CountingVerifier()

  @Test func everyChangeMovesTheVersion() throws {
    let table = try UserTable.testing(verifier, "ann:secret")
    var seen: Set<UInt64> = [table.version]
    try table.set(.init(name: "bob", password: "x", hashedBy: verifier))
    #expect(seen.insert(table.version).inserted)
    table.block("bob")
    #expect(seen.insert(table.version).inserted)
    table.unblock("bob")
    #expect(seen.insert(table.version).inserted)
    table.remove("bob")
    #expect(seen.insert(table.version).inserted)
    try table.replaceAll(with: [])
    #expect(seen.insert(table.version).inserted)
  }

  @Test func changesOfNobodyAreRefused() throws {
    let table = try UserTable.testing(verifier, "ann:secret")
    let version = table.version
    #expect(!table.block("bob"))
    #expect(!table.remove("bob"))
    #expect(table["bob"] == nil)
    #expect(table.version == version)
  }

  @Test func theBackgroundTaskForgetsWhatIsTooOld() async throws {
    let table = try UserTable.testing(verifier, "ann:secret")
    let auth = PasswordAuth(table, remembering: .seconds(10), limits: LoginLimits(halfLife: .seconds(10)))
    let services = ManualServices()
    let running = Task { try await auth.run(services) }
    let harness = try ChainHarness(.socks5, clock: services.clock) { auth }
    #expect(await harness.run(MockClient(user: "ann", password: "secret")) == .served())
    #expect(await harness.run(MockClient(user: "ann", password: "x")) == .refused(.credentialsInvalid))
    let desk = try #require(auth.state as? LoginDesk)
    #expect(desk.countedKeys == 2)
    for _ in 0..<3 {
      await services.clock.sleepers(1)
      services.clock.advance(by: .seconds(10))
    }
    await services.clock.sleepers(1)
    #expect(desk.countedKeys == 0)
    running.cancel()
    await #expect(throws: CancellationError.self) { try await running.value }
    #expect(await harness.run(MockClient(user: "ann", password: "secret")) == .served())
    #expect(verifier.verifications == 3)
  }

  @Test func usersAreListedByName() throws {
    let table = try UserTable.testing(verifier, "eve:1", "ann:2", "bob:3")
    table.block("bob")
    #expect(table.users.map(\.name) == ["ann", "bob", "eve"])
    #expect(table.users.map(\.isBlocked) == [false, true, false])
    #expect(table.count == 3)
  }

  @Test func aReloadKeepsWhatWasRememberedOfTheUnchanged() async throws {
    let world = LoginWorld()
    let table = try UserTable.testing(verifier, "ann:secret", "bob:thicket", "eve:gone")
    let auth = PasswordAuth(table)
    for (user, password) in [("ann", "secret"), ("bob", "thicket"), ("eve", "gone")] {
      _ = await Login(user, password).run(auth, in: world)
    }
    let ann = try #require(table["ann"])
    try table.replaceAll(with: [ann, .init(name: "bob", password: "fresh", hashedBy: verifier)])
    let before = verifier.verifications
    #expect(await Login("ann", "secret").run(auth, in: world) == .passed("ann"))
    #expect(verifier.verifications == before)
    #expect(await Login("bob", "thicket").run(auth, in: world).kind == .credentialsInvalid)
    #expect(await Login("bob", "fresh").run(auth, in: world) == .passed("bob"))
    #expect(await Login("eve", "gone").run(auth, in: world).kind == .credentialsInvalid)
  }

  @Test func aReloadWithAMistakeChangesNothing() throws {
    let table = try UserTable.testing(verifier, "ann:secret")
    let bob = try UserTable.User(name: "bob", password: "x", hashedBy: verifier)
    #expect(throws: UserError("user \"bob\" stands there twice: a name is allowed once")) {
      try table.replaceAll(with: [bob, bob])
    }
    #expect(throws: UserError("user \"eve\": this is no test hash")) {
      try table.replaceAll(with: [bob, .init(name: "eve", passwordHash: PasswordHash("x"))])
    }
    #expect(table.users.map(\.name) == ["ann"])
  }

  @Test(arguments: [
    ("", "a user name has 0 bytes: 1...255 are allowed"),
    (String(repeating: "ü", count: 128), "a user name has 256 bytes: 1...255 are allowed"),
    ("a:b", "user \"a:b\": a name may hold no colon"),
    ("a\nb", #"user "a\nb": a name may hold no control or formatting character"#),
    ("a\0", #"user "a\0": a name may hold no control or formatting character"#),
    ("a\u{202e}b", "user \"a\u{202e}b\": a name may hold no control or formatting character"),
  ])
  func namesThatWouldForgeALogLineAreRefused(name: String, sentence: String) throws {
    let table = try UserTable(verifier: verifier)
    #expect(throws: UserError(sentence)) {
      try table.set(.init(name: name, password: "x", hashedBy: verifier))
    }
    #expect(table.count == 0)
  }

  @Test func rolesAreChecked() throws {
    let table = try UserTable(verifier: verifier)
    #expect(
      throws: UserError(
        "user \"ann\": \"a b\" is no role: 1 to 64 letters, digits, \".\", \"_\" or \"-\" are allowed")
    ) {
      try table.set(.init(name: "ann", password: "x", roles: ["a b"], hashedBy: verifier))
    }
  }

  @Test func aNameAndPasswordOfTheCommandLineIsSplitAtTheFirstColon() throws {
    let user = try UserTable.User(nameAndPassword: "ann:se:cret", hashedBy: verifier)
    #expect(user.name == "ann")
    #expect(try verifier.verify(Array("se:cret".utf8), against: user.passwordHash))
  }

  @Test(arguments: [
    ("hunter2", "a user reads NAME:PASSWORD, and there is no colon in what was given"),
    (":hunter2", "a user name has 0 bytes: 1...255 are allowed"),
    ("ann:", "user \"ann\": the password is empty: use 1 or more bytes"),
  ])
  func aWrongNameAndPasswordIsRefusedWithoutBeingQuoted(text: String, sentence: String) {
    #expect(throws: UserError(sentence)) { try UserTable.User(nameAndPassword: text, hashedBy: verifier) }
    #expect(!sentence.contains("hunter2"))
  }
}

struct UserFileTests {
  private let verifier = CountingVerifier()

  private func parse(_ text: String) throws -> [UserTable.User] {
    try UserFile.parse(text, file: "users.txt", verifier: verifier)
  }

  @Test func usersRolesCommentsAndBlockedOnesAreRead() throws {
    let users = try parse(
      "# staff\r\n\r\nann:plain/1\n  bob:plain/2:admin,ops \n\t# nobody\neve:!plain/3:\nüñï:plain/4:a.b-c_D9")
    #expect(users.map(\.name) == ["ann", "bob", "eve", "üñï"])
    #expect(users.map(\.roles) == [[], ["admin", "ops"], [], ["a.b-c_D9"]])
    #expect(users.map(\.isBlocked) == [false, false, true, false])
    #expect(users.map { $0.passwordHash.text.reveal() } == ["plain/1", "plain/2", "plain/3", "plain/4"])
  }

  @Test func anEmptyFileHasNoUsers() throws {
    #expect(try parse("").isEmpty)
    #expect(try parse("\n\n# nobody").isEmpty)
  }

  @Test func whatIsWrittenIsReadBack() throws {
    let users = [
      UserTable.User(name: "ann", passwordHash: PasswordHash("plain/1")),
      UserTable.User(name: "bob", passwordHash: PasswordHash("plain/2"), roles: ["ops", "admin"], isBlocked: true),
    ]
    #expect(try parse(users.map(UserFile.line(for:)).joined(separator: "\n")) == users)
  }

  @Test func everyMistakeIsNamedWithFileAndLineAndNoPasswordIsQuoted() throws {
    let text = """
      ann:plain/1
      hunter2
      bob:hunter2
      ann:plain/2
      :plain/1
      eve:plain/1:a b
      joe:plain/1:x,:y
      joe:plain/1:x,
      """
    let error = #expect(throws: UserFileError.self) { try parse(text) }
    #expect(
      error?.messages == [
        "users.txt:2: a line reads name:hash or name:hash:role,role, and this one has 1 fields",
        "users.txt:3: user \"bob\": this is no test hash",
        "users.txt:4: user \"ann\" stands in line 1 already: a name is allowed once",
        "users.txt:5: a user name has 0 bytes: 1...255 are allowed",
        "users.txt:6: user \"eve\": \"a b\" is no role: 1 to 64 letters, digits, \".\", \"_\" or \"-\" are allowed",
        "users.txt:7: a line reads name:hash or name:hash:role,role, and this one has 4 fields",
        "users.txt:8: user \"joe\": \"\" is no role: 1 to 64 letters, digits, \".\", \"_\" or \"-\" are allowed",
      ])
    #expect(error?.description.contains("hunter2") == false)
  }
}
