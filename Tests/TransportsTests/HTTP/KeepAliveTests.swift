import Pipeline
import Testing

@testable import Transports

/// When a client's connection carries another request, and when it ends.
@Suite struct KeepAliveTests {
  private func withAnswers(
    _ edit: @escaping (inout ListenerOptions) -> Void = { _ in },
    body: @escaping @Sendable (SocketAddress) throws -> Void
  ) async throws {
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
      } to: {
        Respond(200, "ok")
      }.options(edit)
    } body: { server in
      let address = server.address()
      try await onThread { try body(address) }
    }
  }

  @Test func aClientThatWantsToCloseIsToldSoAndClosed() async throws {
    try await withAnswers { address in
      let client = try HTTPPeer.connect(address)
      let answer = try client.get("/", "Connection: close\r\n")
      #expect(answer?.head["connection"] == ["close"])
      #expect(try client.hasEnded())
    }
  }

  @Test func anOldClientIsClosedUnlessItAsks() async throws {
    try await withAnswers { address in
      let plain = try HTTPPeer.connect(address)
      let answer = try plain.ask("GET / HTTP/1.0\r\n\r\n")
      #expect(answer?.head.startLine == "HTTP/1.1 200 OK")
      #expect(answer?.body == "ok")
      #expect(try plain.hasEnded())

      let kept = try HTTPPeer.connect(address)
      for _ in 1...3 {
        let answer = try kept.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        #expect(answer?.head["connection"] == ["keep-alive"])
        #expect(answer?.body == "ok")
      }
    }
  }

  @Test func theLastRequestOfAConnectionSaysSo() async throws {
    try await withAnswers {
      $0.http.maxRequestsPerConnection = 3
    } body: { address in
      let client = try HTTPPeer.connect(address)
      for _ in 1...2 { #expect(try client.get()?.head["connection"] == []) }
      #expect(try client.get()?.head["connection"] == ["close"])
      #expect(try client.hasEnded())
    }
  }

  @Test func whatIsPipelinedBehindTheLastRequestIsNotAnswered() async throws {
    try await withAnswers { address in
      let client = try HTTPPeer.connect(address)
      let get = "GET / HTTP/1.1\r\nHost: t\r\n"
      try client.send(get + "\r\n" + get + "Connection: close\r\n\r\n" + get + "\r\n")
      #expect(try client.readResponse()?.status == 200)
      #expect(try client.readResponse()?.head["connection"] == ["close"])
      #expect(try client.hasEnded())
    }
  }

  @Test func anIdleConnectionEndsWithoutAWord() async throws {
    try await withAnswers {
      $0.http.keepAliveTimeout = .milliseconds(50)
    } body: { address in
      let client = try HTTPPeer.connect(address)
      #expect(try client.get()?.status == 200)
      #expect(try client.readToEnd() == "")
    }
  }

  @Test func aConnectionThatNeverSpeaksEndsWithoutAWord() async throws {
    try await withAnswers {
      $0.http.headTimeout = .milliseconds(50)
    } body: { address in
      let said = try address.readToEnd()
      #expect(said == "")
    }
  }

  @Test func aSlowHeadIsA408() async throws {
    try await withAnswers {
      $0.http.headTimeout = .milliseconds(50)
    } body: { address in
      let client = try HTTPPeer.connect(address)
      try client.send("GET / HT")
      let answer = try client.readResponse()
      #expect(answer?.status == 408)
      #expect(answer?.head["connection"] == ["close"])
      #expect(try client.hasEnded())
    }
  }

  @Test func aKeptConnectionsHeadHasItsTimeFromItsFirstByte() async throws {
    try await withAnswers {
      $0.http.headTimeout = .milliseconds(50)
      $0.http.keepAliveTimeout = .seconds(60)
    } body: { address in
      let client = try HTTPPeer.connect(address)
      #expect(try client.get()?.status == 200)
      try client.send("G")
      #expect(try client.readResponse()?.status == 408)
    }
  }

  @Test func headsThatAreTooLongHaveTheirStatus() async throws {
    try await withAnswers { address in
      let long = String(repeating: "a", count: 9000)
      let line = try address.ask("GET /\(long) HTTP/1.1\r\nHost: t\r\n\r\n")?.status
      #expect(line == 414)
      let fields = String(repeating: "x: \(long)\r\n", count: 4)
      let head = try address.get("/", fields)?.status
      #expect(head == 431)
      let many = try address.get("/", String(repeating: "x: y\r\n", count: 200))?.status
      #expect(many == 431)
      let version = try address.ask("GET / HTTP/2.0\r\nHost: t\r\n\r\n")?.status
      #expect(version == 505)
    }
  }

  @Test func aHeadMayComeInPiecesOfAnySize() async throws {
    try await withAnswers { address in
      let request = "GET /path HTTP/1.1\r\nHost: test\r\nX-Long: \(String(repeating: "y", count: 200))\r\n\r\n"
      for size in [1, 7, 100] {
        let client = try HTTPPeer.connect(address)
        var rest = Substring(request + request)
        while !rest.isEmpty {
          try client.send(String(rest.prefix(size)))
          rest = rest.dropFirst(size)
        }
        for _ in 1...2 { #expect(try client.readResponse()?.body == "ok") }
      }
      // A head that does not fit the first buffer.
      let client = try HTTPPeer.connect(address)
      let large = "x: \(String(repeating: "z", count: 7000))\r\n"
      for _ in 1...2 {
        try client.send("GET / HTTP/1.1\r\nHost: t\r\n" + large)
        try client.send(large + large + large)
        try client.send("\r\n")
        #expect(try client.readResponse()?.body == "ok")
      }
    }
  }

  @Test func aBodyThatNobodyWantedIsReadIfItIsSmall() async throws {
    try await withAnswers { address in
      let client = try HTTPPeer.connect(address)
      let small = String(repeating: "s", count: 30_000)
      try client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 30000\r\n\r\n")
      #expect(try client.readResponse()?.head["connection"] == [])
      try client.send(small)
      #expect(try client.get()?.status == 200)

      let large = try HTTPPeer.connect(address)
      try large.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 300000\r\n\r\n" + small)
      #expect(try large.readResponse()?.head["connection"] == ["close"])
      #expect(try large.hasEnded())
    }
  }

  @Test func anAnswerIsNotOvertakenByAReset() async throws {
    try await withAnswers {
      $0.http.maxBody = 10
    } body: { address in
      for _ in 1...20 {
        let client = try HTTPPeer.connect(address)
        try client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 200000\r\n\r\n")
        do { try client.send(String(repeating: "b", count: 200_000)) } catch {}
        #expect(try client.readResponse()?.status == 413)
      }
    }
  }

  @Test func aDrainClosesIdleConnectionsAndEndsBusyOnes() async throws {
    let entered = Mailbox<Void>()
    let leave = Signal()
    let address = Mailbox<SocketAddress>()
    let clients = Mailbox<Bool>()
    detachedThread {
      let proxy = blockingWait { await address.next()! }
      do {
        let idle = try HTTPPeer.connect(proxy)
        let busy = try HTTPPeer.connect(proxy)
        guard try idle.get("/")?.status == 200 else { return clients.put(false) }
        try busy.send("GET /slow HTTP/1.1\r\nHost: t\r\n\r\n")
        // Only the drain ends it: the keep-alive time is a minute.
        let hasEnded = try idle.readToEnd() == ""
        leave.fire()
        let answer = try busy.readResponse()
        let busyHasEnded = try busy.hasEnded()
        clients.put(hasEnded && answer?.head["connection"] == ["close"] && busyHasEnded)
      } catch {
        clients.put(false)
      }
    }
    let report = try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
      } to: {
        Route("/slow") {
        } to: {
          Handle { exchange in
            entered.put(())
            try await exchange.runtime.wait(for: leave)
            return try await exchange.respond(200)
          }
        }
        Respond(200)
      }
    } body: { server in
      address.put(server.address())
      await entered.next()
      server.server.stop()
      #expect(await clients.next() == true)
    }
    #expect(report.cut == 0)
  }
}
