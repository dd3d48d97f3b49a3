import Pipeline
import Testing

@testable import Transports

/// A client that goes away: what is done for it ends at once, and it is accounted once.
@Suite struct ClientDisconnectTests {
  /// Reads a request and never answers; `ended` tells when the proxy has let go.
  private func silentBackend() throws -> ScriptedBackend {
    try ScriptedBackend { session in
      _ = try session.readHead()
      _ = try session.peer.hasEnded()
    }
  }

  private func run(
    tolerates: Bool = false, events: Mailbox<Witness.Event>, backend: ScriptedBackend,
    _ body: @escaping @Sendable (SocketAddress) throws -> Void
  ) async throws {
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        Witness(events: events)
      } to: {
        Upstream(backend.address.text)
      }.options { $0.http.toleratesHalfClose = tolerates }
    } body: { server in
      let address = server.address()
      try await onThread { try body(address) }
    }
  }

  @Test(arguments: [true, false]) func theUpstreamIsLetGoAtOnce(byReset: Bool) async throws {
    let backend = try silentBackend()
    let events = Mailbox<Witness.Event>()
    try await run(events: events, backend: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n")
      _ = blockingWait { await backend.arrived.next() }
      if byReset { client.peer.reset() } else { client.close() }
      #expect(blockingWait { await backend.ended.next() } == 1)
      guard case .rejected(_, let kind, let isCommitted)? = blockingWait({ await events.nextEnd() }) else {
        Issue.record("not rejected")
        return
      }
      #expect(kind == .clientGone)
      #expect(!isCommitted)
    }
  }

  @Test func aHalfClosedClientIsServedWhereThatIsTolerated() async throws {
    let backend = try ScriptedBackend.answering(response("late"))
    let events = Mailbox<Witness.Event>()
    try await run(tolerates: true, events: events, backend: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n")
      client.peer.finishWriting()
      #expect(try client.readResponse()?.body == "late")
      #expect(try client.hasEnded())
    }
  }

  @Test func aClientThatLeavesInTheMiddleOfABodyEndsTheUpload() async throws {
    let backend = try ScriptedBackend { session in
      _ = try session.readHead()
      // The upload is cut: what came is not a whole request.
      _ = try session.peer.read(1000)
    }
    let events = Mailbox<Witness.Event>()
    try await run(events: events, backend: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\nsome")
      _ = blockingWait { await backend.arrived.next() }
      client.close()
      #expect(blockingWait { await backend.ended.next() } == 1)
      guard case .rejected(_, let kind, _)? = blockingWait({ await events.nextEnd() }) else {
        Issue.record("not rejected")
        return
      }
      #expect(kind == .clientGone)
    }
  }

  @Test func aClientThatLeavesInTheMiddleOfAnAnswerEndsIt() async throws {
    let backend = try ScriptedBackend { session in
      _ = try session.readHead()
      try session.peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
      let piece = [UInt8](repeating: 1, count: 1 << 16)
      while true { try session.peer.peer.send(piece) }
    }
    let events = Mailbox<Witness.Event>()
    try await run(events: events, backend: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n")
      _ = try client.readHead()
      _ = try client.read(1000)
      client.peer.reset()
      #expect(blockingWait { await backend.ended.next() } == 1)
      guard case .rejected(_, let kind, let isCommitted)? = blockingWait({ await events.nextEnd() }) else {
        Issue.record("not rejected")
        return
      }
      #expect(kind == .clientGone)
      #expect(isCommitted)
    }
  }
}
