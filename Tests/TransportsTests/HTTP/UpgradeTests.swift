import Pipeline
import Testing

@testable import Transports

/// What turns into a tunnel: 101 after a request for another protocol, and CONNECT.
@Suite struct UpgradeTests {
  private let upgrade = "GET /ws HTTP/1.1\r\nHost: t\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"

  /// Switches, and sends back what comes until the other side has finished.
  private func switchingBackend(_ first: String = "") throws -> ScriptedBackend {
    try ScriptedBackend { session in
      _ = try session.readHead()
      try session.peer.send(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + first)
      while true {
        let bytes = try session.peer.read(1)
        if bytes.isEmpty { break }
        try session.peer.send(bytes)
      }
      try session.peer.send("bye")
    }
  }

  @Test func bytesGoBothWaysAndHalfCloseIsHandedOn() async throws {
    let backend = try switchingBackend("first")
    try await withReverseProxy(to: backend) { [upgrade] proxy in
      let client = try HTTPPeer.connect(proxy)
      // What is sent ahead of the answer belongs to the new protocol.
      try client.send(upgrade + "\r\nahead")
      let answer = try client.readResponse()
      #expect(answer?.status == 101)
      #expect(answer?.head["upgrade"] == ["websocket"])
      #expect(answer?.head["connection"] == ["upgrade"])
      #expect(try client.read(10) == "firstahead")
      try client.send("hello")
      #expect(try client.read(5) == "hello")
      client.peer.finishWriting()
      #expect(try client.readToEnd() == "bye")
    }
    let head = try #require(backend.requests.first?.head)
    #expect(head["upgrade"] == ["websocket"])
    #expect(head["connection"] == ["upgrade"])
  }

  @Test func anUpgradeThatWasNotAskedForIsA502() async throws {
    let backend = try switchingBackend()
    try await withReverseProxy(to: backend) { proxy in
      let unasked = try proxy.get()?.status
      #expect(unasked == 502)
      // `upgrade` counts only if `connection` lists it.
      let unlisted = try proxy.get("/", "Upgrade: websocket\r\n")?.status
      #expect(unlisted == 502)
    }
    #expect(backend.requests.allSatisfy { $0.head["upgrade"] == [] })
  }

  /// The body belongs to the request, what follows it to the new protocol.
  @Test func aRequestWithABodyMaySwitchWhenItIsComplete() async throws {
    let backend = try ScriptedBackend { session in
      guard let head = try session.readHead() else { return }
      let body = try session.peer.read(Int(head["content-length"].first ?? "") ?? 0)
      try session.peer.send(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: own\r\n\r\n\(body)|")
      try session.peer.send(try session.peer.read(4))
    }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send(
        "POST / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: own\r\nContent-Length: 4\r\n\r\nbodynext")
      #expect(try client.readResponse()?.status == 101)
      #expect(try client.read(9) == "body|next")
    }
  }

