import Pipeline
import PipelineTesting
import Testing

@testable import Middlewares

@Suite struct LimitKeyTests {
  /// One token each hour: the second exchange under a key is refused.
  private let once = Rate.perHour(1)

  // MARK: Each key

  @Test func networksAreAsWideAsTheyAreSaidToBe() async throws {
    let harness = try ChainHarness(.tcp) { TokenBucket(once, per: .clientAddress(v4: 24, v6: 48)) }
    #expect(await harness.run(MockClient(ip: "192.0.2.1")) == .served())
    #expect(await harness.run(MockClient(ip: "192.0.2.200")) == .refused(.rateLimited))
    #expect(await harness.run(MockClient(ip: "::ffff:192.0.2.9")) == .refused(.rateLimited))
    #expect(await harness.run(MockClient(ip: "192.0.3.1")) == .served())
    #expect(await harness.run(MockClient(ip: "2001:db8:1:2::1")) == .served())
    #expect(await harness.run(MockClient(ip: "2001:db8:1:ffff::1")) == .refused(.rateLimited))
    #expect(await harness.run(MockClient(ip: "2001:db8:2::1")) == .served())
  }

  @Test func wholeIPv6AddressesAreToldApartWhereThatIsAskedFor() async throws {
    let harness = try ChainHarness(.tcp) { TokenBucket(once, per: .clientAddress(v6: 128)) }
    #expect(await harness.run(MockClient(ip: "2001:db8::1")) == .served())
    #expect(await harness.run(MockClient(ip: "2001:db8::2")) == .served())
    #expect(await harness.run(MockClient(ip: "2001:db8::1")) == .refused(.rateLimited))
  }

  @Test func aMethodHasALimitOfItsOwn() async throws {
    let harness = try ChainHarness(.http) { TokenBucket(once, per: .method) }
    #expect(await harness.run(MockClient(method: .get)) == .served())
    #expect(await harness.run(MockClient(method: .post)) == .served())
    #expect(await harness.run(MockClient(method: "PURGE")) == .served())
    #expect(await harness.run(MockClient(method: .get)) == .refused(.rateLimited))
    #expect(await harness.run(MockClient(method: "PURGE")) == .refused(.rateLimited))
  }

  @Test func aFieldIsComparedByteByByteAndThoseWithoutItShareOneName() async throws {
    let harness = try ChainHarness(.http) { TokenBucket(once, per: .header("x-api-key")) }
    #expect(await harness.run(client(["x-api-key": "a"])) == .served())
    #expect(await harness.run(client(["X-API-Key": "a"])) == .refused(.rateLimited))
    #expect(await harness.run(client(["x-api-key": "A"])) == .served())
    #expect(await harness.run(client([:])) == .served())
    #expect(await harness.run(client([:])) == .refused(.rateLimited))
    // A value that spells the name of those who have none is not one of them.
    #expect(await harness.run(client(["x-api-key": "anonymous"])) == .served())
  }

  @Test func thoseWithoutAFieldCanBeExempt() async throws {
    let harness = try ChainHarness(.http) { TokenBucket(once, per: .header("x-api-key", absent: .exempt)) }
    for _ in 0..<3 { #expect(await harness.run(client([:])) == .served()) }
  }

  @Test func aRequestsClosureSeesTheRequest() async throws {
    let harness = try ChainHarness(.http) { TokenBucket(once, per: .request("tenant") { $0.queryItem("tenant") }) }
    #expect(await harness.run(MockClient(target: "/?tenant=a")) == .served())
    #expect(await harness.run(MockClient(target: "/?tenant=b")) == .served())
    #expect(await harness.run(MockClient(target: "/x?tenant=a")) == .refused(.rateLimited))
    #expect(await harness.run(MockClient(target: "/")) == .served())
    #expect(await harness.run(MockClient(target: "/")) == .served())
  }

  @Test func routesThatShareAChainHaveLimitsOfTheirOwn() async throws {
    let shared = TokenBucket(once, per: .route)
    let harness = try ChainHarness(
      Listener(.http, on: "127.0.0.1:1") {
      } to: {
        Route("/a") {
          shared
        } to: {
          Respond(204)
        }
        Route("/a/b", methods: [.get]) {
        } to: {
          Respond(204)
        }
        Route("/b", methods: [.get]) {
          shared
        } to: {
          Respond(204)
        }
      })
    #expect(await status(harness, "/a") == 204)
    #expect(await status(harness, "/b") == 204)
    #expect(await status(harness, "/a/x") == 429)
    #expect(await status(harness, "/b") == 429)
  }

  @Test func aRouteKeyAboveTheRoutesIsRefused() {
    let found = complaints { _ = try ChainHarness(.http) { TokenBucket(once, per: .route) } }
    #expect(
      found == [
        "token-bucket: per: .route stands above the routes, where none is known yet: move it into a route's chain"
      ])
  }

