import Middlewares
import Pipeline
import PipelineTesting
import Testing

struct ErrorPagesTests {
  private func refused(
    _ accept: String?, _ pages: ErrorPages = ErrorPages(), _ deny: Deny = Deny(.forbidden, "a secret detail"),
    _ method: HTTPMethod = .get
  ) async throws -> (HTTPResponseHead, String) {
    let harness = try ChainHarness(.http) {
      pages
      deny
    }
    let run = await harness.start(client(method, "/", accept.map { ["accept": $0] } ?? [:]))
    let head = try #require(run.response)
    guard case .bytes(let bytes) = head.body else { return (head, "") }
    return (head, String(decoding: bytes, as: UTF8.self))
  }

  @Test(arguments: [
    (nil, "text/plain"), ("*/*", "text/plain"), ("text/html", "text/html"), ("TEXT/HTML;level=1", "text/html"),
    ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
    ("application/json", "application/problem+json"), ("application/json, text/plain, */*", "application/problem+json"),
    ("application/problem+json;q=0.5, text/html;q=0.4", "application/problem+json"),
    ("application/problem+json;q=0.4, text/html;q=0.5", "text/html"), ("application/*", "application/problem+json"),
    ("text/*", "text/plain"), ("text/plain;q=0, */*", "application/problem+json"), ("image/png", "text/plain"),
    ("text/html;q=0, */*;q=0.1", "text/plain"), ("", "text/plain"), (",;q,,", "text/plain"),
    ("text/html;q=0.001", "text/html"), ("text/html;q=2", "text/plain"), ("*/*;q=0.5, text/html;q=0.5", "text/html"),
  ])
  func theClientChoosesTheFormat(_ accept: String?, _ type: String) async throws {
    let (head, _) = try await refused(accept)
    let got = head["content-type"].split(separator: ";").first.map { String($0) }
    #expect(got == type)
  }

  @Test func aPageSaysTheStatusAndNeverTheDetail() async throws {
    let (head, text) = try await refused("text/plain")
    #expect(text == "403 Forbidden\n")
    #expect(head["content-length"] == "14" && head["cache-control"] == "no-store" && head["vary"] == "accept")
    #expect(head["x-content-type-options"] == "nosniff")
    let (_, json) = try await refused("application/json")
    #expect(json == "{\"type\":\"about:blank\",\"title\":\"Forbidden\",\"status\":403}\n")
    let (_, html) = try await refused("text/html")
    #expect(html.contains("<h1>403 Forbidden</h1>") && html.hasPrefix("<!doctype html>"))
    #expect(!text.contains("secret") && !json.contains("secret") && !html.contains("secret"))
  }

  @Test func theIdOfTheRequestIsOnThePage() async throws {
    let harness = try ChainHarness(.http) {
      ErrorPages()
      RequestID()
      Deny(.forbidden)
    }
    for accept in ["text/plain", "text/html", "application/json"] {
      let run = await harness.start(client(.get, "/", ["accept": accept]))
      let head = try #require(run.response)
      #expect(String(decoding: run.responseBody, as: UTF8.self).contains(head["x-request-id"]))
    }
  }

  @Test func theFieldsOfTheRefusalStay() async throws {
    let (head, _) = try await refused("text/html", ErrorPages(), Deny(.rateLimited, retryAfter: .seconds(3)))
    #expect(head.status == 429 && head["retry-after"] == "3")
    let (login, _) = try await refused(nil, ErrorPages(), Deny(.credentialsRequired))
    #expect(login["www-authenticate"].hasPrefix("Basic"))
  }

  @Test func anUpstreamsErrorPassesUnlessItsStatusIsNamed() async throws {
    let origin = Origin(status: 502, fields: ["content-encoding": "gzip", "etag": "\"a\"", "x-a": "1"])
    func answer(_ pages: ErrorPages) async throws -> HTTPResponseHead {
      let harness = try ChainHarness(
        Listener(.http, on: ":1") {
          pages
        } to: {
          origin
        })
      return try #require(await harness.start().response)
    }
    let passed = try await answer(ErrorPages(replacingUpstream: [503]))
    #expect(passed.body == .relayed && passed["content-encoding"] == "gzip")
    let replaced = try await answer(ErrorPages(replacingUpstream: [502]))
    #expect(replaced.body == .bytes(Array("502 Bad Gateway\n".utf8)))
    #expect(replaced["content-encoding"] == "" && replaced["etag"] == "" && replaced["x-a"] == "1")
  }

  /// The page is ours, what the client has to do stays the origin's to say, in every scheme that it offers.
  @Test func aReplacedChallengeKeepsEveryScheme() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        ErrorPages(replacingUpstream: [401])
      } to: {
        Origin(status: 401, fields: ["www-authenticate": "Basic realm=\"a\"", "www-authenticate": "Bearer"])
      })
    let run = await harness.start()
    let head = try #require(run.response)
    #expect(head.status == 401 && head["www-authenticate"] == "Basic realm=\"a\" | Bearer")
    #expect(run.responseBody == Array("401 Unauthorized\n".utf8))
  }

  @Test func anAnswerThatSomebodyWroteABodyForIsLeftAlone() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        ErrorPages()
      } to: {
        Route("/own", to: { Respond(404, "mine") })
        Route("/bare", to: { Respond(404) })
        Route("/good", to: { Respond(204) })
      })
    #expect(await harness.start(client(.get, "/own")).responseBody == Array("mine".utf8))
    #expect(await harness.start(client(.get, "/bare")).responseBody == Array("404 Not Found\n".utf8))
    #expect(await harness.start(client(.get, "/good")).responseBody == [])
    #expect(await harness.start(client(.get, "/none")).responseBody == Array("404 Not Found\n".utf8))
  }

  @Test func headGetsTheHeadOfThePage() async throws {
    let (head, _) = try await refused(nil, ErrorPages(), Deny(.forbidden), .head)
    #expect(head["content-length"] == "14")
  }

  @Test func aPageOfOnesOwn() async throws {
    let pages = ErrorPages(fallback: .html, html: { "<p>\($0.status) \(ErrorPages.escaped("<\($0.title)&'\">"))" })
    let (head, text) = try await refused(nil, pages)
    #expect(text == "<p>403 &lt;Forbidden&amp;&#39;&quot;&gt;")
    #expect(head["content-type"] == "text/html; charset=utf-8")
  }

  @Test func aStatusThatIsNoErrorIsRefusedWhenTheAppIsBuilt() {
    #expect(
      problems { ErrorPages(replacingUpstream: [200]) }
        == ["error-pages: the status 200 is no error: 400...599 are allowed"])
  }
}