  /// What is missing of the body would be taken for the new protocol.
  @Test func aSwitchInTheMiddleOfABodyIsA502() async throws {
    let backend = try switchingBackend()
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send(
        "POST / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: own\r\nContent-Length: 50\r\n\r\n12345")
      #expect(try client.readResponse()?.status == 502)
    }
  }

  /// An offer is for the next hop, and the client of the proxy is another one (RFC 9110, 7.6.1); only a 426 has to name what
  /// it wants.
  @Test func anOfferInAnotherAnswerIsNotHandedOn() async throws {
    let backend = try ScriptedBackend.answering { head, _ in
      response("body", status: head.target == "/426" ? "426 x" : "200 OK", "Connection: upgrade\r\nUpgrade: own\r\n")
    }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      let offered = try client.get()
      #expect(offered?.body == "body" && offered?.head["upgrade"] == [] && offered?.head["connection"] == [])
      let required = try client.get("/426")
      #expect(required?.body == "body" && required?.head["upgrade"] == ["own"])
      #expect(required?.head["connection"] == ["upgrade"])
    }
  }

  @Test func cleartextHTTP2IsNeverOffered() async throws {
    let backend = try ScriptedBackend.answering(response("plain"))
    try await withReverseProxy(to: backend) { proxy in
      let fields = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
      let plain = try proxy.get("/", fields)?.body
      #expect(plain == "plain")
    }
    let head = try #require(backend.requests.first?.head)
    #expect(head["upgrade"] == [])
    #expect(head["connection"] == [])
    #expect(head["http2-settings"] == [])
  }

  @Test func anOriginThatDeclinesAnswersAsUsual() async throws {
    let backend = try ScriptedBackend.answering(response("no"))
    try await withReverseProxy(to: backend) { [upgrade] proxy in
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.ask(upgrade + "\r\n")?.body == "no")
      #expect(try client.get()?.body == "no")
    }
    #expect(backend.connections == 1)
  }

  private func withForwardProxy(_ body: @escaping @Sendable (SocketAddress) throws -> Void) async throws {
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
      } to: {
        Direct()
      }
    } body: { server in
      let address = server.address()
      try await onThread { try body(address) }
    }
  }

  @Test func connectOpensATunnel() async throws {
    let origin = try TestOrigin.echo()
    try await withForwardProxy { proxy in
      let client = try HTTPPeer.connect(proxy)
      let authority = origin.address.text
      try client.send("CONNECT \(authority) HTTP/1.1\r\nHost: \(authority)\r\n\r\nahead")
      let answer = try client.readResponse(to: "CONNECT")
      #expect(answer?.status == 200)
      #expect(answer?.head["content-length"] == [])
      #expect(answer?.head["transfer-encoding"] == [])
      #expect(try client.read(5) == "ahead")
      try client.send("more")
      client.peer.finishWriting()
      #expect(try client.readToEnd() == "more")
    }
  }

  /// HTTP/1.0 clients need no host field, and a tunnel needs no HTTP.
  @Test func anOldClientGetsItsTunnel() async throws {
    let origin = try TestOrigin.echo()
    try await withForwardProxy { proxy in
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.ask("CONNECT \(origin.address.text) HTTP/1.0\r\nUser-agent: old/1\r\n\r\n")?.status == 200)
      try client.send("some data\r\n\r\nGET / HTTP/1.1\r\n\r\n")
      client.peer.finishWriting()
      #expect(try client.readToEnd() == "some data\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    }
  }

  @Test func aTunnelToNobodyIsRefusedWithItsStatus() async throws {
    try await withForwardProxy { proxy in
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.ask("CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n")?.status == 502)
      // The refusal ends nothing.
      #expect(
        try client.ask("CONNECT no.such.name.invalid:80 HTTP/1.1\r\nHost: no.such.name.invalid\r\n\r\n")?.status == 502)
    }
  }

  @Test func absoluteFormGoesOnInOriginForm() async throws {
    let backend = try ScriptedBackend.answering { head, _ in response(head.target) }
    try await withForwardProxy { proxy in
      let client = try HTTPPeer.connect(proxy)
      let host = backend.address.text
      let fields = "Host: \(host)\r\nProxy-Authorization: Basic c2VjcmV0\r\nProxy-Connection: keep-alive\r\n\r\n"
      #expect(try client.ask("GET http://\(host)/a?b=c HTTP/1.1\r\n" + fields)?.body == "/a?b=c")
      #expect(try client.ask("GET http://\(host) HTTP/1.1\r\n" + fields)?.body == "/")
      #expect(try client.ask("GET http://\(host)?q HTTP/1.1\r\n" + fields)?.body == "/?q")
      #expect(try client.ask("OPTIONS http://\(host) HTTP/1.1\r\n" + fields)?.body == "*")
    }
    #expect(backend.connections == 1)
    for seen in backend.requests {
      #expect(seen.head["host"] == [backend.address.text])
      #expect(seen.head["proxy-authorization"] == [])
      #expect(seen.head["proxy-connection"] == [])
    }
  }

  @Test func aForwardProxyNeedsATarget() async throws {
    try await withForwardProxy { proxy in
      let origin = try proxy.get()?.status
      #expect(origin == 400)
      let ftp = try proxy.ask("GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n")?.status
      #expect(ftp == 400)
    }
  }

  @Test func aReverseProxyOpensNoTunnel() async throws {
    let backend = try ScriptedBackend.answering(response("ok"))
    try await withReverseProxy(to: backend) { proxy in
      let authority = backend.address.text
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.ask("CONNECT \(authority) HTTP/1.1\r\nHost: \(authority)\r\n\r\n")?.status == 501)
      // A target in absolute form is served by the upstream, as every server has to (RFC 9112, 3.2.2).
      #expect(try client.ask("GET http://\(authority)/x HTTP/1.1\r\nHost: \(authority)\r\n\r\n")?.body == "ok")
    }
    #expect(backend.requests.map(\.head.startLine) == ["GET /x HTTP/1.1"])
  }
}
