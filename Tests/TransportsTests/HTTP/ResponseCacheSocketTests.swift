import Glibc
import Middlewares
import Pipeline
import Testing

@testable import Transports

/// The cache on real connections: what arrives, byte by byte, and what the backend is asked.
@Suite struct ResponseCacheSocketTests {
  private func withCache(
    _ cache: ResponseCache, before backend: ScriptedBackend, workers: Int = 1,
    body: @escaping @Sendable (SocketAddress) throws -> Void
  ) async throws {
    try await withServer(options: { $0.workers = workers }) {
      Listener(.http, on: "127.0.0.1:0") {
        cache
      } to: {
        Upstream(backend.address.text)
      }
    } body: { server in
      let address = server.address()
      try await onThread { try body(address) }
    }
  }

  private static let fresh = "Cache-Control: max-age=60\r\nETag: \"v1\"\r\n"

  @Test func aHitNeedsNoBackend() async throws {
    let backend = try ScriptedBackend.answering { head, _ in response("body of \(head.target)", Self.fresh) }
    try await withCache(ResponseCache(), before: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      for status in ["MISS", "HIT", "HIT"] {
        for target in ["/a", "/b"] {
          let answer = try client.get(target)
          #expect(answer?.body == "body of \(target)")
          #expect(answer?.head["x-cache-status"] == [status])
          #expect(answer?.head["date"].count == 1)
          #expect(answer?.head["content-length"] == ["10"])
        }
      }
      // The same on another connection.
      #expect(try HTTPPeer.connect(proxy).get("/a")?.head["x-cache-status"] == ["HIT"])
      let head = try client.ask("HEAD /a HTTP/1.1\r\nHost: test\r\n\r\n")
      #expect(head?.head["content-length"] == ["10"])
      let unchanged = try client.get("/a", "If-None-Match: \"v1\"\r\n")
      #expect(unchanged?.status == 304)
      #expect(unchanged?.head["content-length"] == [])
      let part = try client.get("/a", "Range: bytes=8-\r\n")
      #expect(part?.status == 206)
      #expect(part?.body == "/a")
      #expect(try client.get("/a")?.body == "body of /a", "the connection is still in step")
      #expect(try client.get("/c", "Cache-Control: only-if-cached\r\n")?.status == 504)
      #expect(try client.get("/a")?.body == "body of /a")
    }
    #expect(backend.requests.count == 2)
  }

