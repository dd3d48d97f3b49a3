import CMallocCount
import Glibc
import JWTAuthentication
import Middlewares
import Pipeline
import PipelineTesting
import Synchronization
import Testing

/// A wall clock that shows 1000 s at the beginning of a manual clock.
private func wall(_ clock: ManualClock) -> WallClock {
  WallClock { UnixTime(seconds: 999 + Int64(clock.now.nanoseconds / 1_000_000_000)) }
}

private func request(_ exchange: MockHTTPExchange, _ field: String?, proxy: Bool = false) {
  exchange.recycle(id: exchange.id + 1)
  exchange.request = HTTPRequestHead(method: .get, target: proxy ? "http://a/" : "/")
  if let field { exchange.request.fields.set(proxy ? "proxy-authorization" : "authorization", field) }
}

struct JWTAuthTests {
  private let clock = ManualClock()
  private let connection: MockHTTPExchange
  private let auth: JWTAuth

  init() throws {
    connection = MockHTTPExchange(MockClient(), runtime: TestRuntime(clock: clock))
    auth = JWTAuth(.keys(try .hs256(secret: TokenMaker.secret)), realm: "here", clock: wall(clock))
  }

  private func login(_ field: String?, proxy: Bool = false) async -> String {
    request(connection, field, proxy: proxy)
    do { return try await auth.authenticate(connection).principal.id } catch { return "\(error)" }
  }

