import Middlewares
import Pipeline
import PipelineTesting
import Synchronization
import Testing

struct BearerAuthTests {
  private static let token = "0123456789abcdefghij"
  private let table = try! TokenTable([TokenTable.Token(token, user: "ann", roles: ["api"])])

  private func harness(_ auth: BearerAuth) throws -> ChainHarness<HTTPExchange> {
    try ChainHarness(
      Listener(.http, on: ":1") {
        auth
        Authorize(role: "api")
      } to: {
        Handle { try await $0.respond(text: $0.principal?.id ?? "-") }
      })
  }

  private func with(_ field: String, ip: String = "192.0.2.1") -> MockClient {
    client(.get, "/", ip: ip, ["authorization": field])
  }

  @Test func aKnownTokenPasses() async throws {
    let harness = try harness(BearerAuth(table))
    for scheme in ["Bearer", "bearer", "BEARER", "Bearer "] {
      #expect(await harness.start(with("\(scheme) \(Self.token)")).responseBody == Array("ann".utf8), "\(scheme)")
    }
  }

  @Test func theChallengeSaysWhatIsWrongAndNothingWithoutAToken() async throws {
    let harness = try harness(BearerAuth(table, realm: "api"))
    for none in [client(), with("Basic YW5uOnNlY3JldA=="), with("Bearerx y")] {
      let head = try #require(await harness.start(none).response)
      #expect(head.status == 401 && head["www-authenticate"] == "Bearer realm=\"api\"")
    }
    let bad = ["Bearer", "Bearer wrong", "Bearer a b", "Bearer =", "Bearer a,b", "Bearer \(Self.token)x", "Bearer ä"]
    for field in bad + ["Bearer " + String(repeating: "a", count: 4097)] {
      let head = try #require(await harness.start(with(field)).response)
      #expect(head.status == 401, "\(field)")
      #expect(head["www-authenticate"] == "Bearer realm=\"api\", error=\"invalid_token\"", "\(field)")
    }
  }

  @Test func aRevokedTokenIsRefusedOnTheVeryConnectionThatUsedIt() async throws {
    let auth = BearerAuth(table)
    let connection = MockHTTPExchange(with("Bearer \(Self.token)"))
    #expect(try await auth.authenticate(connection).principal.id == "ann")
    #expect(try await auth.authenticate(connection).principal.id == "ann")
    table.revoke(TokenDigest(of: Self.token))
    await #expect(throws: Rejection.self) { try await auth.authenticate(connection) }
    try table.set(.init(Self.token, user: "bob"))
    #expect(try await auth.authenticate(connection).principal.id == "bob")
    #expect(table.revokeAll(of: "bob") == 1)
    await #expect(throws: Rejection.self) { try await auth.authenticate(connection) }
  }

  @Test func aTokenExpiresAlsoOnAKeptConnection() async throws {
    let time = wallClock(1_000_000)
    try table.set(.init(Self.token, user: "ann", expires: UnixTime(seconds: 1_000_010)))
    let auth = BearerAuth(table, clock: time.clock)
    let clock = ManualClock()
    let connection = MockHTTPExchange(with("Bearer \(Self.token)"), runtime: TestRuntime(clock: clock))
    #expect(try await auth.authenticate(connection).principal.id == "ann")
    clock.advance(by: .seconds(9))
    time.set(1_000_009)
    #expect(try await auth.authenticate(connection).principal.id == "ann")
    clock.advance(by: .seconds(1))
    time.set(1_000_010)
    await #expect(throws: Rejection.self) { try await auth.authenticate(connection) }
    #expect(connection.challenge.hasSuffix("error=\"invalid_token\""))
  }

  @Test func whoTriesTokensIsTurnedAwayAndOthersAreNot() async throws {
    let harness = try harness(BearerAuth(table, limits: LoginLimits(failuresPerAddress: 3)))
    for i in 0..<3 { #expect(await harness.start(with("Bearer guess\(i)")).response?.status == 401) }
    let head = try #require(await harness.start(with("Bearer \(Self.token)")).response)
    #expect(head.status == 429 && Int(head["retry-after"]) ?? 0 > 0)
    #expect(await harness.start(with("Bearer \(Self.token)", ip: "192.0.2.2")).response?.status == 200)
  }

  @Test func aClientOfAForwardProxyGetsTheProxysStatus() async throws {
    let harness = try harness(BearerAuth(table))
    let head = try #require(await harness.start(client(.get, "http://h/")).response)
    #expect(head.status == 407 && head["proxy-authenticate"].hasPrefix("Bearer"))
    let good = client(.get, "http://h/", ["proxy-authorization": "Bearer \(Self.token)"])
    #expect(await harness.start(good).response?.status == 200)
  }

  @Test func aTableRefusesWhatCouldBeGuessedOrNotBeSent() throws {
    #expect(throws: TokenError("the token of ann has 5 characters: 16 or more, at random, are needed")) {
      try TokenTable.Token("short", user: "ann")
    }
    #expect(throws: TokenError.self) { try TokenTable.Token("0123456789 abcdefghij", user: "ann") }
    #expect(throws: TokenError("a token has no user: name one")) { try table.set(.init(Self.token, user: "")) }
    let twice = try TokenTable.Token(Self.token, user: "bob")
    #expect(throws: TokenError("a token of bob stands there twice: a token belongs to one user")) {
      try TokenTable([twice, twice])
    }
  }

  @Test func noTokenAndNoDigestIsInADumpOrALog() async throws {
    var dump = ""
    Swift.dump(BearerAuth(table), to: &dump)
    #expect(!dump.contains(Self.token))
    let rejection = await #expect(throws: Rejection.self) {
      try await BearerAuth(table).authenticate(MockHTTPExchange(with("Bearer unknownunknown")))
    }
    #expect(rejection?.description.contains("unknownunknown") == false)
    #expect("\(TokenDigest(of: Self.token))".contains("<digest>"))
  }

  @Test func aDigestIsTheOneOfSha256sum() {
    let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    #expect(TokenDigest(hex: hex) == TokenDigest(of: "abc"))
    #expect(TokenDigest(hex: hex.uppercased()) == TokenDigest(of: "abc"))
    #expect(TokenDigest(hex: String(hex.dropLast())) == nil)
    #expect(TokenDigest(hex: String(hex.dropLast()) + "g") == nil)
    for (text, digest) in [
      ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
      (
        "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
      ),
      (String(repeating: "a", count: 1_000_000), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
    ] {
      #expect(TokenDigest(hex: digest) == TokenDigest(of: text), "\(text.prefix(20))")
    }
  }
}

/// Civil time that a test moves.
func wallClock(_ seconds: Int64) -> (clock: WallClock, set: @Sendable (Int64) -> Void) {
  let time = MovableTime(seconds)
  return (WallClock { UnixTime(seconds: time.seconds.withLock { $0 }) }, { new in time.seconds.withLock { $0 = new } })
}

private final class MovableTime: Sendable {
  let seconds: Mutex<Int64>
  init(_ seconds: Int64) { self.seconds = Mutex(seconds) }
}
