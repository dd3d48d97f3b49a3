import CompilerChecks
import Testing

/// The sentences in which the compiler names a limit or our authenticator. Those about access rules are beside this file.
struct MiddlewareDiagnosticsTests {
  private static let found = Task {
    try await CompilerChecks(prelude: middlewarePrelude).errors(of: middlewareMistakes)
  }

  @Test(arguments: middlewareMistakes)
  func aWrongChainIsRefusedByName(_ mistake: Mistake) async throws {
    let found = try await Self.found.value[mistake.name] ?? []
    #expect(found == mistake.errors)
  }
}

private let middlewarePrelude = """
  import Pipeline
  import Middlewares
  struct Out: Destination { func serve(_ exchange: Exchange) async throws -> Summary { Summary() } }
  nonisolated(unsafe) var users: UserTable! = nil
  """

private let listener = "1:5: 'init(_:on:name:chain:to:)' is unavailable: "
private let joined = "1:33: 'buildPartialBlock(accumulated:next:)' is unavailable: "
private let above = "needs an authenticated connection: put an authenticator (PasswordAuth, ...) above it"
private let move = "needs an authenticated connection: move the authenticator above it"

private let httpOnly =
  "per a header, method, route or request works on HTTP exchanges only: use another key here, or a Listener(.http, ...)"

