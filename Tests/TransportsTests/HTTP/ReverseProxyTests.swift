import Pipeline
import Testing

@testable import Transports

/// Requests that go through to an upstream and come back.
@Suite struct ReverseProxyTests {
  @Test func aGetGoesThroughAndComesBack() async throws {
    let backend = try ScriptedBackend.answering(response("hello", "x-mine: 1\r\n"))
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      let answer = try client.get("/path?query=1", "X-Kept: yes\r\n")
      #expect(answer?.status == 200)
      #expect(answer?.body == "hello")
      #expect(answer?.head["x-mine"] == ["1"])
      #expect(answer?.head["connection"] == [])
    }
    let seen = try #require(backend.requests.first)
    #expect(seen.head.startLine == "GET /path?query=1 HTTP/1.1")
    #expect(seen.head["x-kept"] == ["yes"])
    #expect(seen.head["host"] == ["test"])
  }

  @Test func bothSidesAreKept() async throws {
    let backend = try ScriptedBackend.answering { head, _ in response("answer to \(head.target)") }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      for number in 1...50 { #expect(try client.get("/\(number)")?.body == "answer to /\(number)") }
    }
    #expect(backend.connections == 1)
    #expect(backend.requests.count == 50)
  }

  @Test func pipelinedRequestsAreAnsweredInOrder() async throws {
    let backend = try ScriptedBackend.answering { head, _ in response("answer to \(head.target)") }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send((1...30).map { "GET /\($0) HTTP/1.1\r\nHost: test\r\n\r\n" }.joined())
      for number in 1...30 { #expect(try client.readResponse()?.body == "answer to /\(number)") }
    }
    #expect(backend.requests.map(\.head.target) == (1...30).map { "/\($0)" })
  }

  @Test func aPostGoesThroughWithItsBody() async throws {
    let backend = try ScriptedBackend.answering { head, peer in
      let length = Int(head["content-length"].first ?? "") ?? -1
      return response("got " + (try peer.read(length)))
    }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      let one = try client.ask("POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nabcde")
      #expect(one?.body == "got abcde")
      try client.send("POST /b HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n")
      try client.send("fgh")
      try client.send("ij")
      #expect(try client.readResponse()?.body == "got fghij")
    }
  }

  @Test(arguments: [1, 1000, 65_536, 3_000_000]) func bodiesOfAnySizeArriveWhole(size: Int) async throws {
    let text = String(decoding: noise(size, seed: 7).map { $0 & 63 | 64 }, as: UTF8.self)
    let backend = try ScriptedBackend.answering { head, peer in
      if head.method == "GET" { return response(text) }
      let body = try peer.read(size)
      return response(body == text ? "same" : "different: \(body.utf8.count)")
    }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.get()?.body == text)
      #expect(try client.ask("PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: \(size)\r\n\r\n" + text)?.body == "same")
      #expect(try client.get()?.body == text)
    }
  }

  @Test func respondAndHandleAnswerThemselves() async throws {
    try await withServer {
      Listener(.http, on: "127.0.0.1:0") {
      } to: {
        Route("/fixed") {
        } to: {
          Respond(201, "fixed")
        }
        Route("/echo") {
        } to: {
          Handle { exchange in
            let body = try await exchange.collectBody(upTo: 1000)
            return try await exchange.respond(200, body: body)
          }
        }
      }
    } body: { server in
      let address = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(address)
        let fixed = try client.get("/fixed")
        #expect(fixed?.status == 201)
        #expect(fixed?.body == "fixed")
        #expect(fixed?.head["date"].count == 1)
        #expect(try client.ask("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nabcd")?.body == "abcd")
        let chunked =
          "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        #expect(try client.ask(chunked)?.body == "abcde")
        #expect(try client.get("/nowhere")?.status == 404)
        #expect(try client.get("/fixed")?.status == 201)
      }
    }
  }

  @Test func garbageIsRefusedAndTheConnectionEnds() async throws {
    try await withServer {
      Listener(.http, on: "127.0.0.1:0") {
      } to: {
        Respond(200)
      }
    } body: { server in
      let address = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(address)
        let answer = try client.ask(
          "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
        #expect(answer?.status == 400)
        #expect(answer?.head["connection"] == ["close"])
        #expect(try client.hasEnded())
      }
      #expect(await server.log.next()?.text.contains("both transfer-encoding and content-length") == true)
    }
  }

  @Test func noUpstreamIsA502() async throws {
    try await withServer {
      Listener(.http, on: "127.0.0.1:0") {
      } to: {
        Upstream("127.0.0.1:1")
      }
    } body: { server in
      let proxy = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(proxy)
        #expect(try client.get()?.status == 502)
        #expect(try client.get()?.status == 502)
      }
    }
  }
}
