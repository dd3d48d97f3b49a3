import CompilerChecks

/// What every program sees: one element of each kind.
let prelude = """
  import Pipeline
  struct Log: Middleware {
    func handle(_ exchange: Exchange, next: Next) async throws -> Summary { try await next() }
  }
  struct Employee: Identity { var principal: Principal { Principal("e") } }
  struct AdminOnly: IdentityMiddleware {
    func handle(_ exchange: Exchange, identity: Employee, next: Next) async throws -> Summary { try await next() }
  }
  struct Quota: IdentityMiddleware {
    typealias Needs = SomeIdentity
    func handle(_ exchange: Exchange, identity: Principal, next: Next) async throws -> Summary { try await next() }
  }
  struct BadgeAuth: Authenticator {
    func authenticate(_ exchange: Exchange) async throws -> Employee { Employee() }
  }
  struct Password: Authenticator {
    func authenticate(_ exchange: PasswordExchange) async throws -> Principal { Principal("p") }
  }
  struct Header: HTTPMiddleware {}
  struct OnlyTCP: TransparentElement {
    typealias Carrier = TCPExchange
    typealias Needs = Anyone
    typealias Gives = Unchanged
    func through(_ exchange: TCPExchange, _ needed: Void, next: Next) async throws -> Summary { try await next() }
  }
  struct Out: Destination { func serve(_ exchange: Exchange) async throws -> Summary { Summary() } }
  struct OutTCP: Destination { func serve(_ exchange: TCPExchange) async throws -> Summary { Summary() } }
  struct PerUser: IdentityDestination {
    typealias Needs = SomeIdentity
    func serve(_ exchange: Exchange, identity: Principal) async throws -> Summary { Summary() }
  }
  struct PerEmployee: IdentityDestination {
    func serve(_ exchange: Exchange, identity: Employee) async throws -> Summary { Summary() }
  }
  struct NotOne {}
  actor Keeper { func keep(_ exchange: Exchange) {} }
  nonisolated(unsafe) var flag = true
  """

private let noPassword =
  "it asks for a user name and a password, which this transport does not carry: authenticate by certificate or by "
  + "address, or use a Listener(.socks5, ...) or (.http, ...)"
private let authenticatorUp =
  "a middleware above this authenticator needs the identity that it gives: move the authenticator up"
private let authenticatorAbove =
  "a middleware in this chain needs an identity, and no authenticator stands above it: put one above (PasswordAuth, "
  + "BearerAuth, ...)"
private let destinationNeeds =
  "this destination, or a route in it, needs an identity, and no authenticator stands in the chain: add one "
  + "(PasswordAuth, BearerAuth, ...)"
private let noElse =
  "an authenticator in an `if` without `else` would leave the elements below without an identity: add an `else` that "
  + "authenticates, too"
private let unequalBranches =
  "one branch of this `if`/`else` authenticates and the other does not, or they give different identity types: let both "
  + "branches give the same identity type"
private let expression = "'buildExpression' is unavailable: "
private let joined = "'buildPartialBlock(accumulated:next:)' is unavailable: "
private let begun = "'buildPartialBlock(first:)' is unavailable: "
private let listener = "'init(_:on:name:chain:to:)' is unavailable: "