private let middlewareMistakes: [Mistake] = [
  Mistake(
    "rateWithoutAuthenticator",
    "_ = Listener(.tcp, on: \":1\") {\n  RateLimit(.perMinute(60), per: .identity, algorithm: .tokenBucket)\n} to: { Out() }",
    "\(listener)RateLimit(per: .identity) \(above), or use per: .clientAddress"),
  Mistake(
    "rateAboveTheAuthenticator",
    "_ = Listener(.socks5, on: \":1\") {\n  RateLimit(.perMinute(60), per: .identity)\n  PasswordAuth(users)\n} to: { Out() }",
    "\(joined)RateLimit(per: .identity) \(move), or use per: .clientAddress"),
  Mistake(
    "combinationWithoutAuthenticator",
    "_ = Listener(.tcp, on: \":1\") {\n  TokenBucket(.perMinute(60), per: .identity & .destination)\n} to: { Out() }",
    "\(listener)TokenBucket per a key with .identity \(above), or use per: .clientAddress"),
  Mistake(
    "combinationAboveTheAuthenticator",
    "_ = Listener(.socks5, on: \":1\") {\n  RateLimit(.perMinute(60), per: .clientAddress & .identity)\n  PasswordAuth(users)\n} to: { Out() }",
    "\(joined)RateLimit per a key with .identity \(move), or use per: .clientAddress"),
  Mistake(
    "headerOnSOCKS5",
    "_ = Listener(.socks5, on: \":1\") {\n  TokenBucket(.perMinute(60), per: .header(\"x-api-key\"))\n} to: { Out() }",
    "2:3: 'buildExpression' is unavailable: TokenBucket \(httpOnly)"),
  Mistake(
    "methodOnTCP",
    "_ = Listener(.tcp, on: \":1\") {\n  RateLimit(.perMinute(60), per: .clientAddress & .method)\n} to: { Out() }",
    "2:3: 'buildExpression' is unavailable: RateLimit \(httpOnly)"),
  Mistake(
    "routeInAChainForAll",
    "_ = Chain {\n  ConcurrencyLimit(6, per: .route)\n}",
    "2:3: 'buildExpression' is unavailable: ConcurrencyLimit \(httpOnly)"),
  Mistake(
    "typedIdentityWithoutAuthenticator",
    "_ = Listener(.tcp, on: \":1\") {\n  TokenBucket(.perMinute(60), per: .identity(Principal.self))\n} to: { Out() }",
    "\(listener)TokenBucket per a key with .identity \(above), or use per: .clientAddress"),
  Mistake(
    "bucketWithoutAuthenticator",
    "_ = Listener(.tcp, on: \":1\") {\n  TokenBucket(.perMinute(60), per: .identity)\n} to: { Out() }",
    "\(listener)TokenBucket(per: .identity) \(above), or use per: .clientAddress"),
  Mistake(
    "bucketAboveTheAuthenticator",
    "_ = Listener(.socks5, on: \":1\") {\n  TokenBucket(.perMinute(60), per: .identity)\n  PasswordAuth(users)\n} to: { Out() }",
    "\(joined)TokenBucket(per: .identity) \(move), or use per: .clientAddress"),
  Mistake(
    "limitWithoutAuthenticator",
    "_ = Listener(.tcp, on: \":1\") {\n  ConcurrencyLimit(6, per: .identity)\n} to: { Out() }",
    "\(listener)ConcurrencyLimit(per: .identity) \(above), or use per: .clientAddress"),
  Mistake(
    "limitAboveTheAuthenticator",
    "_ = Listener(.socks5, on: \":1\") {\n  ConcurrencyLimit(6, per: .identity)\n  PasswordAuth(users)\n} to: { Out() }",
    "\(joined)ConcurrencyLimit(per: .identity) \(move), or use per: .clientAddress"),
  Mistake(
    "bandwidthWithoutAuthenticator",
    "_ = Listener(.tcp, on: \":1\") {\n  Bandwidth(.bytesPerSecond(6_000), per: .identity)\n} to: { Out() }",
    "\(listener)Bandwidth(per: .identity) \(above), or use per: .clientAddress"),
  Mistake(
    "bandwidthAboveTheAuthenticator",
    "_ = Listener(.socks5, on: \":1\") {\n  Bandwidth(.bytesPerSecond(6_000), per: .identity)\n  PasswordAuth(users)\n} to: { Out() }",
    "\(joined)Bandwidth(per: .identity) \(move), or use per: .clientAddress"),
  Mistake(
    "adaptiveWithoutAuthenticator",
    "_ = Listener(.tcp, on: \":1\") {\n  AdaptiveConcurrency(per: .identity)\n} to: { Out() }",
    "\(listener)AdaptiveConcurrency(per: .identity) \(above), or use per: .clientAddress"),
  Mistake(
    "adaptiveAboveTheAuthenticator",
    "_ = Listener(.socks5, on: \":1\") {\n  AdaptiveConcurrency(per: .identity)\n  PasswordAuth(users)\n} to: { Out() }",
    "\(joined)AdaptiveConcurrency(per: .identity) \(move), or use per: .clientAddress"),
  Mistake(
    "quotaWithoutAuthenticator",
    "_ = Listener(.tcp, on: \":1\") {\n  UsageQuota(.requests(6, per: .day), per: .identity)\n} to: { Out() }",
    "\(listener)UsageQuota(per: .identity) \(above), or use per: .optionalIdentity()"),
  Mistake(
    "quotaAboveTheAuthenticator",
    "_ = Listener(.socks5, on: \":1\") {\n  UsageQuota(.requests(6, per: .day), per: .identity)\n  PasswordAuth(users)\n} to: { Out() }",
    "\(joined)UsageQuota(per: .identity) \(move), or use per: .optionalIdentity()"),
  Mistake(
    "typedQuotaWithoutAuthenticator",
    "_ = Listener(.tcp, on: \":1\") {\n  UsageQuota(.bytes(6, per: .day), per: .identity(Principal.self))\n} to: { Out() }",
    "\(listener)UsageQuota(per: .identity) \(above), or use per: .optionalIdentity()"),
  Mistake(
    "quotaPerAddress",
    "_ = Listener(.tcp, on: \":1\") {\n  UsageQuota(.requests(6, per: .day), per: .clientAddress)\n} to: { Out() }",
    "2:3: 'init(_:per:plans:onExhausted:warnAt:headers:in:)' is unavailable: a quota belongs to an account: write per: "
      + ".identity below an authenticator (ClientAddressAuth makes one of an address), or per: .optionalIdentity(); to limit "
      + "addresses there are TokenBucket and Bandwidth"),
  Mistake(
    "passwordsOnTCP", "_ = Listener(.tcp, on: \":1\") {\n  PasswordAuth(users)\n} to: { Out() }",
    "2:3: 'buildExpression' is unavailable: it asks for a user name and a password, which this transport does not carry: "
      + "authenticate by certificate or by address, or use a Listener(.socks5, ...) or (.http, ...)"),
  Mistake(
    "shadowedPasswords",
    "_ = Listener(.socks5, on: \":1\") {\n  PasswordAuth(users).shadow()\n} to: { Out() }",
    "2:23: 'shadow' is unavailable: an authenticator cannot run in shadow: the elements below need the identity that it "
      + "gives"),
]
