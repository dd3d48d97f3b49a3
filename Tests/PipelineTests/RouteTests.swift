import Pipeline
import PipelineTesting
import Testing

struct RouteTests {
  /// The status that a request gets from these routes, and the header that tells which route answered.
  private func ask(
    _ harness: ChainHarness<HTTPExchange>, _ target: String, _ method: HTTPMethod = .get, host: String? = nil
  ) async -> String {
    var client = MockClient(method: method, target: target)
    if let host { client.request.fields.set("host", host) }
    let run = await harness.start(client)
    guard let head = run.response else { return "no answer: \(run.outcome)" }
    let allow = head.fields["allow"].map { " allow \($0)" } ?? ""
    return "\(head.status)" + (head.fields["x-in"].map { " \($0)" } ?? "") + allow
  }

  @Test func aPrefixEndsAtASegmentBoundary() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
      } to: {
        Route("/api", to: { Respond(200) }); Respond(404)
      })
    for path in ["/api", "/api/", "/api/x", "/api?x", "//api", "/%61pi", "http://h/api/x", "/api//x"] {
      #expect(await ask(harness, path) == "200", "\(path)")
    }
    for path in ["/apix", "/", "/ap", "/x/api", "/api%2Fx", "*", "/API"] {
      #expect(await ask(harness, path) == "404", "\(path)")
    }
  }

  @Test func anExactPathTakesNothingBelow() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
      } to: {
        Route("/health", matching: .exact, to: { Respond(200) })
      })
    #expect(await ask(harness, "/health") == "200")
    #expect(await ask(harness, "/health?full") == "200")
    #expect(await ask(harness, "/health/x") == "404")
  }

  @Test func dotSegmentsAndBrokenEncodingAreRefusedInsteadOfGuessed() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
      } to: {
        Route("/admin", to: { Respond(403) }); Respond(200)
      })
    for path in ["/x/../admin", "/./admin", "/x/%2e%2E/admin", "/%zz"] {
      #expect(await ask(harness, path) == "400", "\(path)")
    }
  }

  @Test func aParameterTakesOneSegmentDecoded() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
      } to: {
        Route("/users/:id/posts/:post", matching: .exact) {
        } to: {
          Handle { exchange in
            let text = "\(exchange.pathParameter("id") ?? "-"),\(exchange.pathParameter("post") ?? "-")"
            return try await exchange.respond(200) { $0.fields.set("x-in", text) }
          }
        }
      })
    #expect(await ask(harness, "/users/a%20b/posts/7") == "200 a b,7")
    #expect(await ask(harness, "/users/posts/7") == "404")
  }

  @Test func parametersOfARouteThatDidNotMatchAreForgotten() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
      } to: {
        Route("/:wrong/x", to: { Respond(500) })
        Route(
          "/:right",
          to: {
            Handle { exchange in
              let text = (exchange.pathParameter("wrong") ?? "-") + (exchange.pathParameter("right") ?? "-")
              return try await exchange.respond(200) { $0.fields.set("x-in", text) }
            }
          })
      })
    #expect(await ask(harness, "/a") == "200 -a")
  }

  @Test func onlyTheMethodDidNotMatchIsA405WithWhatIsAllowed() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
      } to: {
        Route("/a", methods: [.get], to: { Respond(200) })
        Route("/a", methods: [.post, "PURGE"], to: { Respond(201) })
      })
    #expect(await ask(harness, "/a") == "200")
    #expect(await ask(harness, "/a", .head) == "200")
    #expect(await ask(harness, "/a", "PURGE") == "201")
    #expect(await ask(harness, "/a", .delete) == "405 allow GET, HEAD, POST, PURGE")
    #expect(await ask(harness, "/b", .delete) == "404")
  }

  @Test func aHostMatchesWithoutPortAndCase() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
      } to: {
        Route("/", host: "api.example.org", to: { Respond(200) })
        Route("/", host: "*.example.org", to: { Respond(201) })
        Respond(404)
      })
    #expect(await ask(harness, "/", host: "API.example.org:8080") == "200")
    #expect(await ask(harness, "/", host: "a.b.example.org") == "201")
    #expect(await ask(harness, "/", host: "example.org") == "404")
    #expect(await ask(harness, "/", host: "notexample.org") == "404")
    #expect(await ask(harness, "/", host: ".example.org") == "404")
    #expect(await ask(harness, "/", host: "api.example.org.") == "200")
    #expect(await ask(harness, "http://user@api.example.org:80/") == "200")
    #expect(await ask(harness, "http://api.example.org@evil.test/") == "404")
    #expect(await ask(harness, "http://api.example.org/", host: "other") == "200")
    #expect(await ask(harness, "/") == "404")
  }

  @Test func onlyTheElementsOfTheTakenRouteAnswer() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        SetHeader("x-outer", "1")
      } to: {
        Route("/a") {
          AddHeader("x-in", "a")
        } to: {
          Respond(200)
        }
        Route("/b") {
          AddHeader("x-in", "b")
        } to: {
          Route("/b/c") {
            AddHeader("x-in", "c")
          } to: {
            Respond(201)
          }
          Respond(202)
        }
        Respond(203)
      })
    #expect(await ask(harness, "/a") == "200 a")
    #expect(await ask(harness, "/b") == "202 b")
    let nested = await harness.start(MockClient(target: "/b/c/d"))
    #expect(nested.response?.status == 201)
    #expect(nested.response?.fields.values(of: "x-in") == ["c", "b"])
    #expect(await ask(harness, "/z") == "203")
  }

  @Test func aRouteMayAuthenticateAndNeedWhatItAuthenticates() async throws {
    let seen = Seen()
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
      } to: {
        Route("/staff") {
          BadgeAuth(); DepartmentOnly("ops"); PerPrincipal(seen)
        } to: {
          Respond(200)
        }
        Route("/sales") {
          BadgeAuth(); DepartmentOnly("sales")
        } to: {
          Respond(200)
        }
      })
    #expect(await ask(harness, "/staff") == "200")
    #expect(await ask(harness, "/sales") == "403")
    #expect(seen.all == ["ann"])
  }

  @Test func aMalformedRouteIsRefusedWhenTheAppIsBuilt() {
    let error = #expect(throws: ConfigurationError.self) {
      try Service(
        Listener(.http, on: ":1", name: "web") {
        } to: {
          Route("a", to: { Respond(200) })
          Route("/:x/:x", to: { Respond(200) })
          Route("/y", methods: [], to: { Respond(200) })
          Respond(404)
        }, shards: 1)
    }
    #expect(
      error?.description == """
        web: route: the path "a" has to begin with /
        web: route: the path "/:x/:x" has two parameters :x
        web: route: the path "/y" accepts no method at all
        """)
  }
}
