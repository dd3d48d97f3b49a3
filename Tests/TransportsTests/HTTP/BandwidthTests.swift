import Middlewares
import Pipeline
import Testing

@testable import Transports

/// A limit holds whatever way the bytes of HTTP take. Each case says how long it takes at least; that it is not much longer is
/// what `BandwidthRateTests` measures.
@Suite struct BandwidthTests {
  private static let rate = 1_000_000
  private static let burst = 20_000
  private static let size = 220_000
  /// What is left after the burst, at the rate.
  private static let least = Duration.milliseconds(200)

  private static var limit: Bandwidth<ConnectionKey> {
    Bandwidth(.bytesPerSecond(rate, burst: burst), per: .connection)
  }

  private func expectHeld(
    _ backend: ScriptedBackend, options edit: @escaping (inout ListenerOptions) -> Void = { _ in },
    body: @escaping @Sendable (SocketAddress) throws -> Void
  ) async throws {
    try await expectServerHeld(
      app: {
        Listener(.http, on: "127.0.0.1:0") {
          Self.limit
        } to: {
          Upstream(backend.address.text)
        }.options { edit(&$0) }
      }, body: body)
  }

  private func expectServerHeld(
    @ProxyBuilder app: () -> some Proxy, body: @escaping @Sendable (SocketAddress) throws -> Void
  ) async throws {
    var took = Duration.zero
    try await withServer(options: { $0.workers = 1 }, app: app) { server in
      let proxy = server.address()
      let began = Loop.preciseNow
      try await onThread { try body(proxy) }
      took = Loop.preciseNow - began
    }
    #expect(took >= Self.least, "\(took)")
  }

  private static let content = String(repeating: "x", count: size)

  @Test func aBodyWithALength() async throws {
    let backend = try ScriptedBackend.answering(response(Self.content))
    try await expectHeld(backend) { proxy in
      let answer = try proxy.get()
      #expect(answer?.body == Self.content)
    }
  }

  @Test func aChunkedBody() async throws {
    let chunks = String(repeating: "3e8\r\n\(String(repeating: "x", count: 1_000))\r\n", count: Self.size / 1_000)
    let backend = try ScriptedBackend.answering(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\(chunks)0\r\n\r\n")
    try await expectHeld(backend) { proxy in
      let answer = try proxy.get()
      #expect(answer?.body == Self.content)
    }
  }

  @Test func aBodyThatTheCloseEnds() async throws {
    let backend = try ScriptedBackend { session in
      _ = try session.readHead()
      try session.peer.send("HTTP/1.0 200 OK\r\n\r\n\(Self.content)")
    }
    try await expectHeld(backend) { proxy in
      let answer = try proxy.get()
      #expect(answer?.body == Self.content)
    }
  }

  @Test func manySmallAnswersOnOneConnection() async throws {
    let backend = try ScriptedBackend.answering(response(String(repeating: "x", count: 2_200)))
    try await expectHeld(backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      for _ in 0..<100 { #expect(try client.get()?.status == 200) }
    }
  }

  @Test func anUploadWithALength() async throws {
    let backend = try ScriptedBackend { session in
      _ = try session.readHead()
      #expect(try session.peer.read(Self.size) == Self.content)
      try session.peer.send(response("done"))
    }
    try await expectHeld(backend) { proxy in
      let request = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: \(Self.size)\r\n\r\n\(Self.content)"
      let answer = try proxy.ask(request)
      #expect(answer?.body == "done")
    }
  }

  /// A byte in each chunk: what counts is what comes over the wire, six times as much.
  @Test func anUploadInTinyChunks() async throws {
    let count = Self.size / 6
    let backend = try ScriptedBackend { session in
      _ = try session.readHead()
      #expect(try session.peer.readChunks()?.body.utf8.count == count)
      try session.peer.send(response("done"))
    }
    try await expectHeld(backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
      try client.send(String(repeating: "1\r\nx\r\n", count: count) + "0\r\n\r\n")
      #expect(try client.readResponse()?.body == "done")
    }
  }

  @Test func anAnswerOfOurOwn() async throws {
    try await expectServerHeld {
      Listener(.http, on: "127.0.0.1:0") {
        Self.limit
      } to: {
        Respond(200, Self.content)
      }
    } body: { proxy in
      let answer = try proxy.get()
      #expect(answer?.body == Self.content)
    }
  }

  @Test func anAnswerThatADestinationStreams() async throws {
    try await expectServerHeld {
      Listener(.http, on: "127.0.0.1:0") {
        Self.limit
      } to: {
        Streaming(size: Self.size)
      }
    } body: { proxy in
      let answer = try proxy.get()
      #expect(answer?.body == Self.content)
    }
  }

  @Test func aBodyThatADestinationReads() async throws {
    try await expectServerHeld {
      Listener(.http, on: "127.0.0.1:0") {
        Self.limit
      } to: {
        Reading()
      }
    } body: { proxy in
      let request = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: \(Self.size)\r\n\r\n\(Self.content)"
      let answer = try proxy.ask(request)
      #expect(answer?.body == "\(Self.size)")
    }
  }

  @Test func aTunnelAfterAnUpgrade() async throws {
    let backend = try ScriptedBackend { session in
      _ = try session.readHead()
      try session.peer.send(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\(Self.content)")
    }
    try await expectHeld(backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send("GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
      #expect(try client.readResponse()?.status == 101)
      #expect(try client.readToEnd() == Self.content)
    }
  }

  @Test func aTunnelAfterCONNECT() async throws {
    let origin = try TestOrigin { peer in try peer.send(Array(Self.content.utf8)) }
    let target = origin.address.text
    try await expectServerHeld {
      Listener(.http, on: "127.0.0.1:0") {
        Self.limit
      } to: {
        Direct()
      }
    } body: { proxy in
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.ask("CONNECT \(target) HTTP/1.1\r\nHost: \(target)\r\n\r\n")?.status == 200)
      #expect(try client.readToEnd() == Self.content)
    }
  }

  /// It is we who do not read: neither the silence nor the missing head is the upstream's.
  @Test func aRestIsNobodysSilence() async throws {
    let backend = try ScriptedBackend.answering(response(Self.content))
    try await expectHeld(backend) {
      $0.http.bodyIdleTimeout = .milliseconds(5)
      $0.http.responseTimeout = .milliseconds(5)
    } body: { proxy in
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.get()?.isWhole == true)
    }
  }

  private struct Streaming: Destination {
    let size: Int
    func serve(_ exchange: HTTPExchange) async throws -> Summary {
      try await exchange.respond(200, length: nil) { exchange in
        let piece = [UInt8](repeating: 120, count: 11_000)
        for _ in 0..<(size / piece.count) { try await exchange.writeBody(piece.span.bytes) }
      }
    }
  }

  private struct Reading: Destination {
    func serve(_ exchange: HTTPExchange) async throws -> Summary {
      var count = 0
      var buffer: [UInt8] = []
      while try await exchange.readBody(into: &buffer, atMost: 30_000) {
        count += buffer.count
        buffer.removeAll(keepingCapacity: true)
      }
      return try await exchange.respond(200, body: Array("\(count)".utf8))
    }
  }
}
