import Foundation
import Middlewares
import Pipeline
import Testing

@testable import Transports

/// The middlewares and `Files` over real sockets.
@Suite struct MiddlewareServerTests {
  @Test func filesAreServedOverOneConnection() async throws {
    let tree = try TemporaryTree()
    let large = String(decoding: noise(1_500_000, seed: 3).map { $0 & 63 | 64 }, as: UTF8.self)
    try tree.file("a.txt", "hello")
    try tree.file("large.txt", large)
    let root = tree.root.path
    try await withServer {
      Listener(.http, on: "127.0.0.1:0") {
        ErrorPages()
      } to: {
        Route("/static") {
          RewritePath(.strip("/static"))
        } to: {
          Files(root)
        }
      }
    } body: { server in
      let address = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(address)
        let small = try client.get("/static/a.txt")
        #expect(small?.status == 200 && small?.body == "hello")
        let head = try client.ask("HEAD /static/large.txt HTTP/1.1\r\nHost: t\r\n\r\n")
        #expect(head?.status == 200 && head?.head["content-length"] == ["1500000"])
        let whole = try client.get("/static/large.txt")
        #expect(whole?.body == large && whole?.isWhole == true)
        let part = try client.get("/static/large.txt", "Range: bytes=-3\r\n")
        #expect(part?.status == 206 && part?.body == String(large.suffix(3)))
        let parts = try client.get("/static/large.txt", "Range: bytes=-3,0-4\r\n")
        #expect(parts?.status == 206 && parts?.isWhole == true)
        #expect(parts?.head["content-type"].first?.hasPrefix("multipart/byteranges; boundary=") == true)
        #expect(parts?.body.contains("\r\n\r\n\(large.suffix(3))\r\n--") == true)
        #expect(parts?.body.contains("\r\n\r\n\(large.prefix(5))\r\n--") == true)
        let tag = small?.head["etag"].first ?? ""
        let same = try client.get("/static/a.txt", "If-None-Match: \(tag)\r\n")
        #expect(same?.status == 304 && same?.head["etag"] == [tag])
        #expect(same?.head["content-length"] != ["0"])
        let missing = try client.get("/static/none", "Accept: text/html\r\n")
        #expect(missing?.status == 404 && missing?.body.contains("<h1>404 Not Found</h1>") == true)
        let outside = try client.get("/static/..%2f..%2fetc/passwd")
        #expect(outside?.status == 404)
        #expect(try client.get("/static/a.txt")?.body == "hello")
      }
    }
    #expect(tree.openDescriptors == 0)
  }

  @Test func aClientThatLeavesALargeFileLeavesNoDescriptor() async throws {
    let tree = try TemporaryTree()
    try tree.file("large", [UInt8](repeating: 7, count: 30_000_000))
    let root = tree.root.path
    try await withServer {
      Listener(.http, on: "127.0.0.1:0") {
      } to: {
        Files(root)
      }
    } body: { server in
      let address = server.address()
      try await onThread {
        for _ in 0..<5 {
          let client = try HTTPPeer.connect(address)
          try client.send("GET /large HTTP/1.1\r\nHost: t\r\n\r\n")
          _ = try client.readHead()
          client.close()
        }
      }
    }
    // The server has stopped, so every connection has ended.
    #expect(tree.openDescriptors == 0)
  }

  @Test func aFileThatShrinksIsCutForTheClient() async throws {
    let tree = try TemporaryTree()
    let url = try tree.file("large", [UInt8](repeating: 65, count: 60_000_000))
    let root = tree.root.path
    try await withServer {
      Listener(.http, on: "127.0.0.1:0") {
      } to: {
        Files(root)
      }
    } body: { server in
      let address = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(address)
        try client.send("GET /large HTTP/1.1\r\nHost: t\r\n\r\n")
        let head = try client.readHead()
        #expect(head?["content-length"] == ["60000000"])
        // More than the sockets between hold, so that most of it is still to be read from the file.
        try FileHandle(forWritingTo: url).truncate(atOffset: 100_000)
        #expect(try client.readToEndOrReset() < 60_000_000)
      }
    }
  }

  @Test func loginsIdsAndHeadersWorkTogether() async throws {
    let backend = try ScriptedBackend.answering { head, _ in response("hello", "Server: secret/1.0\r\n") }
    let tokens = try TokenTable([TokenTable.Token("0123456789abcdefghij", user: "ann")])
    let upstream = backend.address.text
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        ErrorPages()
        RequestID()
        CORS(allow: .origins("https://app.example"))
        BearerAuth(tokens, realm: "api")
        Middlewares.Headers(
          request: .set("x-user", .identity), .remove("authorization"), .set("x-ip", .clientIP),
          response: .remove("server"))
        RewritePath(.strip("/api"))
      } to: {
        Upstream(upstream)
      }
    } body: { server in
      let address = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(address)
        let refused = try client.get("/api/x", "Origin: https://app.example\r\nAccept: application/json\r\n")
        #expect(refused?.status == 401)
        #expect(refused?.head["www-authenticate"] == ["Bearer realm=\"api\""])
        #expect(refused?.head["access-control-allow-origin"] == ["https://app.example"])
        let id = refused?.head["x-request-id"].first ?? "-"
        #expect(refused?.body.contains("\"status\":401,\"request_id\":\"\(id)\"") == true)
        let preflight = try client.ask(
          "OPTIONS /api/x HTTP/1.1\r\nHost: t\r\nOrigin: https://app.example\r\nAccess-Control-Request-Method: GET\r\n\r\n"
        )
        #expect(preflight?.status == 204 && preflight?.head["access-control-allow-methods"] == ["GET, HEAD, POST"])
        for _ in 0..<3 {
          let good = try client.get("/api/x?y", "Authorization: Bearer 0123456789abcdefghij\r\nX-User: admin\r\n")
          #expect(good?.status == 200 && good?.body == "hello" && good?.head["server"] == [])
        }
      }
    }
    #expect(backend.requests.count == 3)
    for seen in backend.requests {
      #expect(seen.head.target == "/x?y" && seen.head["x-user"] == ["ann"] && seen.head["authorization"] == [])
      #expect(seen.head["x-ip"] == ["127.0.0.1"] && seen.head["x-request-id"].count == 1)
    }
  }

  @Test func aRetryRewritesTheRequestOnceForEachAttempt() async throws {
    let backend = try ScriptedBackend.answering { head, _ in response(status: "503 Busy") }
    let upstream = backend.address.text
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        Retry(attempts: 3, on: [503], backoff: .none)
        RewritePath(.strip("/api"))
        Middlewares.Headers(request: .add("x-hop", "one"))
      } to: {
        Upstream(upstream)
      }
    } body: { server in
      let address = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(address)
        #expect(try client.get("/api/api/x")?.status == 503)
      }
    }
    #expect(backend.requests.map(\.head.target) == ["/api/x", "/api/x", "/api/x"])
    #expect(backend.requests.allSatisfy { $0.head["x-hop"] == ["one"] })
  }
}

