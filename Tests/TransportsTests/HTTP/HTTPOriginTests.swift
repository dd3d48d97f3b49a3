import Pipeline
import Testing

@testable import Transports

/// The client with which elements ask other services.
@Suite struct HTTPOriginTests {
  private struct Ask: HTTPMiddleware {
    let origin: HTTPOrigin
    var limit = 1000

    func handle(_ exchange: HTTPExchange, next: Next) async throws -> Summary {
      var fields = HeaderFields()
      fields.set("x-asked", "yes")
      let response = try await origin.send(
        exchange.request.method, exchange.request.target, fields, on: exchange, atMost: limit)
      return try await exchange.respond(response.status, body: response.body) {
        $0.fields.set("x-got", response.fields["x-mine"] ?? "")
      }
    }
  }

  private func run(_ backend: ScriptedBackend, _ body: @escaping @Sendable (SocketAddress) throws -> Void) async throws
  {
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        Ask(origin: HTTPOrigin("http://\(backend.address.text)"))
      } to: {
        Respond(500)
      }
    } body: { server in
      let address = server.address()
      try await onThread { try body(address) }
    }
  }

  @Test func aWholeAnswerComesBackAndTheConnectionIsKept() async throws {
    let backend = try ScriptedBackend.answering { head, _ in
      switch head.target {
      case "/chunked":
        "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 201 Created\r\nX-Mine: 2\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
      default: response("body", status: "202 Accepted", "X-Mine: 1\r\n")
      }
    }
    try await run(backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      let first = try client.get("/a?b")
      #expect(first?.status == 202)
      #expect(first?.body == "body")
      #expect(first?.head["x-got"] == ["1"])
      let second = try client.get("/chunked")
      #expect(second?.status == 201)
      #expect(second?.body == "abc")
    }
    #expect(backend.connections == 1)
    let head = try #require(backend.requests.first?.head)
    #expect(head.startLine == "GET /a?b HTTP/1.1")
    #expect(head["host"] == [backend.address.text])
    #expect(head["x-asked"] == ["yes"])
  }

  @Test func aDeadKeptConnectionIsReplaced() async throws {
    let backend = try ScriptedBackend { session in
      var count = 0
      while try session.readHead() != nil {
        count += 1
        if session.number == 1, count == 2 { return }
        try session.peer.send(response("from \(session.number)"))
      }
    }
    try await run(backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.get()?.body == "from 1")
      #expect(try client.get()?.body == "from 2")
    }
    #expect(backend.requests.count == 3)
  }

  @Test(arguments: [
    "junk\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + String(repeating: "x", count: 2000),
  ])
  func whatIsNoAnswerIsA502(answer: String) async throws {
    let backend = try ScriptedBackend.answering(answer)
    try await run(backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.get()?.status == 502)
    }
  }

  @Test func aBodyThatIsCutIsA502AndOneThatTheCloseEndsIsNot() async throws {
    let backend = try ScriptedBackend { session in
      let head = try session.readHead()
      try session.peer.send(
        head?.target == "/cut" ? "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc" : "HTTP/1.1 200 OK\r\n\r\nabc")
    }
    try await run(backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.get("/cut")?.status == 502)
      #expect(try client.get("/close")?.body == "abc")
    }
  }
}
