import Pipeline
import PipelineTesting
import Testing

/// Tails, nesting and forms of the target.
struct RoutePathTests {
  private func ask(
    _ harness: ChainHarness<HTTPExchange>, _ target: String, _ method: HTTPMethod = .get, host: String? = nil
  ) async -> String {
    var client = MockClient(method: method, target: target)
    if let host { client.request.fields.set("host", host) }
    let run = await harness.start(client)
    let allow = run.response?.fields["allow"].map { " allow \($0)" } ?? ""
    let body = String(decoding: run.responseBody, as: UTF8.self)
    return "\(run.response?.status ?? 0)" + (body.isEmpty ? "" : " " + body) + allow
  }

  @Test func aTailTakesEverythingThatIsLeft() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
      } to: {
        Route("/files/:kind/*path", matching: .exact) {
        } to: {
          Handle { request in
            try await request.respond(
              text: "\(request.pathParameter("kind") ?? "-")|\(request.pathParameter("path") ?? "-")")
          }
        }
      })
    #expect(await ask(harness, "/files/a/b/c%20d//e?f") == "200 a|b/c d//e")
    #expect(await ask(harness, "/files/a/b/") == "200 a|b/")
    #expect(await ask(harness, "/files/a/") == "200 a|")
    #expect(await ask(harness, "/files/a") == "200 a|")
    #expect(await ask(harness, "/files") == "404")
    #expect(await ask(harness, "/files/a/../b") == "400")
  }

  @Test func parametersOfNestedRoutesAreAllThereAlsoBelowARewrite() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
      } to: {
        Route("/tenants/:tenant") {
          Rewrite("/users/42")
        } to: {
          Route("/users/:user") {
          } to: {
            Handle { request in
              try await request.respond(
                text: "\(request.pathParameter("tenant") ?? "-"),\(request.pathParameter("user") ?? "-")")
            }
          }
        }
      })
    #expect(await ask(harness, "/tenants/acme/x") == "200 acme,42")
  }

  @Test func theInnermostOfTwoParametersOfOneNameCounts() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
      } to: {
        Route("/:id") {
        } to: {
          Route("/:x/:id", to: { Handle { try await $0.respond(text: $0.pathParameter("id") ?? "-") } })
          Handle { try await $0.respond(text: $0.pathParameter("id") ?? "-") }
        }
      })
    #expect(await ask(harness, "/a/b") == "200 b")
    #expect(await ask(harness, "/a") == "200 a")
  }

  @Test func theFirstRouteThatMatchesIsTaken() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
      } to: {
        Route("/a/b", to: { Respond(200, "b") })
        Route("/a", to: { Respond(200, "a") })
        Route("/a/c", to: { Respond(200, "never") })
      })
    #expect(await ask(harness, "/a/b/x") == "200 b")
    #expect(await ask(harness, "/a/c") == "200 a")
  }

  @Test func aRouteThatSplitsAPathByMethodAllowsWhatAllOfThemDo() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
      } to: {
        Route("/a", methods: [.get], to: { Respond(200) })
        Route("/a") {
        } to: {
          Route("/a/b", methods: [.put], to: { Respond(201) })
        }
      })
    #expect(await ask(harness, "/a", .post) == "405 allow GET, HEAD")
    #expect(await ask(harness, "/a/b", .post) == "405 allow GET, HEAD, PUT")
    #expect(await ask(harness, "/a/b", .put) == "201")
    #expect(await ask(harness, "/a", .options) == "405 allow GET, HEAD")
  }

  @Test func whatARequestMayDoIsForgottenWithTheRequest() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
      } to: {
        Route("/a", methods: ["PURGE", .get], to: { Respond(200) })
      })
    let exchange = MockHTTPExchange(MockClient(method: .post, target: "/a"))
    await #expect(throws: Rejection.self) { try await harness.service.serve(exchange) }
    #expect(exchange.annotations.allowedMethods == ["GET", "HEAD", "PURGE"])
    exchange.recycle(id: 2)
    exchange.request.target = "/b"
    let rejection = await #expect(throws: Rejection.self) { try await harness.service.serve(exchange) }
    #expect(rejection?.kind == .noRoute)
  }

  @Test func aTargetWithoutAPathTakesTheRouteOfAllPaths() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
      } to: {
        Route("/x", to: { Respond(200, "x") })
        Route("/", methods: [.options], matching: .exact, to: { Respond(200, "options") })
        Route("/", host: "tunnel.example", to: { Respond(200, "tunnel") })
      })
    #expect(await ask(harness, "*", .options) == "200 options")
    #expect(await ask(harness, "tunnel.example:443", .connect) == "200 tunnel")
    #expect(await ask(harness, "other.example:443", .connect) == "405 allow OPTIONS")
    #expect(await ask(harness, "http://tunnel.example") == "200 tunnel")
    #expect(await ask(harness, "http://tunnel.example?/x") == "200 tunnel")
    #expect(await ask(harness, "http://tunnel.example:80/x?y") == "200 x")
  }

  @Test(arguments: [
    ("API.Example.org", true), ("api.example.org:8080", true), ("api.example.org.", true),
    ("api.example.org.:80", true),
    ("xapi.example.org", false), ("api.example.org.evil.test", false), ("api.example.orgx", false), ("", false),
    ("api.example.org..", false),
  ])
  func aHostIsComparedWithoutCasePortAndTheDotOfAFullName(_ host: String, _ isTaken: Bool) async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
      } to: {
        Route("/", host: "Api.Example.org", to: { Respond(200) })
      })
    #expect(await ask(harness, "/", host: host) == (isTaken ? "200" : "404"))
  }

  @Test func anAddressIsAHost() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
      } to: {
        Route("/", host: "[::1]", to: { Respond(200, "6") })
        Route("/", host: "127.0.0.1", to: { Respond(200, "4") })
      })
    #expect(await ask(harness, "/", host: "[::1]:8080") == "200 6")
    #expect(await ask(harness, "/", host: "[::1]") == "200 6")
    #expect(await ask(harness, "/", host: "127.0.0.1:80") == "200 4")
  }

  @Test func aPathThatNoRequestCanHaveIsRefusedWhenTheAppIsBuilt() {
    let error = #expect(throws: ConfigurationError.self) {
      try Service(
        Listener(.http, on: ":1", name: "web") {
        } to: {
          Route("/a?b", to: { Respond(200) })
          Route("/*", to: { Respond(200) })
          Route("/*x/y", to: { Respond(200) })
          Route("/:x/*x", to: { Respond(200) })
          Route("/", host: "a.example:80", to: { Respond(200) })
          Route("/", host: "a.*.example", to: { Respond(200) })
        }, shards: 1)
    }
    #expect(
      error?.messages == [
        "route: the path \"/a?b\" is compared after decoding and without the query: write it plainly",
        "route: the path \"/*\" has a tail without a name: write *name",
        "route: the path \"/*x/y\" goes on after *x, which takes all that is left",
        "route: the path \"/:x/*x\" has two parameters x",
        "route: the host \"a.example:80\" is no name: write example.org or *.example.org, without a port",
        "route: the host \"a.*.example\" is no name: write example.org or *.example.org, without a port",
      ])
  }
}