  @Test func aGoodTokenIsItsSubject() async throws {
    let token = TokenMaker.hs256(#"{"sub":"ann","exp":2000,"scope":"a b"}"#)
    request(connection, "Bearer " + token)
    let user = try await auth.authenticate(connection)
    #expect(user.principal == Principal("ann"))
    #expect(user.claims.words("scope") == ["a", "b"])
    #expect(user.scopes == ["a", "b"])
    #expect(await login("bearer   " + token) == "ann")
    #expect(await login("BEARER " + token, proxy: true) == "ann")
  }

  @Test(arguments: [nil, "", "Bearer", "Bearer ", "Basic YW5uOnNlY3JldA==", "Bearerx a.b.c", "Token a.b.c"])
  func whoSendsNoneIsAskedForOne(_ field: String?) async {
    #expect(await login(field) == "credentialsRequired: the client sent no bearer token")
    #expect(connection.challenge == "Bearer realm=\"here\"")
  }

  @Test func whoSendsAWrongOneLearnsThatAndNoMore() async {
    let token = TokenMaker.hs256(#"{"sub":"ann","exp":10}"#)
    #expect(await login("Bearer " + token) == "credentialsInvalid: the token is refused: it has expired")
    #expect(connection.challenge == "Bearer realm=\"here\", error=\"invalid_token\"")
    let wrong = TokenMaker.hs256(key: Array("another secret of thirty-two bytes, no less".utf8))
    #expect(await login("Bearer " + wrong) == "credentialsInvalid: the token is refused: its signature is wrong")
    #expect(connection.challenge == "Bearer realm=\"here\", error=\"invalid_token\"")
  }

  @Test func theClientSees401AndAForwardProxys407() async throws {
    let harness = try ChainHarness(.http) { auth }
    let client = MockClient()
    let run = await harness.send(client) { _ in Summary() }
    #expect(run.response?.status == 401)
    #expect(run.response?.fields["www-authenticate"] == "Bearer realm=\"here\"")
    var proxied = MockClient(target: "http://a/")
    proxied.request.fields.set("proxy-authorization", "Bearer x")
    let refused = await harness.send(proxied) { _ in Summary() }
    #expect(refused.response?.status == 407)
    #expect(refused.response?.fields["proxy-authenticate"] == "Bearer realm=\"here\", error=\"invalid_token\"")
  }

  @Test func noTokenReachesTheLog() async {
    for token in ["secretsecret.secretsecret.secretsecret", TokenMaker.hs256(#"{"sub":"secretsecret","exp":1}"#)] {
      let why = await login("Bearer " + token)
      #expect(!why.contains("secretsecret") && !why.contains(token))
    }
  }

  @Test func aRememberedTokenEndsWhenItExpires() async {
    let token = TokenMaker.hs256(#"{"sub":"ann","exp":1010}"#)
    #expect(await login("Bearer " + token) == "ann")
    clock.advance(by: .seconds(39))
    #expect(await login("Bearer " + token) == "ann")
    clock.advance(by: .seconds(1))
    #expect(await login("Bearer " + token).hasSuffix("it has expired"))
  }

  @Test func anotherTokenIsJudgedOnItsOwn() async {
    #expect(await login("Bearer " + TokenMaker.hs256()) == "ann")
    #expect(await login("Bearer " + TokenMaker.hs256(#"{"sub":"bob","exp":2000}"#)) == "bob")
    #expect(await login("Bearer " + TokenMaker.hs256() + "x").hasPrefix("credentialsInvalid"))
    #expect(await login(nil).hasPrefix("credentialsRequired"))
  }

  @Test func settingsOutOfRangeAreNamed() {
    let problem = #expect(throws: ConfigurationError.self) {
      _ = try ChainHarness(.http) {
        JWTAuth(
          .keys([]), JWTRequirements(leeway: .seconds(301), maxBytes: 1), realm: "a\"b", remembering: .seconds(-1))
      }
    }
    #expect(
      problem?.messages == [
        "jwt-auth: leeway of 301.0 seconds: 0 to 300 seconds are allowed",
        "jwt-auth: remembering of -1.0 seconds: 0 seconds to 1 hour are allowed",
        "jwt-auth: maxBytes of 1: 64 to 65536 are allowed",
        "jwt-auth: realm \"a\"b\": printable ASCII without quotation marks and backslashes is allowed",
        "jwt-auth: no key: at least one is needed",
      ])
  }

  /// Of an optimised build: a debug build boxes what the other keeps on the stack.
  @Test(.enabled(if: malloc_is_counted() != 0 && !isDebugBuild)) func aRememberedTokenAllocatesNothing() async throws {
    request(connection, "Bearer " + TokenMaker.signed("ES256", pem: TestKeys.ecPrivate))
    let auth = JWTAuth(.keys(try .es256(pem: TestKeys.ecPublic)), clock: wall(clock))
    for _ in 0..<10 { _ = try await auth.authenticate(connection) }
    var fewest = UInt.max
    for _ in 0..<10 {
      let before = malloc_count_of_this_thread()
      for _ in 0..<100 { _ = try await auth.authenticate(connection) }
      fewest = min(fewest, malloc_count_of_this_thread() &- before)
    }
    #expect(fewest <= 1, "\(fewest) in 100 requests")
  }

  /// Prints what Docs/JWT.md says of the cost: CPU time, so that a busy machine changes little.
  @Test(.enabled(if: !isDebugBuild)) func theCostOfAVerification() throws {
    for (name, key, token) in [
      ("HS256", try JWTKey.hs256(secret: TokenMaker.secret), TokenMaker.hs256()),
      ("RS256", try .rs256(pem: TestKeys.rsaPublic), TokenMaker.signed("RS256", pem: TestKeys.rsaPrivate)),
      ("ES256", try .es256(pem: TestKeys.ecPublic), TokenMaker.signed("ES256", pem: TestKeys.ecPrivate)),
      ("EdDSA", try .edDSA(pem: TestKeys.edPublic), TokenMaker.signed("EdDSA", pem: TestKeys.edPrivate)),
    ] {
      let verifier = JWTVerifier(keys: [key])
      let bytes = Array(token.utf8)
      var best = Int.max
      for _ in 0..<20 {
        let start = cpuNanoseconds()
        for _ in 0..<50 { _ = try verifier.verify(bytes, now: UnixTime(seconds: 1000)) }
        best = min(best, (cpuNanoseconds() - start) / 50)
      }
      print("\(name): \(best) ns")
      #expect(best < 500_000)
    }
  }

  private func cpuNanoseconds() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return time.tv_sec * 1_000_000_000 + time.tv_nsec
  }
}

private var isDebugBuild: Bool {
  #if DEBUG
    true
  #else
    false
  #endif
}

// MARK: - Keys from a file

struct JWTKeyFileTests {
  private let path = "/tmp/sluice-jwks-\(getpid())-\(UInt64.random(in: .min ... .max)).json"

  private func write(_ bytes: [UInt8]) throws {
    let file = try #require(fopen(path, "w"))
    fwrite(bytes, 1, bytes.count, file)
    fclose(file)
  }

