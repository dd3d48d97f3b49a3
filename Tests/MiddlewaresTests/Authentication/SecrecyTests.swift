import Middlewares
import Pipeline
import PipelineTesting
import Testing

/// What can be printed of anything that touches passwords.
struct SecrecyTests {
  private let verifier = CountingVerifier()

  /// Everything that Swift can say about a value.
  private func print(_ value: Any) -> String {
    var dumped = ""
    dump(value, to: &dumped)
    return "\(value) \(String(reflecting: value)) \(dumped)"
  }

  @Test func nothingThatCanBePrintedHoldsAPasswordOrAHash() async throws {
    let table = try UserTable.testing(verifier, "ann:hunter2")
    let auth = PasswordAuth(table)
    let world = LoginWorld()
    _ = await Login("ann", "hunter2").run(auth, in: world)
    let hash = try #require(table["ann"]?.passwordHash)
    let bytes = Array("hunter2".utf8)
    let things: [Any] = [
      table, auth, auth.state as Any, auth.parameters, table.users, hash,
      PasswordCredentials(user: "bob", password: "hunter2"),
      verifier.digest(user: bytes, password: bytes),
    ]
    for thing in things {
      let text = print(thing)
      #expect(!text.contains("hunter2"))
      #expect(!text.contains(hash.text.reveal()))
      #expect(!text.contains("\(bytes)"))
      for byte in bytes.prefix(3) { #expect(!text.contains("- \(byte)\n")) }
    }
    #expect(print(verifier.digest(user: [1], password: [2])).contains("<digest>"))
  }

  @Test func noRejectionQuotesAPasswordOrANameThatIsNoUser() async throws {
    let auth = PasswordAuth(try .testing(verifier, "ann:secret"), limits: LoginLimits(failuresPerUser: 2))
    let world = LoginWorld()
    var texts: [String] = []
    // People type passwords into the field for the name.
    for login in [Login("hunter2", "x"), Login("ann", "hunter2"), Login("ann", "hunter2"), Login("ann", "hunter2")] {
      let result = await login.run(auth, in: world)
      #expect(result.kind != nil)
      texts.append(result.text)
    }
    #expect(texts.last?.hasPrefix("rateLimited") == true)
    #expect(texts.allSatisfy { !$0.contains("hunter2") })
    #expect(texts[0] == "credentialsInvalid: unknown user")
    #expect(texts[1] == "credentialsInvalid: wrong password of user ann")
  }

  @Test func nothingIsLogged() async throws {
    let table = try UserTable.testing(verifier, "ann:secret")
    let harness = try ChainHarness(.socks5) { PasswordAuth(table) }
    #expect(await harness.run(MockClient(user: "ann", password: "hunter2")) == .refused(.credentialsInvalid))
    #expect(await harness.run(MockClient(user: "ann", password: "secret")) == .served())
    #expect(harness.log.text.isEmpty)
  }
}