/// Another path for those below.
private struct Rewrite: HTTPMiddleware {
  let path: String
  init(_ path: String) { self.path = path }
  func handle(_ exchange: HTTPExchange, next: Next) async throws -> Summary {
    try await exchange.withEditedRequest({ $0.path = path }) { try await next() }
  }
}

struct HandleTests {
  private func answer(_ client: MockClient, _ handle: Handle) async throws -> ExchangeRun {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
      } to: {
        handle
      })
    return await harness.start(client)
  }

  @Test func theQueryIsReadAsAForms() {
    let head = HTTPRequestHead(method: .get, target: "/p?a=1&b=x+y%2B&a=2&c&=d&&%zz=%4&e=f=g")
    #expect(head.queryItem("a") == "1" && head.queryItem("b") == "x y+" && head.queryItem("c") == "")
    #expect(head.queryItem("e") == "f=g" && head.queryItem("%zz") == "%4" && head.queryItem("none") == nil)
    #expect(head.queryItems.map(\.name) == ["a", "b", "a", "c", "", "%zz", "e"])
    #expect(HTTPRequestHead(method: .get, target: "/p").queryItems.isEmpty)
    #expect(HTTPRequestHead(method: .get, target: "/p?").queryItems.isEmpty)
    #expect(HTTPRequestHead(method: .get, target: "http://h?a=b").queryItem("a") == "b")
  }

  @Test func aBodyIsCollectedUpToALimit() async throws {
    var client = MockClient(method: .post, target: "/?times=2")
    client.body = [Array("ab".utf8), Array("cd".utf8)]
    let handle = Handle { request in
      let body = String(decoding: try await request.collectBody(upTo: 4), as: UTF8.self)
      return try await request.respond(
        201, text: String(repeating: body, count: Int(request.queryItem("times") ?? "") ?? 0))
    }
    let run = try await answer(client, handle)
    #expect(run.response?.status == 201 && run.responseBody == Array("abcdabcd".utf8))
    #expect(run.response?.fields["content-type"] == "text/plain; charset=utf-8")
    client.body.append([1])
    #expect(try await answer(client, handle).response?.status == 413)
  }

  @Test func whatAHandlerThrowsIsItsAnswerWithoutItsWords() async throws {
    #expect(
      try await answer(MockClient(), Handle { _ in throw Rejection(.forbidden, detail: "x") }).response?.status == 403)
    let run = try await answer(MockClient(), Handle { _ in throw Broken() })
    #expect(run.response?.status == 500 && run.responseBody.isEmpty)
  }
}