  /// What comes from the store was received from the origin all the same, in the version that it spoke then.
  @Test(arguments: ["1.1", "1.0"]) func everyAnswerOfAnOriginSaysItsWay(version: String) async throws {
    let backend = try ScriptedBackend { session in
      while let head = try session.readHead() {
        let fields = Self.fresh + "Via: 1.1 before\r\n"
        let isKnown = head["if-none-match"] == ["\"v1\""]
        try session.peer.send(
          "HTTP/\(version) \(isKnown ? "304 x" : "200 OK")\r\n\(fields)Connection: keep-alive\r\n"
            + (isKnown ? "\r\n" : "Content-Length: 4\r\n\r\nbody"))
      }
    }
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        ResponseCache(defaultTTL: .seconds(60))
      } to: {
        Route("/own", to: { Respond(200, "own") })
        Upstream(backend.address.text)
      }.options {
        $0.http.viaName = "edge"
        $0.http.forwarding = [.backendURL]
      }
    } body: { server in
      let address = server.address()
      let place = backend.address.text
      try await onThread {
        let client = try HTTPPeer.connect(address)
        for (status, fields) in [
          ("MISS", ""), ("HIT", ""), ("HIT", "If-None-Match: \"v1\"\r\n"), ("HIT", "Range: bytes=1-\r\n"),
          ("REVALIDATED", "Cache-Control: no-cache\r\n"),
        ] {
          let answer = try client.get("/a", fields)
          #expect(answer?.head["x-cache-status"] == [status])
          #expect(answer?.head["via"] == ["1.1 before", "\(version) edge"], "\(status) \(fields)")
          // Nobody was asked for a hit.
          if status == "HIT" {
            #expect(answer?.head["x-backend-url"] == [])
          } else if status == "MISS" {
            #expect(answer?.head["x-backend-url"] == ["http://\(place)"])
          }
        }
        for status in ["MISS", "HIT"] {
          let own = try client.get("/own")
          #expect(own?.head["x-cache-status"] == [status] && own?.head["via"] == [])
        }
      }
    }
  }

  @Test(arguments: [0, 1, 16_384, 300_000]) func bodiesOfAnySizeAndFramingAreKept(size: Int) async throws {
    let text = String(decoding: noise(size, seed: 3).map { $0 & 63 | 64 }, as: UTF8.self)
    let backend = try ScriptedBackend.answering { head, peer in
      if head.target == "/length" { return response(text, Self.fresh) }
      let start = "HTTP/1.1 200 OK\r\n" + Self.fresh
      if head.target == "/chunked" {
        let chunk = size > 0 ? String(size, radix: 16) + "\r\n" + text + "\r\n" : ""
        return start + "Transfer-Encoding: chunked\r\n\r\n" + chunk + "0\r\n\r\n"
      }
      try peer.send(start + "Connection: close\r\n\r\n" + text)
      return nil
    }
    try await withCache(ResponseCache(), before: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      for target in ["/length", "/chunked", "/close"] {
        let first = try client.get(target)
        #expect(first?.head["x-cache-status"] == ["MISS"])
        #expect(first?.body == text)
        let second = try client.get(target)
        #expect(second?.head["x-cache-status"] == ["HIT"])
        #expect(second?.head["content-length"] == ["\(size)"])
        #expect(second?.head["transfer-encoding"] == [])
        #expect(second?.body == text)
      }
    }
    #expect(backend.requests.count == 3)
  }

  @Test func aRevalidationAnswersWithTheStoredBody() async throws {
    let backend = try ScriptedBackend.answering { head, _ in
      if head["if-none-match"] == ["\"v1\""] {
        return "HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=0\r\nX-Version: 2\r\n\r\n"
      }
      return response("stored", "Cache-Control: max-age=0\r\nETag: \"v1\"\r\n")
    }
    try await withCache(ResponseCache(), before: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.get()?.body == "stored")
      for _ in 0..<3 {
        let again = try client.get()
        #expect(again?.status == 200)
        #expect(again?.body == "stored")
        #expect(again?.head["x-cache-status"] == ["REVALIDATED"])
        #expect(again?.head["x-version"] == ["2"])
        #expect(again?.head["content-length"] == ["6"])
      }
      #expect(try client.get("/", "If-None-Match: \"v1\"\r\n")?.status == 304)
      #expect(try client.get()?.body == "stored")
    }
    #expect(backend.connections == 1, "and the backend's connection is kept")
  }

  @Test func aBodyThatAnElementReplacesHoldsUpNobody() async throws {
    struct Page: HTTPMiddleware {
      func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
        if head.status >= 400 { head.replaceBody(Array("page".utf8)) }
      }
    }
    let backend = try ScriptedBackend.answering { head, peer in
      if head.target == "/slow" {
        // The rest of this body never comes.
        try peer.send("HTTP/1.1 404 Not Found\r\nContent-Length: 100\r\n\r\nhalf")
        return ""
      }
      return response("no", status: "404 Not Found")
    }
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        Page()
      } to: {
        Upstream(backend.address.text)
      }
    } body: { server in
      let address = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(address)
        for target in ["/", "/slow", "/", "/"] { #expect(try client.get(target)?.body == "page") }
      }
    }
  }

  @Test func aStaleAnswerComesAtOnceAndTheFreshOneBehindIt() async throws {
    let release = Gate()
    let backend = try ScriptedBackend { session in
      var count = 0
      while try session.readHead() != nil {
        count += 1
        if count > 1 { release.wait() }
        let control = "Cache-Control: max-age=\(count > 1 ? 60 : 0), stale-while-revalidate=60\r\n"
        try session.peer.send(response("version \(count)", control))
      }
    }
    try await withCache(ResponseCache(), before: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.get()?.body == "version 1")
      // The backend does not answer, and the client has its answer all the same.
      let stale = try client.get()
      #expect(stale?.body == "version 1")
      #expect(stale?.head["x-cache-status"] == ["UPDATING"])
      let other = try HTTPPeer.connect(proxy).get()
      #expect(other?.body == "version 1")
      release.open()
      // On this connection the next request waits for the refresh.
      let fresh = try client.get()
      #expect(fresh?.body == "version 2")
      #expect(fresh?.head["x-cache-status"] == ["HIT"])
    }
    #expect(backend.requests.count == 2)
  }

  @Test func aRefreshOutlivesItsClient() async throws {
    let release = Gate()
    let backend = try ScriptedBackend { session in
      var count = 0
      while try session.readHead() != nil {
        count += 1
        if count > 1 { release.wait() }
        let control = "Cache-Control: max-age=\(count > 1 ? 60 : 0), stale-while-revalidate=60\r\n"
        try session.peer.send(response("version \(count)", control))
      }
    }
    let cache = ResponseCache(CacheStore())
    try await withCache(cache, before: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.get()?.body == "version 1")
      let leaving = try HTTPPeer.connect(proxy)
      #expect(try leaving.get()?.head["x-cache-status"] == ["UPDATING"])
      leaving.close()
      release.open()
      // Served stale until the refresh has come.
      var answer = try client.get()
      while answer?.head["x-cache-status"] == ["UPDATING"] { answer = try client.get() }
      #expect(answer?.body == "version 2")
      #expect(answer?.head["x-cache-status"] == ["HIT"])
    }
    #expect(backend.requests.count == 2)
  }

  @Test func aBodyThatWasCutIsNotStored() async throws {
    let isWhole = Gate()
    let backend = try ScriptedBackend.answering { _, peer in
      if isWhole.isOpen { return response("whole", Self.fresh) }
      try peer.send("HTTP/1.1 200 OK\r\n\(Self.fresh)Content-Length: 5\r\n\r\nwho")
      return nil
    }
    try await withCache(ResponseCache(), before: backend) { proxy in
      #expect(try HTTPPeer.connect(proxy).get()?.isWhole == false)
      isWhole.open()
      let answer = try HTTPPeer.connect(proxy).get()
      #expect(answer?.head["x-cache-status"] == ["MISS"])
      #expect(answer?.body == "whole")
    }
  }

  @Test func clientsOnSeveralLoopsShareOneFetch() async throws {
    let release = Gate()
    let backend = try ScriptedBackend.answering { _, _ in
      release.wait()
      return response("once", Self.fresh)
    }
    let store = CacheStore()
    try await withCache(ResponseCache(store), before: backend, workers: 2) { proxy in
      let clients = try (0..<8).map { _ in try HTTPPeer.connect(proxy) }
      for client in clients { try client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n") }
      // One of them has reached the backend; the others have no other way than to wait.
      while store.statistics.collapsed < 7 { sched_yield() }
      release.open()
      for client in clients { #expect(try client.readResponse()?.body == "once") }
    }
    #expect(backend.requests.count == 1)
    #expect(store.statistics.hits == 7)
  }

  @Test func theFirstClientLeavesAndTheOthersAreServed() async throws {
    let backend = try ScriptedBackend { session in
      while try session.readHead() != nil {
        // The first connection never answers.
        if session.number > 1 { try session.peer.send(response("answer", Self.fresh)) }
      }
    }
    let store = CacheStore()
    try await withCache(ResponseCache(store), before: backend, workers: 2) { proxy in
      let first = try HTTPPeer.connect(proxy)
      try first.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n")
      while backend.requests.isEmpty { sched_yield() }
      let others = try (0..<3).map { _ in try HTTPPeer.connect(proxy) }
      for client in others { try client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n") }
      while store.statistics.collapsed < 3 { sched_yield() }
      first.close()
      for client in others { #expect(try client.readResponse()?.body == "answer") }
    }
    #expect(backend.requests.count == 2)
  }

  @Test func aDeadBackendIsCovered() async throws {
    let isDead = Gate()
    let backend = try ScriptedBackend.answering { head, _ in
      if isDead.isOpen { return head.target == "/503" ? response("broken", status: "503 Oops") : nil }
      return response("stored", "Cache-Control: max-age=0, stale-if-error=60\r\n")
    }
    try await withCache(ResponseCache(), before: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      for target in ["/503", "/closed"] { #expect(try client.get(target)?.body == "stored") }
      isDead.open()
      for target in ["/503", "/closed", "/503"] {
        let answer = try client.get(target)
        #expect(answer?.status == 200)
        #expect(answer?.body == "stored")
        #expect(answer?.head["x-cache-status"] == ["STALE"])
      }
      #expect(try client.get("/never")?.status == 502)
    }
  }

  @Test func aChangeIsSeenByTheNextRead() async throws {
    let backend = try ScriptedBackend.answering { head, peer in
      if head.method == "POST" { _ = try peer.read(3) }
      return response(head.method, Self.fresh)
    }
    try await withCache(ResponseCache(), before: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      _ = try client.get()
      #expect(try client.get()?.head["x-cache-status"] == ["HIT"])
      let post = try client.ask("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc")
      #expect(post?.head["x-cache-status"] == ["BYPASS"])
      #expect(try client.get()?.head["x-cache-status"] == ["MISS"])
    }
  }
}
