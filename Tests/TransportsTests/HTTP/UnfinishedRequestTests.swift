import Middlewares
import Pipeline
import Testing

@testable import Transports

/// Clients that end before their request does.
@Suite struct UnfinishedRequestTests {
  @Test(arguments: ["G", "GET / HTTP/1.1", "GET / HTTP/1.1\r\nHost: t\r\n", "GET / HTTP/1.1\r\nHost: t\r\n\r", "\r\n"])
  func aHeadThatIsNotCompleteReachesNobody(part: String) async throws {
    let backend = try ScriptedBackend.answering(response("no"))
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send(part)
      client.peer.finishWriting()
      #expect(try client.readToEnd() == "")
      #expect(try proxy.get("/next")?.status == 200)
    }
    #expect(backend.requests.map(\.head.target) == ["/next"])
  }

  /// The upstream must not take what it got for a whole body.
  @Test(arguments: [
    "PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nabc",
    "PUT / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "PUT / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nabc",
  ])
  func aBodyThatIsNotCompleteIsACutForTheUpstream(part: String) async throws {
    let bodies = Mailbox<String>()
    let backend = try ScriptedBackend { session in
      guard try session.readHead() != nil else { return }
      // A reset counts as a cut, too.
      do { bodies.put(try session.peer.readToEnd()) } catch { bodies.put("") }
    }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send(part)
      _ = blockingWait { await backend.arrived.next() }
      client.peer.finishWriting()
      #expect(try client.hasEnded())
    }
    let body = try #require(await bodies.next())
    #expect(body.utf8.count < 100 && !body.hasSuffix("0\r\n\r\n"))
    #expect(backend.requests.count == 1)
  }

  /// A body that nobody wants is read for the sake of the next request, which does not come.
  @Test func anEndInABodyThatNobodyWantsEndsTheConnection() async throws {
    try await withServer {
      Listener(.http, on: "127.0.0.1:0") {
      } to: {
        Respond(200, "done")
      }
    } body: { server in
      let address = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(address)
        try client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n12345")
        #expect(try client.readResponse()?.body == "done")
        client.peer.finishWriting()
        #expect(try client.hasEnded())
      }
    }
  }
}
