import Middlewares
import Pipeline
import Testing

@testable import Transports

/// Requests whose body is sent a second time, over real sockets.
@Suite struct ReplayTests {
  private func withRetry(
    _ retry: Retry = Retry(attempts: 3, backoff: .none), to backend: ScriptedBackend,
    body: @escaping @Sendable (SocketAddress, RunningServer) throws -> Void
  ) async throws {
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        retry
      } to: {
        Upstream(backend.address.text)
      }
    } body: { server in
      let address = server.address()
      try await onThread { try body(address, server) }
    }
  }

  private func text(_ size: Int) -> String {
    String(decoding: noise(size, seed: 5).map { $0 & 63 | 64 }, as: UTF8.self)
  }

  /// Reads the whole request and ends the connection; the third time it answers with what it got.
  private func failingTwice(readsBody: Bool = true) throws -> (ScriptedBackend, Mailbox<String>) {
    let bodies = Mailbox<String>()
    let backend = try ScriptedBackend { session in
      guard let head = try session.readHead() else { return }
      if session.number < 3, !readsBody { return }
      if head["transfer-encoding"] == ["chunked"] {
        guard let (body, trailers) = try session.peer.readChunks() else { return bodies.put("cut") }
        bodies.put(body + trailers)
      } else {
        bodies.put(try session.peer.read(Int(head["content-length"].first ?? "0") ?? 0))
      }
      if session.number < 3 { return }
      try session.peer.send(response("third"))
    }
    return (backend, bodies)
  }

  @Test(arguments: [1, 1000, 16_384, 16_385, 65_536]) func aKeptBodyIsSentAgainWhole(size: Int) async throws {
    let (backend, bodies) = try failingTwice()
    let text = text(size)
    try await withRetry(to: backend) { proxy, _ in
      let client = try HTTPPeer.connect(proxy)
      let answer = try client.ask("PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: \(size)\r\n\r\n" + text)
      #expect(answer?.status == 200 && answer?.body == "third")
    }
    for _ in 1...3 { #expect(await bodies.next() == text) }
    #expect(backend.requests.count == 3)
  }

  @Test func chunksAreSentAgainWithTheirTrailers() async throws {
    let (backend, bodies) = try failingTwice()
    let text = text(20_000)
    try await withRetry(to: backend) { proxy, _ in
      let client = try HTTPPeer.connect(proxy)
      let head = "PUT / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
      let chunks = "3\r\nabc\r\n\(String(text.utf8.count, radix: 16))\r\n\(text)\r\n0\r\nx-t: 1\r\n\r\n"
      #expect(try client.ask(head + chunks)?.body == "third")
      #expect(try client.ask("PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n")?.status == 200)
    }
    for _ in 1...3 { #expect(await bodies.next() == "abc" + text + "x-t: 1\r\n") }
  }

  /// The upstream goes away in the middle of the upload: what was sent is sent again, and the rest follows as it comes.
  @Test(arguments: [false, true]) func anUploadGoesOnBehindWhatIsSentAgain(isChunked: Bool) async throws {
    let backend = try ScriptedBackend { session in
      guard try session.readHead() != nil else { return }
      if session.number == 1 {
        _ = try session.peer.read(isChunked ? 8 : 3)
        return
      }
      let body = isChunked ? try session.peer.readChunks()?.body ?? "cut" : try session.peer.read(6)
      try session.peer.send(response(body))
    }
    try await withRetry(to: backend) { proxy, _ in
      let client = try HTTPPeer.connect(proxy)
      let framing = isChunked ? "Transfer-Encoding: chunked" : "Content-Length: 6"
      try client.send("PUT / HTTP/1.1\r\nHost: t\r\n\(framing)\r\n\r\n" + (isChunked ? "3\r\nabc\r\n" : "abc"))
      _ = blockingWait { await backend.arrived.next() }
      _ = blockingWait { await backend.arrived.next() }
      try client.send(isChunked ? "3\r\ndef\r\n0\r\n\r\n" : "def")
      #expect(try client.readResponse()?.body == "abcdef")
    }
  }

  @Test func aStatusThatIsTriedAgainMayComeBeforeTheBodyIsComplete() async throws {
    let backend = try ScriptedBackend { session in
      guard try session.readHead() != nil else { return }
      if session.number == 1 {
        _ = try session.peer.read(3)
        try session.peer.send(response("busy", status: "503 Busy", "Connection: close\r\n"))
        _ = try session.peer.hasEnded()
        return
      }
      try session.peer.send(response(try session.peer.read(6)))
    }
    try await withRetry(to: backend) { proxy, _ in
      let client = try HTTPPeer.connect(proxy)
      try client.send("PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 6\r\n\r\nabc")
      _ = blockingWait { await backend.arrived.next() }
      _ = blockingWait { await backend.arrived.next() }
      try client.send("def")
      let answer = try client.readResponse()
      #expect(answer?.status == 200 && answer?.body == "abcdef")
    }
  }

  @Test func aBodyThatIsTooLongGoesOnAndIsNotSentAgainAndTheLogSaysSo() async throws {
    let (backend, bodies) = try failingTwice()
    let text = text(65_537)
    try await withRetry(to: backend) { proxy, server in
      let client = try HTTPPeer.connect(proxy)
      let answer = try client.ask("PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: \(text.utf8.count)\r\n\r\n" + text)
      #expect(answer?.status == 502)
      let line = blockingWait { await server.nextLine { $0.contains("the request's body is longer") } }
      #expect(line?.text.hasSuffix("it goes on, and is not tried again") == true)
    }
    #expect(await bodies.next() == text)
    #expect(backend.requests.count == 1)
  }

  /// Nobody knows beforehand that it will be too long.
  @Test func chunksThatBecomeTooLongGoOn() async throws {
    let backend = try ScriptedBackend { session in
      while try session.readHead() != nil {
        let body = try session.peer.readChunks()?.body ?? "cut"
        try session.peer.send(response("\(body.utf8.count)"))
      }
    }
    let text = text(100_000)
    try await withRetry(to: backend) { proxy, _ in
      let client = try HTTPPeer.connect(proxy)
      let size = String(text.utf8.count, radix: 16)
      for _ in 1...2 {
        let chunk = "\(size)\r\n\(text)\r\n"
        let answer = try client.ask(
          "PUT / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n\(chunk)\(chunk)0\r\n\r\n")
        #expect(answer?.body == "200000")
      }
    }
  }

  @Test(arguments: ["POST", "PATCH"]) func whatMayHaveHadAnEffectIsSentOnceUnlessSaidOtherwise(
    method: String
  ) async throws {
    for (field, count) in [("", 1), ("Idempotency-Key: 7\r\n", 3)] {
      let (backend, _) = try failingTwice()
      let retry = Retry(attempts: 3, backoff: .none).allowNonIdempotent(when: .field("idempotency-key"))
      try await withRetry(retry, to: backend) { proxy, _ in
        let client = try HTTPPeer.connect(proxy)
        let answer = try client.ask("\(method) / HTTP/1.1\r\nHost: t\r\n\(field)Content-Length: 3\r\n\r\nabc")
        #expect(answer?.status == (count == 3 ? 200 : 502))
      }
      #expect(backend.requests.count == count)
    }
  }

  /// A POST that reached nobody: the connection was refused.
  @Test func aPostThatReachedNobodyIsTriedAgain() async throws {
    let backend = try ScriptedBackend.answering { _, peer in response("got " + (try peer.read(3))) }
    let dead = try BlockingOrigin().address.text
    let alive = backend.address.text
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        Retry(attempts: 2, backoff: .none)
      } to: {
        Upstreams(.roundRobin) {
          Backend(dead)
          Backend(alive)
        }
      }
    } body: { server in
      let address = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(address)
        for _ in 1...4 {
          #expect(try client.ask("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc")?.body == "got abc")
        }
      }
    }
    #expect(backend.requests.count == 4)
  }

  /// The kept connection had died: below a retry the body is there to be sent over a new one, at once.
  @Test func aKeptConnectionThatIsDeadCostsNoAttempt() async throws {
    let backend = try ScriptedBackend { session in
      var count = 0
      while try session.readHead() != nil {
        count += 1
        let body = try session.peer.read(3)
        if session.number == 1, count == 2 { return }
        try session.peer.send(response(body))
      }
    }
    try await withRetry(Retry(attempts: 1, backoff: .none), to: backend) { proxy, _ in
      let client = try HTTPPeer.connect(proxy)
      for body in ["abc", "def", "ghi"] {
        #expect(try client.ask("PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\n\(body)")?.body == body)
      }
    }
    #expect(backend.requests.count == 4)
  }

  @Test func aHandlerReadsTheBodyAgainInItsNextAttempt() async throws {
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        Retry(attempts: 3, backoff: .none)
      } to: {
        Handle { exchange in
          var body: [UInt8] = []
          while try await exchange.readBody(into: &body, atMost: 1000) {
            if exchange.attempt < 3, body.count > 5000 { throw Rejection(.upstreamReset) }
          }
          return try await exchange.respond(200, body: body)
        }
      }
    } body: { server in
      let address = server.address()
      let text = text(10_000)
      try await onThread {
        let client = try HTTPPeer.connect(address)
        for _ in 1...2 {
          #expect(try client.ask("PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 10000\r\n\r\n" + text)?.body == text)
        }
      }
    }
  }

  @Test func theUpstreamsWishToBeLeftAloneIsHonoured() async throws {
    let backend = try ScriptedBackend.answering { head, _ in
      head.target == "/long"
        ? response("later", status: "503 Busy", "Retry-After: 3600\r\n") : response("x", status: "503 Busy")
    }
    try await withRetry(to: backend) { proxy, _ in
      let client = try HTTPPeer.connect(proxy)
      let answer = try client.get("/long")
      #expect(answer?.status == 503 && answer?.head["retry-after"] == ["3600"])
      #expect(try client.get("/short")?.status == 503)
    }
    #expect(backend.requests.map(\.head.target) == ["/long", "/short", "/short", "/short"])
  }
}
