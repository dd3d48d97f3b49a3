import CompilerChecks
import Testing

/// What the compiler says of HTTP elements and destinations on other transports.
struct HTTPDiagnosticsTests {
  private static let answers = Task { try await CompilerChecks(prelude: prelude).errors(of: mistakes) }

  @Test(arguments: mistakes)
  func aWrongProgramIsRefusedInOneSentence(_ mistake: Mistake) async throws {
    #expect(try await Self.answers.value[mistake.name] ?? [] == mistake.errors)
  }

  @Test func rightProgramsCompile() async throws {
    #expect(try await CompilerChecks(prelude: prelude).errors(of: rightPrograms) == [:])
  }
}

private let prelude = """
  import Middlewares
  import Pipeline
  struct Out: Destination { func serve(_ exchange: Exchange) async throws -> Summary { Summary() } }
  nonisolated(unsafe) var users: UserTable! = nil
  nonisolated(unsafe) var tokens: TokenTable! = nil
  struct Service: HTTPClient {
    var description: String { "service" }
    func send(
      _ method: HTTPMethod, _ target: String, _ fields: HeaderFields, on exchange: Exchange, atMost limit: Int
    ) async throws -> HTTPClientResponse { HTTPClientResponse(status: 200) }
  }
  """

private let elements: [(String, String)] = [
  ("headers", "Headers(response: .remove(\"server\"))"), ("rewritePath", "RewritePath(.strip(\"/a\"))"),
  ("requestID", "RequestID()"), ("cors", "CORS(allow: .any)"), ("errorPages", "ErrorPages()"),
  ("basicAuth", "BasicAuth(users)"), ("bearerAuth", "BearerAuth(tokens)"), ("forwardAuth", "ForwardAuth(Service())"),
]
private let destinations: [(String, String)] = [
  ("respond", "Respond(404)"), ("redirect", "Redirect(to: \"/x\")"),
  ("handle", "Handle { try await $0.respond(text: \"x\") }"),
]
private let unavailable = "2:3: 'buildExpression' is unavailable: "
private let httpOnly =
  "this middleware works on HTTP exchanges only: use it in a Listener(.http, ...) or in an HTTP chain"

private let mistakes: [Mistake] = onOtherTransports() + inAChainForAll() + authenticators

private func onOtherTransports() -> [Mistake] {
  var mistakes: [Mistake] = []
  for transport in ["tcp", "socks5"] {
    let listener = "_ = Listener(.\(transport), on: \":1\") {"
    for (name, element) in elements {
      mistakes.append(
        Mistake(name + transport, "\(listener)\n  \(element)\n} to: { Out() }", unavailable + httpOnly))
    }
    for (name, destination) in destinations {
      let sentence = "this destination speaks HTTP: use it in a Listener(.http, ...)"
      mistakes.append(Mistake(name + transport, "\(listener) } to: {\n  \(destination)\n}", unavailable + sentence))
    }
    for (name, route) in [("route", "Route(\"/\") { } to: { Out() }"), ("plainRoute", "Route(\"/\", to: { Out() })")] {
      let sentence = "routes are for HTTP: use them in a Listener(.http, ...)"
      mistakes.append(Mistake(name + transport, "\(listener) } to: {\n  \(route)\n}", unavailable + sentence))
    }
  }
  return mistakes
}

/// A chain for every transport takes no element of one.
private func inAChainForAll() -> [Mistake] {
  elements.map { name, element in
    Mistake(name + "Anywhere", "_ = Chain {\n  \(element)\n}", unavailable + httpOnly)
  }
}

private let authenticators: [Mistake] = [
  Mistake(
    "shadowedBearer", "_ = Listener(.http, on: \":1\") {\n  BearerAuth(tokens).shadow()\n} to: { Out() }",
    "2:22: 'shadow' is unavailable: an authenticator cannot run in shadow: the elements below need the identity that it "
      + "gives"),
  Mistake(
    "bearerInAnIf", "_ = Listener(.http, on: \":1\") {\n  if tokens != nil { BearerAuth(tokens) }\n} to: { Out() }",
    "1:31: 'buildPartialBlock(first:)' is unavailable: an authenticator in an `if` without `else` would leave the elements "
      + "below without an identity: add an `else` that authenticates, too"),
]

private let rightPrograms: [Mistake] = [
  Mistake(
    "everyElement",
    """
    let web = Chain(for: .http) {
      ErrorPages()
      RequestID(trusting: .everybody)
      CORS(allow: .origins("https://a.example"), credentials: true)
      Headers(request: .remove("cookie"), .set("x-user", "user=\\(.identity)"), response: .remove("server"))
    }
    _ = Listener(.http, on: ":1") {
      web
      if users != nil { BasicAuth(users, realm: "a") } else { BearerAuth(tokens) }
      Authorize(role: "x")
    } to: {
      Route("/api/:id", host: "*.example.org", methods: [.get, "PURGE"]) {
        RewritePath(.strip("/api"))
        TokenBucket(.perSecond(5), per: .identity)
      } to: {
        Route("/inner", matching: .exact, to: { Respond(204) })
        Handle { request in try await request.respond(text: request.pathParameter("id") ?? "") }
      }
      Route("/auth") {
        ForwardAuth(Service(), user: "x-user")
        Authorize { (user: AuthenticatedUser) in user.has(role: "a") }
      } to: {
        Redirect(permanent: true, to: "https://{host}{path}{query}")
      }
      if tokens != nil { Redirect { "/" + $0.path } } else { Out() }
    }
    """)
]