extension HTTPPeer {
  /// How many bytes come until the connection ends, in order or not.
  fileprivate func readToEndOrReset() throws -> Int {
    var count = 0
    while true {
      do {
        let more = try peer.receive()
        if more.isEmpty { return count }
        count += more.count
      } catch {
        return count
      }
    }
  }
}

/// `ForwardAuth` with a service behind real sockets.
@Suite struct ForwardAuthServerTests {
  @Test func aServiceDecidesOverAKeptConnection() async throws {
    let service = try ScriptedBackend.answering { head, _ in
      if head["cookie"] == ["s=ann"] { return response("", "Remote-User: ann\r\nRemote-Groups: ops,dev\r\n") }
      return response(
        "log in", status: "302 Found", "Location: https://login.example/\r\nSet-Cookie: a=1\r\nX-Private: 1\r\n")
    }
    let backend = try ScriptedBackend.answering(response("hello"))
    let auth = service.address.text
    let upstream = backend.address.text
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        ErrorPages()
        ForwardAuth(
          HTTPOrigin(auth), path: "/verify", user: "remote-user", roles: "remote-groups", copying: ["remote-user"])
        Authorize(role: "ops")
      } to: {
        Upstream(upstream)
      }
    } body: { server in
      let address = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(address)
        for _ in 0..<3 {
          let refused = try client.get("/page?x", "Remote-User: admin\r\n")
          #expect(refused?.status == 302 && refused?.body == "log in")
          #expect(refused?.head["location"] == ["https://login.example/"] && refused?.head["x-private"] == [])
          let passed = try client.get("/page?x", "Cookie: s=ann\r\nRemote-User: admin\r\n")
          #expect(passed?.status == 200 && passed?.body == "hello")
        }
        let posted = try client.ask(
          "POST /form HTTP/1.1\r\nHost: t\r\nCookie: s=ann\r\nContent-Length: 3\r\n\r\nabc")
        #expect(posted?.status == 200)
      }
    }
    #expect(service.connections == 1)
    let question = try #require(service.requests.first)
    #expect(question.head.startLine == "GET /verify HTTP/1.1" && question.head["x-forwarded-uri"] == ["/page?x"])
    #expect(question.head["x-forwarded-for"] == ["127.0.0.1"] && question.head["remote-user"] == [])
    #expect(backend.requests.count == 4 && backend.requests.allSatisfy { $0.head["remote-user"] == ["ann"] })
  }

  /// A proxy in front that speaks TLS with the client says so; a client that says so itself is not believed.
  @Test func theServiceLearnsHowTheClientSpeaks() async throws {
    let service = try ScriptedBackend.answering(response())
    let auth = service.address.text
    for trusted in [[], ["127.0.0.1"]] as [[CIDR]] {
      try await withServer(options: { $0.workers = 1 }) {
        Listener(.http, on: "127.0.0.1:0") {
          ForwardAuth(HTTPOrigin(auth))
        } to: {
          Respond(200)
        }.options { $0.http.trustedProxies = trusted }
      } body: { server in
        let address = server.address()
        try await onThread {
          let client = try HTTPPeer.connect(address)
          for fields in [
            "", "X-Forwarded-Proto: https\r\n", "X-Forwarded-Proto: HTTPS\r\n", "X-Forwarded-Proto: ftp\r\n",
            "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n",
          ] { #expect(try client.get("/", fields)?.status == 200) }
        }
      }
    }
    #expect(
      service.requests.map { $0.head["x-forwarded-proto"].joined(separator: ",") } == [
        "http", "http", "http", "http", "http", "http", "https", "https", "http", "http",
      ])
  }

  @Test func aServiceThatIsDownOrTalksNonsenseIsA503() async throws {
    let nonsense = try ScriptedBackend.answering("HTTP/1.1 2x0 OK\r\n\r\n")
    let long = try ScriptedBackend.answering(
      response(String(repeating: "x", count: 10_000), status: "401 Unauthorized"))
    let backend = try ScriptedBackend.answering(response("hello"))
    let upstream = backend.address.text
    for auth in ["127.0.0.1:1", nonsense.address.text, long.address.text] {
      try await withServer(options: { $0.workers = 1 }) {
        Listener(.http, on: "127.0.0.1:0") {
          ForwardAuth(HTTPOrigin(auth), maxBody: 1000)
        } to: {
          Upstream(upstream)
        }
      } body: { server in
        let address = server.address()
        try await onThread {
          let client = try HTTPPeer.connect(address)
          #expect(try client.get()?.status == 503, "\(auth)")
        }
      }
    }
    #expect(backend.requests.isEmpty)
  }
}