  @Test func aFileIsReadWhenTheAppIsBuiltAndAgainWhenItChanges() async throws {
    defer { unlink(path) }
    try write(TokenMaker.jwks(TokenMaker.secretJWK()))
    let services = ManualServices()
    let auth = JWTAuth(.file(path), clock: wall(services.clock))
    _ = try ChainHarness(.http) { auth }
    let connection = MockHTTPExchange(MockClient(), runtime: TestRuntime(clock: services.clock))
    func login(_ token: String) async -> String {
      request(connection, "Bearer " + token)
      do { return try await auth.authenticate(connection).principal.id } catch { return "\(error)" }
    }
    let old = TokenMaker.hs256()
    let new = TokenMaker.signed("ES256", pem: TestKeys.ecPrivate, id: "e")
    #expect(await login(old) == "ann")
    #expect(await login(new).hasSuffix("there is no key of its algorithm with its kid"))
    let task = Task { try await auth.run(services) }
    await services.clock.sleepers(1)
    try write(TokenMaker.jwks(TokenMaker.ecJWK()))
    services.clock.advance(by: .seconds(10))
    await services.clock.sleepers(1)
    #expect(
      await login(old).hasSuffix("there is no key of its algorithm with its kid"), "what was remembered is forgotten")
    #expect(await login(new) == "ann")
    // A broken file changes nothing, and is reported once.
    try write(Array("{".utf8))
    for _ in 0..<3 {
      services.clock.advance(by: .seconds(10))
      await services.clock.sleepers(1)
    }
    #expect(await login(new) == "ann")
    task.cancel()
    _ = await task.result
    #expect(
      services.log.text == [
        "jwt-auth: \(path): keys: ES256 \"e\"",
        "jwt-auth: \(path): the keys stay as they are: the key set is no valid JSON: a string is missing at byte 1",
      ])
  }

  @Test func withoutItsFileTheAppIsNotBuilt() {
    let problem = #expect(throws: ConfigurationError.self) {
      _ = try ChainHarness(.http) { JWTAuth(.file("/nowhere/jwks.json")) }
    }
    #expect(
      problem?.messages == ["jwt-auth: /nowhere/jwks.json: it cannot be opened: No such file or directory"])
  }
}

// MARK: - Keys from a URL

/// An issuer that a test scripts.
private final class Issuer: HTTPClient {
  typealias Answer = @Sendable (Exchange) async throws -> HTTPClientResponse
  private let state = Mutex<(answer: Answer, calls: Int)>(({ _ in HTTPClientResponse(status: 200) }, 0))

  var description: String { "http://issuer" }
  var calls: Int { state.withLock { $0.calls } }

