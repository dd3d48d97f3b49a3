import Pipeline
import Testing

@testable import Transports

/// What elements and destinations do to answers: streaming, replacing, tapping, detaching; and what is counted.
@Suite struct AnswerTests {
  private func streaming(_ length: UInt64?, _ pieces: [String]) -> Handle {
    Handle { exchange in
      try await exchange.respond(200, length: length) {
        $0.fields.set("x-own", "1")
      } streaming: { exchange in
        for piece in pieces { try await exchange.writeBody(Array(piece.utf8)) }
      }
    }
  }

  private func with(_ handle: Handle, body: @escaping @Sendable (SocketAddress) throws -> Void) async throws {
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
      } to: {
        handle
      }
    } body: { server in
      let address = server.address()
      try await onThread { try body(address) }
    }
  }

  @Test func aStreamOfKnownLengthIsKeptToIt() async throws {
    try await with(streaming(6, ["abc", "def"])) { address in
      let client = try HTTPPeer.connect(address)
      for _ in 1...2 {
        let answer = try client.get()
        #expect(answer?.head["content-length"] == ["6"])
        #expect(answer?.body == "abcdef")
      }
      let head = try client.ask("HEAD / HTTP/1.1\r\nHost: t\r\n\r\n")
      #expect(head?.head["content-length"] == ["6"])
      #expect(try client.get()?.body == "abcdef")
    }
  }

  @Test(arguments: [UInt64(5), 7]) func aStreamOfAnotherLengthIsCut(length: UInt64) async throws {
    try await with(streaming(length, ["abc", "def"])) { address in
      let client = try HTTPPeer.connect(address)
      #expect(try client.get()?.isWhole == false)
      #expect(try client.hasEnded())
    }
  }

  @Test func aStreamOfUnknownLengthIsChunkedOrEndsWithTheConnection() async throws {
    try await with(streaming(nil, ["abc", "", "def"])) { address in
      let client = try HTTPPeer.connect(address)
      for _ in 1...2 {
        let answer = try client.get()
        #expect(answer?.head["transfer-encoding"] == ["chunked"])
        #expect(answer?.body == "abcdef")
      }
      let old = try HTTPPeer.connect(address)
      let plain = try old.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
      #expect(plain?.head["connection"] == ["close"])
      #expect(plain?.body == "abcdef")
    }
  }

  @Test func aStreamThatFailsIsCut() async throws {
    let handle = Handle { exchange in
      try await exchange.respond(200, length: nil) { exchange in
        try await exchange.writeBody(Array("abc".utf8))
        throw Rejection(.overloaded)
      }
    }
    try await with(handle) { address in
      let client = try HTTPPeer.connect(address)
      #expect(try client.get()?.isWhole == false)
      let old = try HTTPPeer.connect(address)
      try old.send("GET / HTTP/1.0\r\n\r\n")
      #expect(throws: SystemError.self) { try old.readToEnd() }
    }
  }

  @Test func aLargeLocalBodyWaitsForItsClient() async throws {
    let body = noise(2 << 20, seed: 11)
    try await with(Handle { try await $0.respond(200, body: body) }) { address in
      let client = try HTTPPeer.connect(address)
      try client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n")
      _ = try client.readHead()
      #expect(client.received.count < body.count)
      #expect(try client.readBytes(body.count) == body)
    }
  }

  @Test func aDestinationThatDoesNotAnswerIsA500() async throws {
    try await with(Handle { _ in Summary() }) { address in
      let client = try HTTPPeer.connect(address)
      #expect(try client.get()?.status == 500)
    }
  }

  // MARK: Elements

  @Test func aReplacedBodyIsSentInsteadOfTheUpstreams() async throws {
    let backend = try ScriptedBackend.answering { head, _ in
      response(String(repeating: "x", count: head.target == "/large" ? 500_000 : 5), status: "503 Unavailable")
    }
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        Replace()
      } to: {
        Upstream(backend.address.text)
      }
    } body: { server in
      let proxy = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(proxy)
        for target in ["/small", "/large", "/small"] {
          let answer = try client.get(target)
          #expect(answer?.status == 503)
          #expect(answer?.body == "sorry")
          #expect(answer?.head["content-length"] == ["5"])
        }
      }
    }
  }

  private struct Replace: HTTPMiddleware {
    func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
      head.replaceBody(Array("sorry".utf8))
    }
  }

  @Test func aTapSeesThePayloadAndHowItEnded() async throws {
    let backend = try ScriptedBackend { session in
      while let head = try session.readHead() {
        switch head.target {
        case "/chunked":
          try session.peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        case "/cut":
          try session.peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabcde")
          return
        default: try session.peer.send(response("abcde"))
        }
      }
    }
    let taps = Mailbox<String>()
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        Tapped(taps: taps)
      } to: {
        Route("/local") {
        } to: {
          Respond(200, "abcde")
        }
        Upstream(backend.address.text)
      }
    } body: { server in
      let proxy = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(proxy)
        for target in ["/length", "/chunked", "/local", "/cut"] { _ = try client.get(target) }
      }
      for expected in ["abcde true", "abcde true", "abcde true", "abcde false"] {
        #expect(await taps.next() == expected)
      }
    }
  }

  private final class Tap: BodyTap {
    let taps: Mailbox<String>
    var text = ""
    init(_ taps: Mailbox<String>) { self.taps = taps }
    func receive(_ bytes: RawSpan) { bytes.withUnsafeBytes { text += String(decoding: $0, as: UTF8.self) } }
    func finish(complete: Bool) { taps.put("\(text) \(complete)") }
  }

  private struct Tapped: HTTPMiddleware {
    let taps: Mailbox<String>
    func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
      exchange.tapResponseBody(Tap(taps))
    }
  }

  @Test func aDetachedExchangeGoesOnForItsTap() async throws {
    let goOn = Mailbox<Void>()
    let backend = try ScriptedBackend { session in
      while try session.readHead() != nil {
        _ = blockingWait { await goOn.next() }
        try session.peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfresh\r\n0\r\n\r\n")
      }
    }
    let taps = Mailbox<String>()
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        Stale()
        Tapped(taps: taps)
      } to: {
        Upstream(backend.address.text)
      }
    } body: { server in
      let proxy = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(proxy)
        // The answer is here before the upstream has said a word.
        #expect(try client.get()?.body == "stale")
        goOn.put(())
        #expect(blockingWait { await taps.next() } == "fresh true")
        #expect(try client.get()?.body == "stale")
        // A client that leaves does not end what is done for others.
        _ = blockingWait { await backend.arrived.next() }
        _ = blockingWait { await backend.arrived.next() }
        client.close()
        goOn.put(())
        #expect(blockingWait { await taps.next() } == "fresh true")
      }
    }
    #expect(backend.connections == 1)
  }

  private struct Stale: HTTPMiddleware {
    func handle(_ exchange: HTTPExchange, next: Next) async throws -> Summary {
      try await exchange.respondAndDetach(200, body: Array("stale".utf8))
      return try await next()
    }
  }

  // MARK: Accounting

  @Test func everyRequestIsAccountedOnceWithTheBytesOfTheWire() async throws {
    let backend = try ScriptedBackend.answering { head, peer in
      _ = try peer.read(Int(head["content-length"].first ?? "0") ?? 0)
      return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    }
    let events = Mailbox<Witness.Event>()
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        Witness(events: events)
      } to: {
        Route("/refused") {
          Refuse(kind: .forbidden)
        } to: {
          Respond(200)
        }
        Upstream(backend.address.text)
      }
    } body: { server in
      let proxy = server.address()
      let (sent, received) = try await onThread {
        let client = try HTTPPeer.connect(proxy)
        let request = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nabcd"
        var sizes: [Int] = []
        for _ in 1...2 {
          let before = client.received.count
          #expect(try client.ask(request)?.body == "abc")
          sizes.append(client.received.count - before)
        }
        #expect(try client.get("/refused")?.status == 403)
        return (request.utf8.count, sizes)
      }
      var ids: Set<UInt64> = []
      for size in received {
        guard case .ended(let id, let summary)? = await events.nextEnd() else {
          Issue.record("did not end")
          continue
        }
        ids.insert(id)
        #expect(summary.traffic == Traffic(up: UInt64(sent), down: UInt64(size)))
      }
      guard case .rejected(let id, .forbidden, isCommitted: false)? = await events.nextEnd() else {
        Issue.record("not refused")
        return
      }
      ids.insert(id)
      #expect(ids.count == 3)
    }
  }
}