let mistakes: [Mistake] = [
  // Transports.
  Mistake(
    "passwordOnTCP", "_ = Listener(.tcp, on: \":1\") {\n  Log()\n  Password()\n} to: { Out() }",
    "3:3: \(expression)\(noPassword)"),
  Mistake(
    "namedPasswordOnTCP", "_ = Listener(.tcp, on: \":1\") {\n  Log()\n  Password().named(\"x\")\n} to: { Out() }",
    "3:3: \(expression)\(noPassword)"),
  Mistake(
    "storedPasswordOnTCP",
    "let c = Chain(for: .passwords) { Log(); Password() }\n_ = Listener(.tcp, on: \":1\") {\n  c\n} to: { Out() }",
    "3:3: \(expression)\(noPassword)"),
  Mistake(
    "passwordInAnyChain", "_ = Chain {\n  Log()\n  Password()\n}",
    "3:3: \(expression)it asks for a user name and a password, which not every transport carries: write "
      + "Chain(for: .passwords) { ... }"),
  Mistake(
    "httpOnSOCKS5", "_ = Listener(.socks5, on: \":1\") {\n  Log()\n  Header()\n} to: { Out() }",
    "3:3: \(expression)this middleware works on HTTP exchanges only: use it in a Listener(.http, ...) or in an HTTP chain"
  ),
  Mistake(
    "tcpOnSOCKS5", "_ = Listener(.socks5, on: \":1\") {\n  OnlyTCP()\n} to: { Out() }",
    "2:3: \(expression)this middleware works on another transport than the one of this chain"),
  Mistake(
    "respondOnSOCKS5", "_ = Listener(.socks5, on: \":1\") { Log() } to: {\n  Respond(404)\n}",
    "2:3: \(expression)this destination speaks HTTP: use it in a Listener(.http, ...)"),
  Mistake(
    "handleOnTCP", "_ = Listener(.tcp, on: \":1\") { Log() } to: {\n  Handle { try await $0.respond(200) }\n}",
    "2:3: \(expression)this destination speaks HTTP: use it in a Listener(.http, ...)"),
  Mistake(
    "tcpDestinationOnSOCKS5", "_ = Listener(.socks5, on: \":1\") { Log() } to: {\n  OutTCP()\n}",
    "2:3: \(expression)this destination works on another transport than the one of this listener"),
  Mistake(
    "routeOnSOCKS5",
    "_ = Listener(.socks5, on: \":1\") { Log() } to: {\n  Route(\"/a\") { Log() } to: { Out() }\n}",
    "2:3: \(expression)routes are for HTTP: use them in a Listener(.http, ...)"),
  // What stands where.
  Mistake(
    "notAMiddleware", "_ = Listener(.socks5, on: \":1\") {\n  Log()\n  NotOne()\n} to: { Out() }",
    "3:3: \(expression)only middlewares and authenticators can stand in a chain: conform this type to Middleware, "
      + "HTTPMiddleware, IdentityMiddleware or Authenticator"),
  Mistake(
    "destinationInTheChain", "_ = Listener(.socks5, on: \":1\") {\n  Log()\n  Out()\n} to: { Out() }",
    "3:3: \(expression)a destination ends the way of an exchange: it stands in `to: { ... }`"),
  Mistake(
    "middlewareInTo", "_ = Listener(.socks5, on: \":1\") { Log() } to: {\n  Log()\n}",
    "2:3: \(expression)a middleware stands in the chain, before `to:`; here stand destinations and routes"),
  Mistake(
    "notADestination", "_ = Listener(.socks5, on: \":1\") { Log() } to: { NotOne() }",
    "1:49: \(expression)only destinations and routes can stand in `to:`: conform this type to Destination or "
      + "IdentityDestination"),
  Mistake(
    "emptyTo", "_ = Listener(.socks5, on: \":1\") { Log() } to: { }",
    "1:47: 'buildBlock()' is unavailable: a listener needs a destination: Direct(), Upstreams(...), Respond(...), ..."),
  // Identities.
  Mistake(
    "wrongOrder", "_ = Listener(.socks5, on: \":1\") {\n  Log()\n  Quota()\n  Password()\n} to: { Out() }",
    "1:33: \(joined)\(authenticatorUp)"),
  Mistake(
    "wrongIdentity", "_ = Listener(.socks5, on: \":1\") {\n  Password()\n  AdminOnly()\n} to: { Out() }",
    "1:33: \(joined)this middleware needs another identity type than the one that the authenticator above gives"),
  Mistake(
    "noAuthenticator", "_ = Listener(.tcp, on: \":1\") {\n  Log()\n  Quota()\n} to: { Out() }",
    "1:5: \(listener)\(authenticatorAbove)"),
  Mistake(
    "noAuthenticatorForATypedOne", "_ = Listener(.tcp, on: \":1\") {\n  AdminOnly()\n} to: { Out() }",
    "1:5: \(listener)\(authenticatorAbove)"),
  Mistake(
    "noAuthenticatorForTheDestination", "_ = Listener(.socks5, on: \":1\") { Log() } to: {\n  PerUser()\n}",
    "1:5: \(listener)\(destinationNeeds)"),
  Mistake(
    "noAuthenticatorForARoute",
    "_ = Listener(.http, on: \":1\") { Log() } to: {\n  Route(\"/a\") { Quota() } to: { Out() }\n}",
    "1:5: \(listener)\(destinationNeeds)"),
  Mistake(
    "noAuthenticatorForARouteAboveAnother",
    "_ = Listener(.http, on: \":1\") { Log() } to: {\n  Route(\"/a\") { Quota() } to: { Out() }\n  Respond(404)\n}",
    "1:5: \(listener)\(destinationNeeds)"),
  Mistake(
    "anotherIdentityForTheDestination",
    "_ = Listener(.socks5, on: \":1\") { Password() } to: {\n  PerEmployee()\n}",
    "1:5: \(listener)this destination needs another identity type than the one that the authenticator gives"),
  Mistake(
    "anotherIdentityInARoute",
    "_ = Listener(.http, on: \":1\") { } to: {\n  Route(\"/a\") { Password() } to: { PerEmployee() }\n}",
    "2:3: \(expression)the destination of this route needs another identity type than the one that its chain gives or "
      + "asks for"),
  // Control flow.
  Mistake(
    "authenticatorInIf", "_ = Listener(.socks5, on: \":1\") {\n  if flag { Password() }\n  Log()\n} to: { Out() }",
    "1:33: \(begun)\(noElse)"),
  Mistake(
    "authenticatorInALaterIf",
    "_ = Listener(.socks5, on: \":1\") {\n  Log()\n  if flag { Password() }\n} to: { Out() }",
    "1:33: \(joined)\(noElse)"),
  Mistake(
    "authenticatorInFor",
    "_ = Listener(.socks5, on: \":1\") {\n  for _ in 0..<2 { Password() }\n  Log()\n} to: { Out() }",
    "2:31: 'buildArray' is unavailable: an authenticator cannot stand in a `for`: there may be no element, or several "
      + "identities; write it once, outside"),
  Mistake(
    "elseWithoutAuthenticator",
    "_ = Listener(.socks5, on: \":1\") {\n  Log()\n  if flag { Password() } else { Log() }\n} to: { Out() }",
    "1:33: \(joined)\(unequalBranches)"),
  Mistake(
    "firstElseWithoutAuthenticator",
    "_ = Listener(.socks5, on: \":1\") {\n  if flag { Password() } else { Log() }\n  Quota()\n} to: { Out() }",
    "1:33: \(begun)\(unequalBranches)"),
  Mistake(
    "elseWithAnotherIdentity",
    "_ = Listener(.socks5, on: \":1\") {\n  Log()\n  if flag { Password() } else { BadgeAuth() }\n  Quota()\n} to: { Out() }",
    "1:33: \(joined)\(unequalBranches)"),
  Mistake(
    "branchesOfDifferentNeeds",
    "_ = Listener(.socks5, on: \":1\") {\n  BadgeAuth()\n  if flag { AdminOnly() } else { Log() }\n} to: { Out() }",
    "1:33: \(joined)the branches of this `if`/`else` need different identities: use one `if` for each, or make every "
      + "branch ask for the same identity type"),
  Mistake(
    "shadowedAuthenticator", "_ = Listener(.socks5, on: \":1\") { Password().shadow(); Quota() } to: { Out() }",
    "1:46: 'shadow' is unavailable: an authenticator cannot run in shadow: the elements below need the identity that it "
      + "gives"),
  // Apps.
  Mistake(
    "emptyApp", "struct App: ProxyApp {\n  var body: some Proxy { }\n}",
    "2:24: 'buildBlock()' is unavailable: an app needs a listener: Listener(.socks5, on: \"127.0.0.1:1080\") { } to: "
      + "{ ... }"),
  Mistake(
    "middlewareInAnApp", "struct App: ProxyApp {\n  var body: some Proxy {\n    Log()\n  }\n}",
    "3:5: \(expression)only listeners can stand here: Listener(.socks5, on: ...) { ... } to: { ... }"),
  // No noise from the builders around an everyday mistake.
  Mistake(
    "wrongArgument",
    "_ = Listener(.http, on: \":1\") { Log() } to: {\n  Respond(\"404\")\n}",
    "2:11: cannot convert value of type 'String' to expected argument type 'Int'"),
]

