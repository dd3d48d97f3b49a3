import Glibc
import Pipeline
import Testing

@testable import Transports

/// Raw TCP and Unix sockets, to one fixed upstream, over real sockets.
@Suite struct TCPServerTests {
  private func serve(
    _ upstream: String, on listen: String = "127.0.0.1:0", events: Mailbox<Witness.Event> = Mailbox(),
    refusing kind: Rejection.Kind? = nil, _ body: (SocketAddress) async throws -> Void
  ) async throws {
    try await withServer {
      Listener(.tcp, on: listen) {
        Witness(events: events)
        if let kind { Refuse(kind: kind) }
      } to: {
        Upstream(upstream)
      }
    } body: { server in
      try await body(server.address())
    }
  }

  private static func unixPath() -> String { "unix:/tmp/sluice-\(UInt64.random(in: 0 ... .max)).sock" }

  @Test(arguments: ["127.0.0.1:0", "[::1]:0", "unix"], ["127.0.0.1:0", "[::1]:0", "unix"])
  func everyKindOfSocketReachesEveryOther(listen: String, origin: String) async throws {
    let origin = try TestOrigin.echo(#require(SocketAddress(origin == "unix" ? Self.unixPath() : origin)))
    try await serve("\(origin.address)", on: listen == "unix" ? Self.unixPath() : listen) { proxy in
      let echoed = try await onThread {
        let client = try BlockingPeer.connect(proxy)
        try client.send(Array("hello".utf8))
        client.finishWriting()
        return try client.receiveToEnd()
      }
      #expect(echoed == Array("hello".utf8))
    }
  }

  @Test func aNameIsResolved() async throws {
    let origin = try TestOrigin.echo()
    guard case .ip(_, let port) = origin.address else { return }
    try await serve("localhost:\(port)") { proxy in
      try await onThread {
        let client = try BlockingPeer.connect(proxy)
        try client.send([1])
        #expect(try client.receive(exactly: 1) == [1])
      }
    }
  }

  @Test func aClientThatHasFinishedStillReceives() async throws {
    let origin = try TestOrigin { peer in
      let all = try peer.receiveToEnd()
      try peer.send(all.reversed())
    }
    try await serve("\(origin.address)") { proxy in
      let answer = try await onThread {
        let client = try BlockingPeer.connect(proxy)
        try client.send([1, 2, 3])
        client.finishWriting()
        return try client.receiveToEnd()
      }
      #expect(answer == [3, 2, 1])
    }
  }

  @Test func anUpstreamThatHasFinishedStillReceives() async throws {
    let heard = Mailbox<[UInt8]>()
    let origin = try TestOrigin { peer in
      try peer.send([1])
      peer.finishWriting()
      heard.put(try peer.receiveToEnd())
    }
    try await serve("\(origin.address)") { proxy in
      try await onThread {
        let client = try BlockingPeer.connect(proxy)
        #expect(try client.receiveToEnd() == [1])
        try client.send([4, 5])
        client.finishWriting()
      }
      #expect(await heard.next() == [4, 5])
    }
  }

  @Test func aResetOfTheUpstreamReachesTheClient() async throws {
    let events = Mailbox<Witness.Event>()
    let origin = try TestOrigin { peer in
      try peer.send([1])
      _ = try peer.receive(exactly: 1)
      peer.reset()
    }
    try await serve("\(origin.address)", events: events) { proxy in
      try await onThread {
        let client = try BlockingPeer.connect(proxy)
        #expect(try client.receive(exactly: 1) == [1])
        try client.send([2])
        #expect(throws: SystemError("recv", ECONNRESET)) { try client.receiveToEnd() }
      }
      guard case .ended(_, let summary)? = await events.nextEnd() else {
        Issue.record("the exchange had reached its destination")
        return
      }
      #expect(summary.endedBy == .upstream)
      #expect(summary.ending == .reset)
    }
  }

  @Test func aResetOfTheClientReachesTheUpstream() async throws {
    let events = Mailbox<Witness.Event>()
    let heard = Mailbox<Int32>()
    let origin = try TestOrigin { peer in
      try peer.send([1])
      do {
        _ = try peer.receiveToEnd()
        heard.put(0)
      } catch let error as SystemError {
        heard.put(error.code)
      }
    }
    try await serve("\(origin.address)", events: events) { proxy in
      try await onThread {
        let client = try BlockingPeer.connect(proxy)
        #expect(try client.receive(exactly: 1) == [1])
        client.reset()
      }
      #expect(await heard.next() == ECONNRESET)
      guard case .ended(_, let summary)? = await events.nextEnd() else {
        Issue.record("the exchange had reached its destination")
        return
      }
      #expect(summary.endedBy == .client)
      #expect(summary.ending == .reset)
    }
  }

  /// What a client that sends nothing sees.
  private func end(_ proxy: SocketAddress) async throws -> String {
    try await onThread {
      do {
        // Inside, too: a reset may come before connect() has returned.
        let client = try BlockingPeer.connect(proxy)
        return try client.receiveToEnd().isEmpty ? "FIN" : "bytes"
      } catch let error as SystemError where error.code == ECONNRESET {
        return "RST"
      }
    }
  }

  @Test(arguments: Rejection.Kind.allCases) func everyKindOfRefusalEndsAsDecided(kind: Rejection.Kind) async throws {
    try await serve("127.0.0.1:9", refusing: kind) { proxy in
      let expected =
        switch TCPClose(for: kind, isCommitted: false) {
        case .finish: "FIN"
        case .reset: "RST"
        }
      let ending = try await end(proxy)
      #expect(ending == expected)
    }
  }

  @Test func aRefusedDialIsAReset() async throws {
    let events = Mailbox<Witness.Event>()
    let free = try BlockingOrigin().address
    try await serve("\(free)", events: events) { proxy in
      let ending = try await end(proxy)
      #expect(ending == "RST")
      guard case .rejected(_, .connectionRefused, isCommitted: false)? = await events.nextEnd() else {
        Issue.record("the chain sees the refusal")
        return
      }
    }
  }

  @Test func aMissingUnixSocketIsRefused() async throws {
    let events = Mailbox<Witness.Event>()
    try await serve(Self.unixPath(), events: events) { proxy in
      let ending = try await end(proxy)
      #expect(ending == "RST")
      guard case .rejected(_, .connectionRefused, _)? = await events.nextEnd() else {
        Issue.record("the chain sees the refusal")
        return
      }
    }
  }

  @Test func anIdleTunnelEndsWithAFIN() async throws {
    let events = Mailbox<Witness.Event>()
    let origin = try TestOrigin { _ = try $0.receiveToEnd() }
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0") {
        Witness(events: events)
      } to: {
        Upstream("\(origin.address)")
      }
      .idleTimeout(.milliseconds(50))
    } body: { server in
      let proxy = server.address()
      let ending = try await end(proxy)
      #expect(ending == "FIN")
      guard case .rejected(_, .idleTimeout, _)? = await events.nextEnd() else {
        Issue.record("the chain sees the limit")
        return
      }
    }
  }
}