  @Test func whoHasNoPrincipalSharesOneNamedLimit() async throws {
    let harness = try ChainHarness(.tcp) {
      SetsPrincipal()
      TokenBucket(once, per: .optionalIdentity(anonymous: "guests"), overrides: [.named("guests"): .perHour(2)])
    }
    #expect(await harness.run(MockClient(ip: "192.0.2.1")) == .served())
    #expect(await harness.run(MockClient(ip: "192.0.2.2")) == .served())
    #expect(await harness.run(MockClient(ip: "192.0.2.3")) == .refused(.rateLimited))
    #expect(await harness.run(.unix(uid: 1)) == .served())
    #expect(await harness.run(.unix(uid: 1)) == .refused(.rateLimited))
    #expect(await harness.run(.unix(uid: 2)) == .served())
  }

  // MARK: Combinations

  @Test func aCombinationIsOneLimitForEachPair() async throws {
    let harness = try ChainHarness(.http) {
      NamedByClient()
      TokenBucket(once, per: .identity & .method)
    }
    #expect(await harness.run(MockClient(user: "ada", method: .get)) == .served())
    #expect(await harness.run(MockClient(user: "ada", method: .post)) == .served())
    #expect(await harness.run(MockClient(user: "grace", method: .get)) == .served())
    #expect(await harness.run(MockClient(ip: "192.0.2.9", user: "ada", method: .get)) == .refused(.rateLimited))
  }

  @Test func keysOfEveryKindCombine() async throws {
    let three = try ChainHarness(.http) {
      TokenBucket(once, per: .clientAddress & .method & .header("x-tenant"))
    }
    #expect(await three.run(client(["x-tenant": "a"])) == .served())
    #expect(await three.run(client(["x-tenant": "b"])) == .served())
    #expect(await three.run(client(["x-tenant": "a"])) == .refused(.rateLimited))
    let ends = try ChainHarness(.socks5) {
      NamedByClient()
      ConcurrencyLimit(1, per: .destination & .identity)
    }
    let running = await ends.start(MockClient(user: "ada", destination: "a.example:1"))
    #expect(await ends.run(MockClient(user: "ada", destination: "a.example:2")) == .served())
    #expect(await ends.run(MockClient(user: "grace", destination: "a.example:1")) == .served())
    #expect(await ends.run(MockClient(user: "ada", destination: "a.example:1")) == .refused(.overloaded))
    await running.finish()
  }