let regionMistakes: [Mistake] = [
  Mistake(
    "twoNextsAtOnce",
    """
    struct Both: Middleware {
      func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
        async let a = next()
        async let b = next()
        _ = try await a
        return try await b
      }
    }
    """,
    "3:19: sending 'next' risks causing data races [#SendingRisksDataRace]",
    "4:19: sending 'next' risks causing data races [#SendingRisksDataRace]"),
  Mistake(
    "exchangeInATask",
    """
    struct Later: Middleware {
      func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
        Task { exchange.attempt += 1 }
        return try await next()
      }
    }
    """,
    "3:5: passing closure as a 'sending' parameter risks causing data races between code in the current task and "
      + "concurrent execution of the closure [#SendingClosureRisksDataRace]"),
  Mistake(
    "exchangeForAnActor",
    """
    struct Keeping: Middleware {
      let keeper: Keeper
      func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
        await keeper.keep(exchange)
        return try await next()
      }
    }
    """,
    "4:18: sending 'exchange' risks causing data races [#SendingRisksDataRace]"),
]

let rightPrograms: [Mistake] = [
  Mistake(
    "gateway",
    """
    let common = Chain { Log(); if flag { Log() } }
    let perUser = Chain { Log(); if flag { Quota() } else { Log() } }
    _ = Listener(.http, on: ":1", name: "web") {
      Header(); common; Password().named("staff"); Log().shadow(); perUser.named("users"); Quota().named("q")
      for _ in 0..<2 { Log() }
      if flag { Quota() }
    } to: {
      Route("/api", methods: [.get]) { Quota(); Header() } to: { PerUser() }
      Route("/pub") { Log() } to: { Out() }
      Route("/nested") { Quota() } to: { Route("/nested/a") { Password(); Quota() } to: { Respond(204) }; Out() }
      Route("/bare", to: { Handle { try await $0.respond(200) } })
      if flag { Respond(404) } else { PerUser() }
    }
    .idleTimeout(.seconds(60)).maxConnections(1000)
    """),
  Mistake(
    "identities",
    """
    _ = Listener(.http, on: ":1") { BadgeAuth(); Header() } to: {
      Route("/admin") { AdminOnly() } to: { PerUser() }
      Route("/q") { Quota() } to: { PerEmployee() }
      Respond(404)
    }
    _ = Listener(.socks5, on: ":1") {
      if flag { Password() } else { Password() }
      Quota()
    } to: { if flag { Out() } else { PerUser() } }
    _ = Listener(.tcp, on: ":1") { Quota2(); AnyMiddleware([Log(), Log()]) } to: { Out() }
    struct Quota2: Middleware {
      func handle(_ exchange: Exchange, next: Next) async throws -> Summary { try await next() }
    }
    """),
  Mistake(
    "functions",
    """
    @MiddlewareBuilder func edge() -> some Middleware { Log(); Log() }
    @ChainBuilder<PasswordExchange>
    func login() -> some ChainElement<PasswordExchange, Anyone, Identified<Principal>> { Log(); Password() }
    _ = Listener(.http, on: ":1") { edge(); login(); Quota() } to: { Out() }
    """),
]
