import Pipeline
import Testing

@testable import Transports

/// What heads say of their way, over sockets.
@Suite struct ForwardingServerTests {
  @Test func anOriginIsToldOnceHoweverOftenItIsTried() async throws {
    let backend = try ScriptedBackend { session in
      // The first connection dies without an answer.
      guard try session.readHead() != nil, session.number > 1 else { return }
      try session.peer.send(response("hello"))
      while try session.readHead() != nil { try session.peer.send(response("hello")) }
    }
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        AgainOnce()
      } to: {
        Upstream(backend.address.text)
      }.options { $0.http.viaName = "edge" }
    } body: { server in
      let address = server.address()
      try await onThread {
        let answer = try HTTPPeer.connect(address).get("/", "Via: 1.0 before\r\nX-Forwarded-For: 6.6.6.6\r\n")
        #expect(answer?.body == "hello")
        #expect(answer?.head["via"] == ["1.1 edge"])
        #expect(answer?.head["x-backend-url"] == [])
      }
    }
    #expect(backend.requests.count == 2)
    for seen in backend.requests {
      #expect(seen.head["via"] == ["1.0 before, 1.1 edge"])
      #expect(seen.head["x-forwarded-for"] == ["127.0.0.1"])
      #expect(seen.head["x-forwarded-host"] == ["test"])
      #expect(seen.head["x-forwarded-proto"] == ["http"])
      #expect(seen.head["forwarded"] == ["for=127.0.0.1;host=test;proto=http"])
    }
  }

  @Test func theClientBehindATrustedProxyIsTheClientOfTheExchange() async throws {
    let backend = try ScriptedBackend.answering(response("hello"))
    let seen = Mailbox<String>()
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        ClientWitness(seen: seen)
      } to: {
        Upstream(backend.address.text)
      }.options { $0.http.trustedProxies = ["127.0.0.0/8", "10.0.0.0/8"] }
    } body: { server in
      let address = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(address)
        for fields in [
          "X-Forwarded-For: 9.9.9.9, 192.0.2.1, 10.1.1.1\r\n", "", "Forwarded: for=\"[2001:db8::1]:80\"\r\n",
          "Forwarded: for=192.0.2.5\r\nX-Forwarded-For: 192.0.2.6\r\n",
        ] { #expect(try client.get("/", fields)?.status == 200) }
      }
      // Each request of the connection has its own.
      #expect(await seen.next() == "192.0.2.1:0")
      #expect(await seen.next()?.hasPrefix("127.0.0.1:") == true)
      #expect(await seen.next() == "[2001:db8::1]:80")
      #expect(await seen.next()?.hasPrefix("127.0.0.1:") == true)
    }
    let lists = backend.requests.map { $0.head["x-forwarded-for"] }
    #expect(lists == [["9.9.9.9, 192.0.2.1, 10.1.1.1, 127.0.0.1"], ["127.0.0.1"], ["127.0.0.1"], ["127.0.0.1"]])
  }

  @Test func whoAnsweredIsToldOnRequest() async throws {
    let backend = try ScriptedBackend.answering(response("hello", "X-Backend-URL: http://made-up\r\n"))
    let place = backend.address.text
    try await withReverseProxy(to: backend) {
      $0.http.viaName = "edge"
      $0.http.forwarding = [.forwardedBy, .backendURL]
    } body: { proxy in
      let answer = try HTTPPeer.connect(proxy).get()
      #expect(answer?.head["x-backend-url"] == ["http://\(place)"])
    }
    let seen = try #require(backend.requests.first?.head)
    #expect(seen["x-forwarded-by"] == ["edge"])
    #expect(seen["x-forwarded-for"] == [])
    #expect(seen["forwarded"] == [])
  }

  @Test func aReverseProxysClientCannotHideBehindTheAbsoluteForm() async throws {
    let backend = try ScriptedBackend.answering(response("hello"))
    let place = backend.address.text
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      for host in ["example.com", place] {
        #expect(try client.ask("GET http://\(host)/x HTTP/1.1\r\nHost: \(host)\r\n\r\n")?.status == 200)
      }
    }
    for seen in backend.requests {
      #expect(seen.head.startLine == "GET /x HTTP/1.1")
      #expect(seen.head["x-forwarded-for"] == ["127.0.0.1"])
    }
    #expect(backend.requests.count == 2)
  }

  @Test func ownAnswersNameNoWay() async throws {
    try await withServer {
      Listener(.http, on: "127.0.0.1:0") {
      } to: {
        Respond(200, "mine")
      }
    } body: { server in
      let address = server.address()
      let answer = try await onThread { try HTTPPeer.connect(address).get() }
      #expect(answer?.head["via"] == [])
    }
  }

  @Test func aNameThatIsNoTokenKeepsTheAppFromStarting() {
    #expect(throws: ConfigurationError.self) {
      try Server(
        Listener(.http, on: "127.0.0.1:0") {
        } to: {
          Respond(200)
        }.options { $0.http.viaName = "two words" })
    }
  }
}

/// Calls the rest a second time when it has failed.
private struct AgainOnce: Middleware {
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    do { return try await next() } catch { return try await next() }
  }
}
