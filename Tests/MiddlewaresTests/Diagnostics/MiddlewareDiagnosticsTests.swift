import CompilerChecks
import Testing

/// The sentences in which the compiler names one of our middlewares.
struct MiddlewareDiagnosticsTests {
  private static let found = Result {
    try CompilerChecks(prelude: middlewarePrelude).errors(of: middlewareMistakes)
  }

  @Test(arguments: middlewareMistakes)
  func aWrongChainIsRefusedByName(_ mistake: Mistake) throws {
    let found = try Self.found.get()[mistake.name] ?? []
    #expect(found == mistake.errors)
  }
}

private let middlewarePrelude = """
  import Pipeline
  import Middlewares
  struct Employee: Identity { var principal: Principal { Principal("e") } }
  struct BadgeAuth: Authenticator {
    func authenticate(_ exchange: Exchange) async throws -> Employee { Employee() }
  }
  struct Out: Destination { func serve(_ exchange: Exchange) async throws -> Summary { Summary() } }
  nonisolated(unsafe) var users: UserTable! = nil
  """

private let listener = "1:5: 'init(_:on:name:chain:to:)' is unavailable: "
private let joined = "1:33: 'buildPartialBlock(accumulated:next:)' is unavailable: "
private let above = "needs an authenticated connection: put an authenticator (PasswordAuth, ...) above it"
private let move = "needs an authenticated connection: move the authenticator above it"

private let middlewareMistakes: [Mistake] = [
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
    "authorizeWithoutAuthenticator",
    "_ = Listener(.tcp, on: \":1\") {\n  Authorize(role: \"admin\")\n} to: { Out() }",
    "\(listener)Authorize \(above)"),
  Mistake(
    "authorizeAboveTheAuthenticator",
    "_ = Listener(.socks5, on: \":1\") {\n  Authorize(role: \"admin\")\n  PasswordAuth(users)\n} to: { Out() }",
    "\(joined)Authorize \(move)"),
  Mistake(
    "authorizeInARouteWithoutAuthenticator",
    "_ = Listener(.http, on: \":1\") { } to: {\n  Route(\"/a\") { Authorize(role: \"admin\") } to: { Out() }\n}",
    "\(listener)Authorize in a route \(above) or above the routes"),
  Mistake(
    "authorizeForAnotherIdentity",
    "_ = Listener(.socks5, on: \":1\") {\n  BadgeAuth()\n  Authorize(role: \"admin\")\n} to: { Out() }",
    "\(joined)Authorize asks for another identity type than the one that the authenticator above gives: Authorize(role:) "
      + "fits PasswordAuth, ClientAddressAuth and AnonymousAuth; write Authorize { (user: YourIdentity) in ... } for your "
      + "own"),
  Mistake(
    "rulesForUsersWithoutAuthenticator",
    "_ = Listener(.tcp, on: \":1\") {\n  DestinationRules(for: Employee.self) { _ in AddressPolicy() }\n} to: { Out() }",
    "\(listener)DestinationRules(for:) \(above), or write the same rules for all"),
  Mistake(
    "rulesForEachWithoutAuthenticator",
    "_ = Listener(.tcp, on: \":1\") {\n  DestinationRules(forEach: { _ in AddressPolicy() })\n} to: { Out() }",
    "\(listener)DestinationRules(forEach:) \(above), or write the same rules for all"),
  Mistake(
    "rulesForUsersAboveTheAuthenticator",
    "_ = Listener(.socks5, on: \":1\") {\n  DestinationRules(for: Employee.self) { _ in AddressPolicy() }\n  BadgeAuth()\n} to: { Out() }",
    "\(joined)DestinationRules(for:) \(move)"),
  Mistake(
    "rulesForEachAboveTheAuthenticator",
    "_ = Listener(.socks5, on: \":1\") {\n  DestinationRules(forEach: { _ in AddressPolicy() })\n  BadgeAuth()\n} to: { Out() }",
    "\(joined)DestinationRules(forEach:) \(move)"),
  Mistake(
    "rulesForAnotherIdentity",
    "_ = Listener(.socks5, on: \":1\") {\n  PasswordAuth(users)\n  DestinationRules(for: Employee.self) { _ in AddressPolicy() }\n} to: { Out() }",
    "\(joined)DestinationRules(for:) names another identity type than the one that the authenticator above gives: name "
      + "that one, or write DestinationRules(forEach:), which takes every principal"),
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