  @Test func aCombinationWithAnExemptPartIsExempt() async throws {
    let harness = try ChainHarness(.http) {
      TokenBucket(once, per: .clientAddress & .header("x-api-key", absent: .exempt))
    }
    for _ in 0..<3 { #expect(await harness.run(client([:])) == .served()) }
  }

  @Test func partsDoNotRunIntoEachOther() {
    let seed = KeySeed.process
    #expect(LimitKey(Pair(a: "ab", b: "c"), seed: seed) != LimitKey(Pair(a: "a", b: "bc"), seed: seed))
    #expect(LimitKey("", seed: seed) != LimitKey("\0", seed: seed))
    #expect(LimitKey("12345678", seed: seed) != LimitKey("12345678\0", seed: seed))
  }

  // MARK: The same in every process

  @Test func aSecretMakesTheSameKeysEverywhere() {
    let here = KeySeed(secret: "correct horse battery staple")
    let there = KeySeed(secret: "correct horse battery staple")
    #expect(LimitKey("ann", seed: here) == LimitKey("ann", seed: there))
    #expect(LimitKey("ann", seed: here) != LimitKey("ann", seed: KeySeed(secret: "another")))
    // A fixed point: another process, or another release, must find the same balance.
    #expect(LimitKey("ann", seed: here) == LimitKey("ann", seed: KeySeed(secret: "correct horse battery staple")))
    #expect(String(describing: here) == "<seed>")
    #expect(Mirror(reflecting: here).children.isEmpty)
  }

  @Test func wordsAndBytesAreHashedTheSame() {
    var words = StableHash(seed: (1, 2))
    var bytes = StableHash(seed: (1, 2))
    for word in [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908] as [UInt64] { words.add(word: word) }
    for byte in 0..<16 as Range<UInt8> { bytes.add(byte) }
    #expect(words.finish() == bytes.finish())
  }

  // MARK: Overrides

  @Test func aPlanReplacesTheUsualRate() async throws {
    let harness = try ChainHarness(.socks5) {
      NamedByClient()
      TokenBucket(once, per: .identity, overrides: [.identity("ada"): .perHour(3), .identity("bob"): .perHour(2)])
    }
    #expect(await admitted(harness, MockClient(user: "ada")) == 3)
    #expect(await admitted(harness, MockClient(user: "bob")) == 2)
    #expect(await admitted(harness, MockClient(user: "eve")) == 1)
  }

  @Test func aClosureMakesThePlanOutOfTheIdentity() async throws {
    let harness = try ChainHarness(.socks5) {
      NamedByClient()
      TokenBucket(once, per: .identity, overrides: .by { $0.id.hasPrefix("a") ? .perHour(2) : nil })
    }
    #expect(await admitted(harness, MockClient(user: "ada")) == 2)
    #expect(await admitted(harness, MockClient(user: "eve")) == 1)
  }

  @Test func aTypedIdentityCarriesItsPlan() async throws {
    let harness = try ChainHarness(.socks5) {
      PlansByName()
      TokenBucket(once, per: .identity(Customer.self) & .destination, overrides: .by { .perHour($0.plan) })
    }
    #expect(await admitted(harness, MockClient(user: "aaa")) == 3)
    #expect(await admitted(harness, MockClient(user: "aaa", destination: "b.example:1")) == 3)
    #expect(await admitted(harness, MockClient(user: "b")) == 1)
  }

  @Test func aListNamesAPartOfACombination() async throws {
    let harness = try ChainHarness(.http) {
      TokenBucket(
        once, per: .clientAddress & .method,
        overrides: [.address("192.0.2.7"): .perHour(3), .value("POST"): .perHour(2)])
    }
    #expect(await admitted(harness, MockClient(ip: "192.0.2.1", method: .get)) == 1)
    #expect(await admitted(harness, MockClient(ip: "192.0.2.1", method: .post)) == 2)
    #expect(await admitted(harness, MockClient(ip: "192.0.2.7", method: .get)) == 3)
    // The address is written first.
    #expect(await admitted(harness, MockClient(ip: "192.0.2.7", method: .post)) == 3)
  }

  @Test func aConcurrencyLimitTakesOverrides() async throws {
    let harness = try ChainHarness(.socks5) {
      NamedByClient()
      ConcurrencyLimit(1, per: .identity, overrides: [.identity("ada"): 2])
    }
    let first = await harness.start(MockClient(user: "ada"))
    let second = await harness.start(MockClient(user: "ada"))
    let third = await harness.start(MockClient(user: "ada"))
    #expect(first.isAtEnd && second.isAtEnd)
    #expect(third.rejection?.detail == "2 at once and 0 waiting, per identity")
    let other = await harness.start(MockClient(user: "eve"))
    #expect(await harness.run(MockClient(user: "eve")) == .refused(.overloaded))
    for run in [first, second, other] { await run.finish() }
  }

  @Test func whatCannotBeAnOverrideIsRefusedByName() {
    let found = complaints {
      _ = try ChainHarness(.tcp) {
        TokenBucket(
          once, per: .clientAddress(v4: 33, v6: 0),
          overrides: [
            .identity("ada"): .perHour(1), .address("nonsense"): .perHour(1), .address("192.0.2.1"): .perHour(0),
          ])
      }
    }
    #expect(
      found == [
        "token-bucket: networks of 33 bits for IPv4: 8 to 32 are allowed",
        "token-bucket: networks of 0 bits for IPv6: 16 to 128 are allowed",
        "token-bucket: an override for identity \"ada\", which is no key of a limit per client-address/33/0",
        "token-bucket: an override for address \"nonsense\", which is no key of a limit per client-address/33/0",
        "token-bucket: the override for address \"192.0.2.1\": a rate of 0: 1 to 1,000,000,000 tokens per period are allowed",
      ])
  }

  // MARK: What the tests are made of

  private func client(_ fields: KeyValuePairs<HeaderName, String>) -> MockClient {
    var client = MockClient()
    for (name, value) in fields { client.request.fields.add(name, value) }
    return client
  }

  private func status(_ harness: ChainHarness<HTTPExchange>, _ target: String) async -> Int? {
    await harness.start(MockClient(target: target)).response?.status
  }

  private func admitted<Carrier>(_ harness: ChainHarness<Carrier>, _ client: MockClient) async -> Int {
    var count = 0
    while await harness.run(client) == .served() { count += 1 }
    return count
  }
}

/// The principal of a Unix peer; nobody else has one.
private struct SetsPrincipal: Middleware {
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    if case .unix(let uid) = exchange.client.kind { exchange.principal = Principal("user \(uid)") }
    return try await next()
  }
}

private struct Customer: Identity {
  let principal: Principal
  let plan: Int
}

/// As many an hour as the name has letters.
private struct PlansByName: Authenticator {
  func authenticate(_ exchange: PasswordExchange) async throws -> Customer {
    guard let credentials = try await exchange.credentials() else { throw Rejection(.credentialsRequired) }
    let name = String(decoding: credentials.user, as: UTF8.self)
    return Customer(principal: Principal(name), plan: name.count)
  }
}

private struct Pair: KeyValue {
  let a: String
  let b: String
  func add(to hash: inout KeyHash) {
    hash.add(a)
    hash.add(b)
  }
}
