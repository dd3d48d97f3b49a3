import Middlewares
import Pipeline
import PipelineTesting
import Testing

/// `Authorize(scopes:)`: who is known and lacks a scope is told which are needed (RFC 6750, 3.1).
struct ScopeTests {
  private static let reader = "reader-0123456789abc"
  private static let writer = "writer-0123456789abc"
  private let table = try! TokenTable([
    .init(reader, user: "ann", roles: ["read"]), .init(writer, user: "bob", roles: ["read", "write"]),
  ])

  private func harness(_ scopes: Set<String>) throws -> ChainHarness<HTTPExchange> {
    try ChainHarness(
      Listener(.http, on: ":1") {
        ErrorPages()
        BearerAuth(table, realm: "api")
        Authorize(scopes: scopes)
      } to: {
        Origin()
      })
  }

  private func with(_ token: String, _ target: String = "/") -> MockClient {
    client(.get, target, [target.hasPrefix("/") ? "authorization" : "proxy-authorization": "Bearer \(token)"])
  }

  @Test func whoHasEveryScopePasses() async throws {
    #expect(await (try harness(["read"])).start(with(Self.reader)).response?.status == 200)
    #expect(await (try harness(["read", "write"])).start(with(Self.writer)).response?.status == 200)
  }

  @Test func whoLacksOneIsToldWhichAreNeeded() async throws {
    let head = try #require(await (try harness(["write", "read"])).start(with(Self.reader)).response)
    #expect(head.status == 403)
    #expect(
      head["www-authenticate"] == "Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"read write\"")
    #expect(head["proxy-authenticate"] == "")
  }

  @Test func aForwardProxysClientIsToldByTheProxysField() async throws {
    let head = try #require(await (try harness(["write"])).start(with(Self.reader, "http://h/")).response)
    #expect(head.status == 403 && head["www-authenticate"] == "")
    #expect(
      head["proxy-authenticate"] == "Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"write\"")
  }

  @Test func aWrongTokenIsAskedForAnotherAndNotForScopes() async throws {
    let head = try #require(await (try harness(["write"])).start(with("unknown-0123456789abc")).response)
    #expect(head.status == 401 && head["www-authenticate"] == "Bearer realm=\"api\", error=\"invalid_token\"")
  }

  /// Who did not come with a token cannot get another one.
  @Test func whoCameWithoutATokenIsToldNothing() async throws {
    let harness = try ChainHarness(.http) {
      ClientAddressAuth(.block("192.0.2.0/24", as: "net"))
      Authorize(scopes: ["write"])
    }
    let head = try #require(await harness.start(client()).response)
    #expect(head.status == 403 && head["www-authenticate"] == "")
  }

  /// A plain rule says no scope, and the next request on the connection is told nothing of the one before.
  @Test func nothingIsLeftForTheNextRequest() async throws {
    let exchange = MockHTTPExchange(with(Self.reader))
    let auth = BearerAuth(table)
    let user = try await auth.authenticate(exchange)
    await #expect(throws: Rejection.self) {
      try await Authorize(scopes: ["write"]).handle(exchange, identity: user) { Summary() }
    }
    #expect(exchange.forbiddenChallenge?.hasSuffix("scope=\"write\"") == true)
    exchange.recycle(id: 2)
    #expect(exchange.forbiddenChallenge == nil)
    await #expect(throws: Rejection.self) {
      try await Authorize(role: "write").handle(exchange, identity: user) { Summary() }
    }
    #expect(exchange.forbiddenChallenge == nil)
  }

  @Test func aRouteMayAskForMoreThanTheListener() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        BearerAuth(table)
      } to: {
        Route("/write") {
          Authorize(scopes: ["write"])
        } to: {
          Origin()
        }
        Origin()
      })
    #expect(await harness.start(with(Self.reader)).response?.status == 200)
    #expect(await harness.start(with(Self.reader, "/write")).response?.status == 403)
    #expect(await harness.start(with(Self.writer, "/write")).response?.status == 200)
  }

  @Test(arguments: ["", "a b", "a\"b", "a\\b", "ä"]) func whatIsNoScopeIsRefusedWhenTheAppIsBuilt(scope: String) {
    #expect(
      problems {
        AnonymousAuth()
        Authorize(scopes: [scope])
      } == [
        "authorize: the scope \"\(scope)\" has to be printable ASCII without spaces, quotation marks and backslashes"
      ])
  }
}