struct RedirectTests {
  private func location(_ redirect: Redirect, _ target: String, host: String? = "Example.org:80") async throws -> String
  {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
      } to: {
        Route("/t/:name/*rest", to: { redirect })
        redirect
      })
    var client = MockClient(target: target)
    if let host { client.request.fields.set("host", host) }
    let head = await harness.start(client).response
    return "\(head?.status ?? 0) \(head?.fields["location"] ?? "-")"
  }

  @Test func aTemplateKeepsPathAndQuery() async throws {
    let redirect = Redirect(permanent: true, to: "https://{host}:8443{path}{query}")
    #expect(try await location(redirect, "/a%20b?c=d") == "308 https://example.org:8443/a%20b?c=d")
    #expect(try await location(redirect, "/a") == "308 https://example.org:8443/a")
    #expect(try await location(redirect, "http://h:81/a?b") == "308 https://h:8443/a?b")
    #expect(try await location(redirect, "/a", host: nil) == "400 -")
  }

  @Test func aParameterStaysInItsSegment() async throws {
    let redirect = Redirect(status: 303, to: "/new/{*rest}/{:name}{query}")
    #expect(try await location(redirect, "/t/a%2Fb/c/d?e") == "303 /new/c/d/a%2Fb?e")
    let host = Redirect(to: "https://{:name}.example.org/")
    #expect(try await location(host, "/t/evil.test%2F/x") == "307 https://evil.test%2F.example.org/")
    #expect(try await location(host, "/t/evil.test\\/x") == "307 https://evil.test%5C.example.org/")
    #expect(try await location(host, "/t/u@evil:80/x") == "307 https://u%40evil%3A80.example.org/")
  }

  @Test(arguments: ["//evil.test/x", "///evil.test/x", "/\\evil.test/x", "//evil.test"])
  func aPathNeverBecomesAHost(_ target: String) async throws {
    let got = try await location(Redirect(to: "{path}"), target)
    #expect(!got.hasPrefix("307 //") && !got.contains("\\") && got.hasPrefix("307 /"))
  }

  @Test func aTemplateThatCannotWorkIsRefusedWhenTheAppIsBuilt() {
    let error = #expect(throws: ConfigurationError.self) {
      try Service(
        Listener(.http, on: ":1", name: "web") {
        } to: {
          Route("/1", to: { Redirect(to: "{host}/x") })
          Route("/2", to: { Redirect(to: "/{pth}") })
          Route("/3", to: { Redirect(status: 304, to: "") })
          Route("/4", to: { Redirect(to: "/a b{") })
        }, shards: 1)
    }
    #expect(
      error?.messages == [
        "redirect: the location \"{host}/x\" has to begin with a text (https://..., /...) or with {path}",
        "redirect: the location \"/{pth}\" has {pth}: {host}, {path}, {query}, {:name} and {*name} are allowed",
        "redirect: the location is empty",
        "redirect: the status 304 is no redirect: 301, 302, 303, 307 and 308 are allowed",
        "redirect: the location \"/a b{\" has a { without a }",
      ])
  }
}
