import Middlewares
import Pipeline
import PipelineTesting
import Testing

struct RewritePathTests {
  /// What an upstream gets, or the status.
  private func rewritten(_ target: String, _ method: HTTPMethod = .get, by change: RewritePath) async throws -> String {
    let origin = Origin()
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        change
      } to: {
        origin
      })
    let run = await harness.start(client(method, target))
    return origin.targets.first ?? String(run.response?.status ?? 0)
  }

  @Test(arguments: [
    ("/api/x", "/x"), ("/api", "/"), ("/api/", "/"), ("/api?q=/api", "/?q=/api"), ("/api/x?y", "/x?y"),
    ("/%61pi/x", "/x"), ("//api/x", "/x"), ("http://h/api/x?y", "http://h/x?y"), ("/apix", "/apix"), ("/x", "/x"),
    ("*", "*"), ("http://h", "http://h"), ("/api/a%2Fb", "/a%2Fb"),
  ])
  func aPrefixIsStrippedAtASegmentBoundary(_ target: String, _ expected: String) async throws {
    #expect(try await rewritten(target, by: RewritePath(.strip("/api"))) == expected)
  }

  @Test func aConnectHasNoPathToRewrite() async throws {
    #expect(try await rewritten("h:443", .connect, by: RewritePath(.add("/v2"))) == "h:443")
  }

  @Test(arguments: [
    ("/x", "/v2/x"), ("/", "/v2/"), ("/x?y", "/v2/x?y"), ("http://h/x", "http://h/v2/x"),
  ])
  func aPrefixIsAdded(_ target: String, _ expected: String) async throws {
    #expect(try await rewritten(target, by: RewritePath(.add("/v2"))) == expected)
    #expect(try await rewritten(target, by: RewritePath(.add("/v2/"))) == expected)
  }

  @Test(arguments: [("/old/x", "/new/er/x"), ("/old", "/new/er"), ("/other", "/other"), ("/old?z", "/new/er?z")])
  func aPrefixIsReplaced(_ target: String, _ expected: String) async throws {
    #expect(try await rewritten(target, by: RewritePath(.replace("/old", with: "/new/er"))) == expected)
  }

  @Test func aClosureSeesThePathAloneAndMayLeaveIt() async throws {
    let change = RewritePath { path in path.hasSuffix(".htm") ? path + "l" : nil }
    #expect(try await rewritten("/a.htm?b.htm", by: change) == "/a.html?b.htm")
    #expect(try await rewritten("/a.txt?b.htm", by: change) == "/a.txt?b.htm")
  }

  @Test(arguments: ["/api//evil.example/x", "/api/../x", "/api/%2e%2e/x", "/api/%zz", "/api/x\\y"])
  func whatWouldComeOutAmbiguousIsRefused(_ target: String) async throws {
    #expect(try await rewritten(target, by: RewritePath(.strip("/api"))) == "400")
  }

  @Test func aClosureThatBreaksThePathIsRefused() async throws {
    for bad in ["x", "", "//h/x", "/a b", "/a\r\nx: y", "/../x", "/a#b"] {
      #expect(try await rewritten("/", by: RewritePath { _ in bad }) == "400", "\(bad)")
    }
    #expect(try await rewritten("/", by: RewritePath { _ in "/a?b" }) == "500")
  }

  @Test func aRetryAboveDoesNotStripTwice() async throws {
    let origin = Origin(failures: [.connectionRefused])
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        Retry(attempts: 2, backoff: .none)
        RewritePath(.strip("/api"))
      } to: {
        origin
      })
    await harness.run(client(.get, "/api/api/x"))
    #expect(origin.targets == ["/api/x", "/api/x"])
  }

  @Test func whatStandsAboveSeesTheOldPathAgain() async throws {
    let log = LogRecorder()
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        AccessLog(to: log)
      } to: {
        Route("/api") {
          RewritePath(.strip("/api"))
        } to: {
          Route("/users/:id", to: { Handle { try await $0.respond(text: $0.pathParameter("id") ?? "-") } })
        }
      })
    let run = await harness.start(client(.get, "/api/users/7"))
    #expect(run.response?.body == .bytes(Array("7".utf8)))
    #expect(log.text.first?.contains(" target=/api/users/7 ") == true)
  }

  @Test func aPrefixThatNoPathCanHaveIsRefusedWhenTheAppIsBuilt() {
    #expect(
      problems {
        RewritePath(.strip("api"))
        RewritePath(.replace("/a?b", with: "/../x"))
      } == [
        "rewrite-path: the prefix \"api\" has to begin with /",
        "rewrite-path: the prefix \"/a?b\" has a character that a path cannot hold as it is",
        "rewrite-path: the prefix \"/../x\" has dot segments",
      ])
  }
}
