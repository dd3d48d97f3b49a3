import CompilerChecks
import Testing

/// What the compiler says of chains in which an access rule stands where it cannot.
struct AccessDiagnosticsTests {
  private static let answers = Task { try await CompilerChecks(prelude: prelude).errors(of: mistakes) }

  @Test(arguments: mistakes)
  func aWrongChainIsRefusedInOneSentenceThatNamesTheCulprit(_ mistake: Mistake) async throws {
    #expect(try await Self.answers.value[mistake.name] ?? [] == mistake.errors)
  }

  @Test func rightProgramsCompile() async throws {
    #expect(try await CompilerChecks(prelude: prelude).errors(of: rightPrograms) == [:])
  }
}

private let prelude = """
  import Middlewares
  import Pipeline
  struct Employee: Identity { var principal: Principal { Principal("e") } }
  struct BadgeAuth: Authenticator {
    func authenticate(_ exchange: Exchange) async throws -> Employee { Employee() }
  }
  nonisolated(unsafe) var flag = true
  struct Out: Destination { func serve(_ exchange: Exchange) async throws -> Summary { Summary() } }
  """

private let joined = "'buildPartialBlock(accumulated:next:)' is unavailable: "
private let listener = "'init(_:on:name:chain:to:)' is unavailable: "
private let above = "needs an authenticated connection: put an authenticator (PasswordAuth, ...) above it"
private let moveUp = "needs an authenticated connection: move the authenticator above it"

private let mistakes: [Mistake] = [
  Mistake(
    "authorizeAlone", "_ = Listener(.socks5, on: \":1\") { Authorize(role: \"admin\") } to: { Out() }",
    "1:5: \(listener)Authorize \(above)"),
  Mistake(
    "rulesForAlone",
    "_ = Listener(.tcp, on: \":1\") { DestinationRules(for: Employee.self) { _ in .publicOnly } } to: { Out() }",
    "1:5: \(listener)DestinationRules(for:) \(above), or write the same rules for all"),
  Mistake(
    "rulesForEachAlone",
    "_ = Listener(.socks5, on: \":1\") { DestinationRules(forEach: { _ in .publicOnly }) } to: { Out() }",
    "1:5: \(listener)DestinationRules(forEach:) \(above), or write the same rules for all"),
  Mistake(
    "authorizeAbove",
    "_ = Listener(.socks5, on: \":1\") {\n  Authorize(role: \"admin\")\n  AnonymousAuth()\n} to: { Out() }",
    "1:33: \(joined)Authorize \(moveUp)"),
  Mistake(
    "wrappedAuthorizeAbove",
    "_ = Listener(.socks5, on: \":1\") {\n  Authorize(role: \"a\").named(\"x\").shadow { _ in }\n  AnonymousAuth()\n} to: { Out() }",
    "1:33: \(joined)Authorize \(moveUp)"),
  Mistake(
    "rulesForAbove",
    "_ = Listener(.socks5, on: \":1\") {\n  DestinationRules(for: Employee.self) { _ in .publicOnly }\n  BadgeAuth()\n} to: { Out() }",
    "1:33: \(joined)DestinationRules(for:) \(moveUp)"),
  Mistake(
    "rulesForEachAbove",
    "_ = Listener(.socks5, on: \":1\") {\n  DestinationRules(forEach: { _ in .publicOnly })\n  BadgeAuth()\n} to: { Out() }",
    "1:33: \(joined)DestinationRules(forEach:) \(moveUp)"),
  Mistake(
    "authorizeOfAnother",
    "_ = Listener(.socks5, on: \":1\") {\n  BadgeAuth()\n  Authorize(role: \"admin\")\n} to: { Out() }",
    "1:33: \(joined)Authorize asks for another identity type than the one that the authenticator above gives: "
      + "Authorize(role:) fits PasswordAuth, ClientAddressAuth and AnonymousAuth; write Authorize { (user: YourIdentity) in "
      + "... } for your own"),
  Mistake(
    "rulesForAnother",
    "_ = Listener(.socks5, on: \":1\") {\n  AnonymousAuth()\n  DestinationRules(for: Employee.self) { _ in .publicOnly }\n} to: { Out() }",
    "1:33: \(joined)DestinationRules(for:) names another identity type than the one that the authenticator above gives: "
      + "name that one, or write DestinationRules(forEach:), which takes every principal"),
  Mistake(
    "authorizeInARoute",
    "_ = Listener(.http, on: \":1\") { DestinationRules() } to: { Route(\"/a\") { Authorize(role: \"x\") } to: { Out() } }",
    "1:5: \(listener)Authorize in a route needs an authenticated connection: put an authenticator (PasswordAuth, ...) above "
      + "it or above the routes"),
  Mistake(
    "passwordsOnTCP",
    "let users: UserTable! = nil\n_ = Listener(.tcp, on: \":1\") {\n  PasswordAuth(users)\n} to: { Out() }",
    "3:3: 'buildExpression' is unavailable: it asks for a user name and a password, which this transport does not carry: "
      + "authenticate by certificate or by address, or use a Listener(.socks5, ...) or (.http, ...)"),
]

private let rightPrograms: [Mistake] = [
  Mistake(
    "everyBuiltIn",
    """
    let users: UserTable! = nil
    let shared = Chain { DestinationRules(.deny(ports: 25...25)) }
    let staff = Chain(for: .passwords) { PasswordAuth(users); Authorize(role: "admin"); shared }
    _ = Listener(.socks5, on: ":1") { staff } to: { Out() }
    _ = Listener(.http, on: ":1") { staff } to: { Route("/a") { Authorize(role: "x") } to: { Out() }; Out() }
    _ = Listener(.socks5, on: ":1") {
      if flag { PasswordAuth(users) } else { AnonymousAuth() }
      DestinationRules(for: AuthenticatedUser.self) { $0.has(role: "x") ? .anything : .publicOnly }
      DestinationRules(forEach: { _ in .publicOnly }).shadow { _ in }
      for port in [25, 110] as [UInt16] { DestinationRules(.deny(ports: port...port)).named("port-\\(port)") }
    } to: { Out() }
    _ = Listener(.tcp, on: ":1") {
      BadgeAuth()
      Authorize { (user: Employee) in user.principal.id == "e" }
    } to: { Out() }
    """)
]
