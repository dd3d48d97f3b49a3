import Pipeline
import Testing

@testable import Transports

/// Bodies of requests on their way to the upstream, and answers that come before they are complete.
@Suite struct RequestBodyTests {
  @Test func chunksAreFramedAnewWithTheirTrailers() async throws {
    let backend = try ScriptedBackend { session in
      while let head = try session.readHead() {
        #expect(head["transfer-encoding"] == ["chunked"])
        #expect(head["content-length"] == [])
        let (body, trailers) = try session.peer.readChunks() ?? ("cut", "")
        try session.peer.send(response("\(body) \(trailers.lowercased().filter { !$0.isNewline })"))
      }
    }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      let head = "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
      let one = try client.ask(head + "3;a=b\r\nabc\r\n000002\r\nde\r\n0\r\nX-T: 1\r\n\r\n")
      #expect(one?.body == "abcde x-t: 1")
      // Byte by byte, and the next request right behind it.
      for byte in head + "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nGET /" { try client.send(String(byte)) }
      #expect(try client.readResponse()?.body == "abcde ")
      try client.send(" HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
      #expect(try client.readResponse()?.body == " ")
    }
    #expect(backend.connections == 1)
    #expect(backend.requests.map(\.head.method) == ["POST", "POST", "GET"])
  }

  @Test func aLargeBodyBehindWhichARequestStandsIsCutAtItsEnd() async throws {
    let text = String(repeating: "abcdefgh", count: 40_000)
    let backend = try ScriptedBackend.answering { head, peer in
      response("\(try peer.read(Int(head["content-length"].first ?? "0") ?? 0).utf8.count)")
    }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      let post = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: \(text.utf8.count)\r\n\r\n" + text
      try client.send(post + post + "GET / HTTP/1.1\r\nHost: t\r\n\r\n")
      #expect(try client.readResponse()?.body == "320000")
      #expect(try client.readResponse()?.body == "320000")
      #expect(try client.readResponse()?.body == "0")
    }
    #expect(backend.connections == 1)
  }

  @Test func anAnswerMayComeBeforeTheBodyIsComplete() async throws {
    let backend = try ScriptedBackend { session in
      _ = try session.readHead()
      try session.peer.send(response("too much", status: "413 Content Too Large", "Connection: close\r\n"))
    }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\nsome of it")
      let answer = try client.readResponse()
      #expect(answer?.status == 413)
      #expect(answer?.body == "too much")
      #expect(answer?.head["connection"] == ["close"])
    }
  }

  @Test func bothDirectionsMoveAtTheSameTime() async throws {
    let backend = try ScriptedBackend { session in
      _ = try session.readHead()
      try session.peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
      while let line = try session.peer.read(through: "\r\n"), let size = Int(line.dropLast(1), radix: 16), size > 0 {
        let chunk = try session.peer.read(size + 2)
        try session.peer.send("\(String(size, radix: 16))\r\n\(chunk)")
      }
      _ = try session.peer.read(through: "\r\n")
      try session.peer.send("0\r\n\r\n")
    }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
      #expect(try client.readHead()?.status == 200)
      for word in ["one", "two", "three"] {
        try client.send("\(String(word.utf8.count, radix: 16))\r\n\(word)\r\n")
        // Each comes back before the next is sent.
        #expect(try client.read(through: "\r\n") == "\(word.utf8.count)\r\n")
        #expect(try client.read(word.utf8.count + 2) == word + "\r\n")
      }
      try client.send("0\r\n\r\n")
      #expect(try client.read(5) == "0\r\n\r\n")
    }
  }

  @Test func anUpstreamThatReadsNothingStopsTheClient() async throws {
    let goOn = Mailbox<Void>()
    let size = 16 << 20
    let backend = try ScriptedBackend { session in
      _ = try session.readHead()
      _ = blockingWait { await goOn.next() }
      #expect(try session.peer.readBytes(size).count == size)
      try session.peer.send(response("all"))
    }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: \(size)\r\n\r\n")
      // Not all of it fits between: sending it all would block for ever if the proxy did not go on later.
      detachedThread {
        _ = blockingWait { await backend.arrived.next() }
        goOn.put(())
      }
      for _ in 0..<16 { try client.peer.send([UInt8](repeating: 120, count: 1 << 20)) }
      #expect(try client.readResponse()?.body == "all")
    }
  }

  @Test func aPartOfABodyThatWasReadHereIsNotForwarded() async throws {
    let backend = try ScriptedBackend.answering(response("never"))
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        Peek()
      } to: {
        Upstream(backend.address.text)
      }
    } body: { server in
      let proxy = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(proxy)
        #expect(try client.ask("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc")?.status == 502)
        #expect(try client.get()?.body == "never")
      }
    }
    #expect(backend.requests.count == 1)
  }

  private struct Peek: HTTPMiddleware {
    func handle(_ exchange: HTTPExchange, next: Next) async throws -> Summary {
      var bytes: [UInt8] = []
      _ = try await exchange.readBody(into: &bytes, atMost: 1)
      return try await next()
    }
  }
}