  func answers(_ answer: @escaping Answer) { state.withLock { $0.answer = answer } }
  func publishes(_ keys: String..., status: Int = 200) {
    let body = Array(#"{"keys":[\#(keys.joined(separator: ","))]}"#.utf8)
    answers { _ in HTTPClientResponse(status: status, body: body) }
  }

  func send(
    _ method: HTTPMethod, _ target: String, _ fields: HeaderFields, on exchange: Exchange, atMost limit: Int
  ) async throws -> HTTPClientResponse {
    #expect(method == .get && target == "/jwks")
    let answer = state.withLock { state in
      state.calls += 1
      return state.answer
    }
    return try await answer(exchange)
  }
}

struct JWTKeyURLTests {
  private let issuer = Issuer()
  private let harness: ChainHarness<HTTPExchange>
  private let clock = ManualClock()
  private let r = TokenMaker.signed("RS256", pem: TestKeys.rsaPrivate, #"{"sub":"ann","exp":200000}"#, id: "r")
  private let e = TokenMaker.signed("ES256", pem: TestKeys.ecPrivate, #"{"sub":"bob","exp":200000}"#, id: "e")

  init() throws {
    let auth = JWTAuth(.url(issuer, "/jwks"), clock: wall(clock))
    harness = try ChainHarness(.http, clock: clock) { auth }
  }

  private func client(_ token: String) -> MockClient {
    var client = MockClient()
    client.request.fields.set("authorization", "Bearer " + token)
    return client
  }

  private func status(_ token: String) async -> Int {
    let run = await harness.send(client(token)) { exchange in
      try await (exchange as! HTTPExchange).respond(200)
    }
    return run.response?.status ?? 0
  }

  @Test func theFirstRequestFetchesAndTheOthersUseWhatItBrought() async {
    issuer.publishes(TokenMaker.rsaJWK(), TokenMaker.ecJWK())
    for _ in 0..<3 {
      #expect(await status(r) == 200)
      #expect(await status(e) == 200)
    }
    #expect(issuer.calls == 1)
    clock.advance(by: .seconds(300))
    #expect(await status(r) == 200)
    #expect(await status(r) == 200)
    #expect(issuer.calls == 2)
    #expect(harness.log.text == ["jwt-auth: http://issuer/jwks: keys: RS256 \"r\", ES256 \"e\""])
  }

  @Test func oneFetchesAndThoseWhoHaveNoKeysWait() async throws {
    let gate = Signal()
    let body = TokenMaker.jwks(TokenMaker.rsaJWK())
    issuer.answers { exchange in
      try await exchange.runtime.wait(for: gate)
      return HTTPClientResponse(status: 200, body: body)
    }
    var runs: [ExchangeRun] = []
    for _ in 0..<3 { runs.append(await harness.start(client(r))) }
    #expect(runs.map(\.isAtEnd) == [false, false, false])
    gate.fire()
    await runs[0].settle()
    #expect(runs.map(\.isAtEnd) == [true, true, true])
    #expect(issuer.calls == 1)
    for run in runs { await run.finish() }
    // With old keys nobody but the one that fetches waits.
    let second = Signal()
    issuer.answers { exchange in
      try await exchange.runtime.wait(for: second)
      return HTTPClientResponse(status: 200, body: body)
    }
    clock.advance(by: .seconds(301))
    let fetching = await harness.start(client(r))
    #expect(!fetching.isAtEnd)
    #expect(await status(r) == 200)
    #expect(issuer.calls == 2)
    second.fire()
    await fetching.settle()
    #expect(fetching.isAtEnd)
    await fetching.finish()
  }

  @Test func theOneThatFetchesLeavesAndTheNextOneFetches() async {
    let gate = Signal()
    let body = TokenMaker.jwks(TokenMaker.rsaJWK())
    issuer.answers { exchange in
      try await exchange.runtime.wait(for: gate)
      return HTTPClientResponse(status: 200, body: body)
    }
    let first = await harness.start(client(r))
    let second = await harness.start(client(r))
    await first.cut()
    #expect(first.outcome == .refused(.clientGone))
    #expect(issuer.calls == 2)
    gate.fire()
    await second.settle()
    #expect(second.isAtEnd)
    await second.finish()
  }

  @Test func aNewKeyIsFetchedWhenATokenNamesIt() async {
    issuer.publishes(TokenMaker.rsaJWK())
    #expect(await status(r) == 200)
    issuer.publishes(TokenMaker.ecJWK())
    clock.advance(by: .seconds(31))
    #expect(await status(e) == 200)
    #expect(issuer.calls == 2)
    #expect(await status(r) == 401, "the old key is gone")
  }

  @Test func unknownKeysDoNotMakeEveryRequestFetch() async {
    issuer.publishes(TokenMaker.rsaJWK())
    #expect(await status(r) == 200)
    for _ in 0..<5 { #expect(await status(e) == 401) }
    #expect(issuer.calls == 1, "the keys are younger than the pause")
    clock.advance(by: .seconds(30))
    for _ in 0..<5 { #expect(await status(e) == 401) }
    #expect(issuer.calls == 2)
  }

  @Test func aDeadIssuerLeavesTheKeysForAWhile() async {
    issuer.publishes(TokenMaker.rsaJWK())
    #expect(await status(r) == 200)
    issuer.answers { _ in throw Rejection(.connectionRefused) }
    for _ in 0..<10 {
      clock.advance(by: .seconds(300))
      #expect(await status(r) == 200)
      #expect(await status(r) == 200)
    }
    #expect(issuer.calls == 11)
    #expect(harness.log.text.count == 2, "the failure is told once")
    #expect(harness.log.text.last == "jwt-auth: http://issuer/jwks: the keys stay as they are: connectionRefused")
    clock.advance(by: .seconds(86_400))
    #expect(await status(r) == 503)
    issuer.publishes(TokenMaker.rsaJWK())
    clock.advance(by: .seconds(30))
    #expect(await status(r) == 200)
    #expect(harness.log.text.count == 3)
  }

  @Test func withoutKeysThereIsNoService() async {
    issuer.publishes(status: 500)
    #expect(await status(r) == 503)
    #expect(await status(r) == 503)
    #expect(issuer.calls == 1, "not every request asks")
    clock.advance(by: .seconds(30))
    issuer.publishes(TokenMaker.rsaJWK())
    #expect(await status(r) == 200)
    #expect(harness.log.text.first == "jwt-auth: http://issuer/jwks: no keys: the answer is 500, not 200")
  }

  @Test func aPublishedSecretIsNoKey() async {
    issuer.publishes(TokenMaker.secretJWK())
    #expect(await status(TokenMaker.hs256()) == 503)
    #expect(harness.log.text.first?.contains("a secret (\"oct\") is not taken from a URL") == true)
  }

  @Test func aSlowIssuerIsGivenUp() async {
    issuer.answers { exchange in
      try await exchange.sleep(for: .seconds(60))
      return HTTPClientResponse(status: 200)
    }
    let run = await harness.start(client(r))
    clock.advance(by: .seconds(5))
    await run.settle()
    #expect(run.response?.status == 503)
  }

  @Test func aReloadKeepsTheKeysOfTheSameSource() async throws {
    let old = JWTAuth(.url(issuer, "/jwks"))
    var same = JWTAuth(.url(issuer, "/jwks"))
    same.adopt(from: old)
    #expect(same.state === old.state)
    var other = JWTAuth(.url(issuer, "/others"))
    other.adopt(from: old)
    #expect(other.state !== old.state)
  }
}
