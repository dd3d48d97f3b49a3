import Pipeline
import Testing

@testable import Transports

/// Asks the upstream with another method than the client used.
private struct AskWith: HTTPMiddleware {
  let method: HTTPMethod
  func handle(_ exchange: HTTPExchange, next: Next) async throws -> Summary {
    exchange.request.method = method
    return try await next()
  }
}

/// Answers without a body, whatever comes behind their head.
@Suite struct BodylessAnswerTests {
  private func withMethod(
    _ method: HTTPMethod, to backend: ScriptedBackend, body: @escaping @Sendable (SocketAddress) throws -> Void
  ) async throws {
    let place = backend.address.text
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        AskWith(method: method)
      } to: {
        Route("/local", to: { Respond(200, "local") })
        Upstream(place)
      }
    } body: { server in
      let address = server.address()
      try await onThread { try body(address) }
    }
  }

  /// What the client asked with decides, or the body would be the answer to its next request.
  @Test func aHEADThatBecomesAGETOnTheWayHasNoBody() async throws {
    let large = String(repeating: "x", count: 200_000)
    let backend = try ScriptedBackend.answering { head, _ in
      switch head.target {
      case "/small": response("skipped")
      case "/large": response(large)
      default: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nskipped\r\n0\r\n\r\n"
      }
    }
    try await withMethod(.get, to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      for target in ["/small", "/large", "/chunked", "/local"] {
        try client.send("HEAD \(target) HTTP/1.1\r\nHost: t\r\n\r\n")
        #expect(try client.readHead()?.status == 200, "\(target)")
      }
      #expect(try client.get("/small")?.body == "skipped")
    }
    #expect(backend.requests.allSatisfy { $0.head.method == "GET" })
  }

  @Test func aGETThatBecomesAHEADIsAnEmptyAnswerAndNoMissingBody() async throws {
    let backend = try ScriptedBackend.answering { _, _ in "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n" }
    try await withMethod(.head, to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      for _ in 0..<2 {
        let answer = try client.get()
        #expect(answer?.status == 200 && answer?.isWhole == true && answer?.body == "")
      }
    }
    #expect(backend.requests.map(\.head.method) == ["HEAD", "HEAD"])
  }

  /// An origin that sends more than its head allows: none of it is the next answer.
  @Test(arguments: [
    ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nSEE-THIS"),
    ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nSEE-THIS\r\n0\r\n\r\n"),
    ("GET", "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"),
    ("GET", "HTTP/1.1 304 Not Modified\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"),
    ("GET", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nSEE-THIS\r\n0\r\n\r\n"),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"),
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngoodHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"),
    (
      "GET",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    ),
  ])
  func whatIsTooMuchIsNobodysAnswer(method: String, answer: String) async throws {
    let backend = try ScriptedBackend.answering { head, _ in head.target == "/next" ? response("next") : answer }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      let first = try client.ask("\(method) /odd HTTP/1.1\r\nHost: t\r\n\r\n")
      #expect(first?.body == (answer.contains("good") ? "good" : "") && first?.isWhole == true)
      #expect(try client.get("/next")?.body == "next")
    }
    #expect(backend.connections == 2, "a connection with something left over is not used again")
  }
}
