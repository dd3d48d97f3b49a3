import Foundation
import Middlewares
import Pipeline
import Testing

@testable import Transports

/// CONNECT, and requests in absolute form.
@Suite struct ForwardProxyTests {
  /// A forward proxy on one loop for everybody.
  private func withForwardProxy(
    _ edit: @escaping (inout ListenerOptions) -> Void = { _ in },
    body: @escaping @Sendable (SocketAddress) throws -> Void
  ) async throws {
    var options = ListenerOptions()
    edit(&options)
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
      } to: {
        Direct()
      }.options { $0 = options }
    } body: { server in
      let address = server.address()
      try await onThread { try body(address) }
    }
  }

  /// A forward proxy for ann with her secret, whose mail ports are closed.
  private func withLogin(body: @escaping @Sendable (SocketAddress) throws -> Void) async throws {
    let verifier = PlainVerifier()
    let users = try UserTable(verifier: verifier, [.init(name: "ann", password: "secret", hashedBy: verifier)])
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        BasicAuth(users)
        DestinationRules(.deny(ports: 25...25), .deny(block: "127.0.0.2"))
      } to: {
        Direct()
      }
    } body: { server in
      let address = server.address()
      try await onThread { try body(address) }
    }
  }

  private static let login = "Proxy-Authorization: Basic YW5uOnNlY3JldA==\r\n"
  private static let wrongLogin = "Proxy-Authorization: Basic YW5uOndyb25n\r\n"

  // MARK: Absolute form

  @Test func anAbsoluteFormGoesOnInOriginForm() async throws {
    let backend = try ScriptedBackend.answering(response("hello"))
    let place = backend.address.text
    try await withForwardProxy { proxy in
      let client = try HTTPPeer.connect(proxy)
      let answer = try client.ask(
        "GET http://\(place)/path?q=1 HTTP/1.1\r\nHost: \(place)\r\nProxy-Connection: keep-alive\r\n"
          + "Authorization: Bearer t\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
      #expect(answer?.status == 200)
      #expect(answer?.body == "hello")
      #expect(answer?.head["via"].first?.hasPrefix("1.1 sluice-") == true)
      #expect(try client.ask("GET http://\(place) HTTP/1.1\r\nHost: \(place)\r\n\r\n")?.status == 200)
      #expect(try client.ask("GET http://\(place)?q HTTP/1.1\r\nHost: \(place)\r\n\r\n")?.status == 200)
    }
    let seen = try #require(backend.requests.first?.head)
    #expect(seen.startLine == "GET /path?q=1 HTTP/1.1")
    #expect(seen["host"] == [place])
    #expect(seen["authorization"] == ["Bearer t"])
    #expect(seen["via"].first?.hasPrefix("1.1 sluice-") == true)
    for name in ["proxy-connection", "proxy-authorization", "forwarded", "x-forwarded-for", "x-forwarded-host"] {
      #expect(seen[name] == [], "\(name)")
    }
    #expect(backend.requests.dropFirst().map(\.head.target) == ["/", "/?q"])
    #expect(backend.connections == 1)
  }

  @Test func oneClientConnectionReachesSeveralOrigins() async throws {
    let one = try ScriptedBackend.answering(response("one"))
    let two = try ScriptedBackend.answering(response("two"))
    let (first, second) = (one.address.text, two.address.text)
    try await withForwardProxy { proxy in
      let client = try HTTPPeer.connect(proxy)
      for (place, body) in [(first, "one"), (second, "two"), (first, "one"), (second, "two")] {
        #expect(try client.ask("GET http://\(place)/ HTTP/1.1\r\nHost: \(place)\r\n\r\n")?.body == body)
      }
    }
    #expect(one.connections == 1)
    #expect(two.connections == 1)
  }

  @Test func aBodyGoesWithAnAbsoluteForm() async throws {
    let backend = try ScriptedBackend.answering { head, peer in
      response("got " + (try peer.read(Int(head["content-length"].first ?? "") ?? 0)))
    }
    let place = backend.address.text
    try await withForwardProxy { proxy in
      let client = try HTTPPeer.connect(proxy)
      let post = "POST http://\(place)/ HTTP/1.1\r\nHost: \(place)\r\nContent-Length: 3\r\n\r\nabc"
      #expect(try client.ask(post)?.body == "got abc")
    }
  }

  // MARK: CONNECT

  @Test func connectOpensATunnelBothWays() async throws {
    let origin = try TestOrigin.echo()
    let place = origin.address.text
    try await withForwardProxy { proxy in
      let client = try HTTPPeer.connect(proxy)
      let answer = try client.ask("CONNECT \(place) HTTP/1.1\r\nHost: \(place)\r\n\r\n")
      #expect(answer?.status == 200)
      // RFC 9110, 9.3.6: neither may stand in the answer to a CONNECT.
      #expect(answer?.head["content-length"] == [])
      #expect(answer?.head["transfer-encoding"] == [])
      let noise = noise(300_000, seed: 3)
      #expect(try client.peer.exchange(noise) == noise)
    }
  }

  @Test func whatAClientSendsBehindItsConnectBelongsToTheTunnel() async throws {
    let origin = try TestOrigin.echo()
    let place = origin.address.text
    try await withForwardProxy { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send("CONNECT \(place) HTTP/1.1\r\nHost: \(place)\r\n\r\nearly bytes")
      #expect(try client.readResponse(to: "CONNECT")?.status == 200)
      #expect(try client.read(11) == "early bytes")
      client.peer.finishWriting()
      #expect(try client.readToEnd() == "")
    }
  }

  @Test func aTunnelPassesAHalfCloseOn() async throws {
    let origin = try TestOrigin { peer in
      let all = try peer.receiveToEnd()
      try peer.send(Array("\(all.count) bytes".utf8))
    }
    let place = origin.address.text
    try await withForwardProxy { proxy in
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.ask("CONNECT \(place) HTTP/1.1\r\nHost: \(place)\r\n\r\n")?.status == 200)
      try client.send("12345")
      client.peer.finishWriting()
      #expect(try client.readToEnd() == "5 bytes")
    }
  }

  @Test func aReverseProxyOpensNoTunnel() async throws {
    let origin = try TestOrigin.echo()
    let place = origin.address.text
    try await withServer {
      Listener(.http, on: "127.0.0.1:0") {
      } to: {
        Upstream(place)
      }
    } body: { server in
      let address = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(address)
        let status = try client.ask("CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n")?.status
        #expect(status == 501)
      }
    }
  }

  // MARK: Credentials

  @Test func withoutCredentialsThereIsAChallengeAndTheConnectionStays() async throws {
    let backend = try ScriptedBackend.answering(response("hello"))
    let place = backend.address.text
    try await withLogin { proxy in
      let client = try HTTPPeer.connect(proxy)
      for method in ["GET http://\(place)/", "CONNECT \(place)"] {
        for fields in ["", Self.wrongLogin, "Authorization: Basic YW5uOnNlY3JldA==\r\n"] {
          let answer = try client.ask("\(method) HTTP/1.1\r\nHost: \(place)\r\n\(fields)\r\n")
          #expect(answer?.status == 407, "\(method) \(fields)")
          #expect(answer?.head["proxy-authenticate"] == ["Basic realm=\"proxy\", charset=\"UTF-8\""])
          #expect(answer?.head["www-authenticate"] == [])
        }
      }
      let get = "GET http://\(place)/ HTTP/1.1\r\nHost: \(place)\r\n\(Self.login)\r\n"
      #expect(try client.ask(get)?.body == "hello")
    }
    #expect(backend.requests.count == 1)
  }

  @Test func credentialsForTheProxyAreNeverPassedOn() async throws {
    let backend = try ScriptedBackend.answering(response("hello"))
    let place = backend.address.text
    try await withLogin { proxy in
      let client = try HTTPPeer.connect(proxy)
      let get = "GET http://\(place)/ HTTP/1.1\r\nHost: \(place)\r\n\(Self.login)\r\n"
      #expect(try client.ask(get)?.status == 200)
      let connect = "CONNECT \(place) HTTP/1.1\r\nHost: \(place)\r\n\(Self.login)\r\n"
      #expect(try client.ask(connect)?.status == 200)
      #expect(try client.ask("GET /inside HTTP/1.1\r\nHost: \(place)\r\n\r\n")?.body == "hello")
    }
    #expect(backend.requests.count == 2)
    for seen in backend.requests { #expect(!seen.head.text.lowercased().contains("proxy-auth")) }
  }

  @Test func anOriginsChallengeForTheProxyIsDropped() async throws {
    let answer = response(status: "407 Proxy Authentication Required", "Proxy-Authenticate: Basic realm=\"trap\"\r\n")
    let backend = try ScriptedBackend.answering(answer)
    let place = backend.address.text
    try await withForwardProxy { proxy in
      let client = try HTTPPeer.connect(proxy)
      let got = try client.ask("GET http://\(place)/ HTTP/1.1\r\nHost: \(place)\r\n\r\n")
      #expect(got?.head["proxy-authenticate"] == [])
    }
  }

  // MARK: Rules

  @Test func rulesDecideOnTheResolvedAddress() async throws {
    try await withLogin { proxy in
      let client = try HTTPPeer.connect(proxy)
      for place in ["127.0.0.1:25", "localhost:25", "127.0.0.2:80", "[::ffff:127.0.0.2]:80"] {
        for request in ["CONNECT \(place)", "GET http://\(place)/"] {
          let answer = try client.ask("\(request) HTTP/1.1\r\nHost: \(place)\r\n\(Self.login)\r\n")
          #expect(answer?.status == 403, "\(request)")
          #expect(answer?.body == "")
        }
      }
    }
  }

  @Test func aListenerThatOthersReachTakesNobodyToPrivatePlaces() async throws {
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "0.0.0.0:0") {
      } to: {
        Direct()
      }
    } body: { server in
      guard case .ip(_, let port) = server.address() else { return }
      try await onThread {
        let client = try HTTPPeer.connect(.ip(.loopbackV4, port: port))
        for place in ["127.0.0.1:80", "localhost:80", "169.254.169.254:80", "10.0.0.1:80", "[::1]:80"] {
          let answer = try client.ask("GET http://\(place)/ HTTP/1.1\r\nHost: \(place)\r\n\r\n")
          #expect(answer?.status == 403, "\(place)")
        }
      }
    }
  }

  // MARK: What cannot be done

  @Test func whatIsWrongWithARequestIsA400() async throws {
    try await withForwardProxy { proxy in
      for request in [
        // In origin form a forward proxy cannot tell where it should go.
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", "GET http://a:99999/ HTTP/1.1\r\nHost: a:99999\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
      ] {
        let client = try HTTPPeer.connect(proxy)
        #expect(try client.ask(request)?.status == 400, "\(request)")
      }
    }
  }

  @Test func anotherSchemeIsNotOffered() async throws {
    try await withForwardProxy { proxy in
      for target in ["https://a.example/", "ftp://a.example/x"] {
        let client = try HTTPPeer.connect(proxy)
        let status = try client.ask("GET \(target) HTTP/1.1\r\nHost: a.example\r\n\r\n")?.status
        #expect(status == 501 || status == 400, "\(target)")
      }
    }
  }

  @Test func whereNobodyListensIsA502() async throws {
    let closed = try BlockingOrigin()
    let place = closed.address.text
    closed.stop()
    try await withForwardProxy { proxy in
      let client = try HTTPPeer.connect(proxy)
      for request in ["GET http://\(place)/", "CONNECT \(place)"] {
        #expect(try client.ask("\(request) HTTP/1.1\r\nHost: \(place)\r\n\r\n")?.status == 502, "\(request)")
      }
      let nowhere = "name.invalid:80"
      #expect(try client.ask("GET http://\(nowhere)/ HTTP/1.1\r\nHost: \(nowhere)\r\n\r\n")?.status == 502)
    }
  }

  @Test func whatHasNoRoomIsA503() async throws {
    let origin = try TestOrigin.echo()
    let place = origin.address.text
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        ConcurrencyLimit(1)
      } to: {
        Direct()
      }
    } body: { server in
      let address = server.address()
      try await onThread {
        let connect = "CONNECT \(place) HTTP/1.1\r\nHost: \(place)\r\n\r\n"
        let first = try HTTPPeer.connect(address)
        #expect(try first.ask(connect)?.status == 200)
        #expect(try HTTPPeer.connect(address).ask(connect)?.status == 503)
      }
    }
  }

  @Test func whoDoesNotAnswerInTimeIsA504() async throws {
    // A listener whose queue is full drops further SYNs.
    let silent = try BlockingOrigin(backlog: 0)
    let place = silent.address.text
    let fillers = try (0..<4).map { _ in try BlockingPeer.begin(silent.address) }
    try await withForwardProxy {
      $0.connectTimeout = .milliseconds(50)
    } body: { proxy in
      let client = try HTTPPeer.connect(proxy)
      for request in ["GET http://\(place)/", "CONNECT \(place)"] {
        #expect(try client.ask("\(request) HTTP/1.1\r\nHost: \(place)\r\n\r\n")?.status == 504, "\(request)")
      }
    }
    withExtendedLifetime((silent, fillers)) {}
  }

  // MARK: The way of a request

  @Test func aRequestThatComesRoundIsALoop() async throws {
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0", name: "round") {
      } to: {
        Upstream("unix:/tmp/sluice-round.sock")
      }
    } body: { server in
      let address = server.address()
      // Back to the listener itself.
      try await server.server.reload(
        Listener(.http, on: address.text, name: "round") {
        } to: {
          Upstream(address.text)
        }.options { $0.http.viaName = "round" })
      let answer = try await onThread { try HTTPPeer.connect(address).get() }
      #expect(answer?.status == 502)
      let line = try await server.log.line(with: "loopDetected")
      #expect(line.text.contains("via names this proxy: round"))
    }
  }

  @Test func twoProxiesInARowAreNoLoop() async throws {
    let backend = try ScriptedBackend.answering(response("hello"))
    let place = backend.address.text
    try await withForwardProxy { inner in
      let innerPlace = inner.text
      let client = try HTTPPeer.connect(inner)
      // Through a tunnel, the same listener passes the same client's request twice: that is for the client to say.
      #expect(try client.ask("CONNECT \(innerPlace) HTTP/1.1\r\nHost: \(innerPlace)\r\n\r\n")?.status == 200)
      #expect(try client.ask("GET http://\(place)/ HTTP/1.1\r\nHost: \(place)\r\n\r\n")?.body == "hello")
    }
    try await withReverseProxy(to: backend) { inner in
      let inner = inner.text
      blockingWait {
        do {
          try await withForwardProxy { outer in
            let client = try HTTPPeer.connect(outer)
            let answer = try client.ask("GET http://\(inner)/ HTTP/1.1\r\nHost: \(inner)\r\n\r\n")
            #expect(answer?.body == "hello")
            #expect(answer?.head["via"].count == 2)
          }
        } catch {
          Issue.record(error)
        }
      }
    }
    #expect(backend.requests.last?.head["via"].first?.components(separatedBy: ", ").count == 2)
  }

  @Test func maxForwardsCountsDownAndEndsHere() async throws {
    let backend = try ScriptedBackend.answering(response("from the origin"))
    let place = backend.address.text
    try await withForwardProxy { proxy in
      let client = try HTTPPeer.connect(proxy)
      func ask(_ method: String, _ left: String) throws -> RawResponse? {
        try client.ask(
          "\(method) http://\(place)/x HTTP/1.1\r\nHost: \(place)\r\nCookie: c\r\nMax-Forwards: \(left)\r\n\r\n")
      }
      #expect(try ask("OPTIONS", "0")?.status == 204)
      let trace = try ask("TRACE", "0")
      #expect(trace?.status == 200)
      #expect(trace?.head["content-type"] == ["message/http"])
      #expect(trace?.body.hasPrefix("TRACE http://\(place)/x HTTP/1.1\r\n") == true)
      #expect(trace?.body.lowercased().contains("cookie") == false)
      #expect(try ask("OPTIONS", "2")?.body == "from the origin")
      #expect(try ask("GET", "0")?.body == "from the origin")
    }
    #expect(backend.requests.map { $0.head["max-forwards"] } == [["1"], ["0"]])
  }
}

/// A hash that costs nothing.
struct PlainVerifier: PasswordVerifier {
  func check(_ hash: PasswordHash) throws {}

  func hash(_ password: [UInt8]) throws -> PasswordHash { PasswordHash("\(password)") }

  func verify(_ password: [UInt8], against hash: PasswordHash) throws -> Bool { try self.hash(password) == hash }

  func digest(user: [UInt8], password: [UInt8]) -> PasswordDigest {
    var hasher = Hasher()
    hasher.combine(user)
    hasher.combine(password)
    return PasswordDigest((UInt64(bitPattern: Int64(hasher.finalize())), 0, 0, 0))
  }
}
