import Glibc
import Pipeline
import Testing

@testable import Transports

/// Times and sizes of bodies and answers, each with what the client sees.
@Suite struct TransferLimitTests {
  @Test func anUpstreamThatDoesNotAnswerIsA504() async throws {
    let backend = try ScriptedBackend { session in
      _ = try session.readHead()
      _ = try session.peer.hasEnded()
    }
    try await withReverseProxy(to: backend) {
      $0.http.responseTimeout = .milliseconds(50)
    } body: { proxy in
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.get()?.status == 504)
      #expect(blockingWait { await backend.ended.next() } == 1)
      #expect(try client.get()?.status == 504)
    }
  }

  @Test func theAnswersTimeBeginsWithTheEndOfTheRequest() async throws {
    let backend = try ScriptedBackend { session in
      guard let head = try session.readHead() else { return }
      if head.target == "/silent" {
        _ = try session.peer.hasEnded()
      } else {
        try session.peer.send(response(try session.peer.read(6)))
      }
    }
    try await withReverseProxy(to: backend) {
      $0.http.responseTimeout = .milliseconds(100)
    } body: { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 6\r\n\r\nabc")
      // Another client's whole limit passes while this request is not complete.
      #expect(try HTTPPeer.connect(proxy).get("/silent")?.status == 504)
      try client.send("def")
      #expect(try client.readResponse()?.body == "abcdef")
    }
  }

  @Test func aSlowBodyIsA408() async throws {
    let backend = try ScriptedBackend { session in
      _ = try session.readHead()
      _ = try session.peer.read(100)
    }
    try await withReverseProxy(to: backend) {
      $0.http.minBodyRate = 1_000_000
      $0.http.bodyGrace = .milliseconds(50)
    } body: { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nslow")
      let answer = try client.readResponse()
      #expect(answer?.status == 408)
      #expect(answer?.head["connection"] == ["close"])
      #expect(blockingWait { await backend.ended.next() } == 1)
    }
  }

  @Test func aBodyThatStandsStillIsA408() async throws {
    let backend = try ScriptedBackend { session in
      _ = try session.readHead()
      _ = try session.peer.read(100)
    }
    try await withReverseProxy(to: backend) {
      $0.http.minBodyRate = nil
      $0.http.bodyIdleTimeout = .milliseconds(50)
    } body: { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nslow")
      #expect(try client.readResponse()?.status == 408)
    }
  }

  @Test func anAnswerThatStandsStillIsCut() async throws {
    let backend = try ScriptedBackend { session in
      _ = try session.readHead()
      try session.peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
      _ = try session.peer.hasEnded()
    }
    try await withReverseProxy(to: backend) {
      $0.http.bodyIdleTimeout = .milliseconds(50)
    } body: { proxy in
      let client = try HTTPPeer.connect(proxy)
      let answer = try client.get()
      #expect(answer?.isWhole == false)
      #expect(answer?.body == "half")
    }
  }

  @Test func aDeclaredBodyThatIsTooLongReachesNobody() async throws {
    let backend = try ScriptedBackend.answering(response("ok"))
    try await withReverseProxy(to: backend) {
      $0.http.maxBody = 10
    } body: { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send("POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n")
      #expect(try client.readResponse()?.status == 413)
      #expect(try proxy.ask("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n0123456789")?.status == 200)
    }
    #expect(backend.requests.count == 1)
  }

  @Test func aChunkedBodyThatGrowsTooLongIsCutOff() async throws {
    let backend = try ScriptedBackend { session in
      _ = try session.readHead()
      #expect(try session.peer.readChunks() == nil)
    }
    try await withReverseProxy(to: backend) {
      $0.http.maxBody = 10
    } body: { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n")
      _ = blockingWait { await backend.arrived.next() }
      try client.send("6\r\nfghijk\r\n0\r\n\r\n")
      #expect(try client.readResponse()?.status == 413)
      #expect(blockingWait { await backend.ended.next() } == 1)
    }
  }

  @Test func aBrokenChunkedBodyIsA400() async throws {
    let backend = try ScriptedBackend { session in
      _ = try session.readHead()
      #expect(try session.peer.readChunks() == nil)
    }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n")
      _ = blockingWait { await backend.arrived.next() }
      try client.send("xyz\r\n")
      #expect(try client.readResponse()?.status == 400)
      #expect(blockingWait { await backend.ended.next() } == 1)
    }
  }

  @Test func aDeadlineOfTheChainIsA504() async throws {
    let backend = try ScriptedBackend { session in
      _ = try session.readHead()
      _ = try session.peer.hasEnded()
    }
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        WithDeadline()
      } to: {
        Upstream(backend.address.text)
      }
    } body: { server in
      let proxy = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(proxy)
        #expect(try client.get()?.status == 504)
        #expect(blockingWait { await backend.ended.next() } == 1)
        #expect(try client.get()?.status == 504)
      }
    }
  }

  private struct WithDeadline: Middleware {
    func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
      try await exchange.withDeadline(.milliseconds(50)) { try await next() }
    }
  }

  @Test func aLeaseHoldsTheBodyBack() async throws {
    let size = 1_000_000
    let backend = try ScriptedBackend.answering(response(String(repeating: "x", count: size)))
    let meter = CountingMeter()
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        Metered(meter: meter)
      } to: {
        Upstream(backend.address.text)
      }
    } body: { server in
      let proxy = server.address()
      try await onThread {
        // The meter grants 10,000 bytes each time, and cuts at half a million.
        let answer = try proxy.get()
        #expect(answer?.isWhole == false)
        let got = answer?.body.utf8.count ?? 0
        #expect(got >= 400_000 && got <= 500_000 + 70_000, "\(got)")
      }
    }
  }

  private final class CountingMeter: ByteMeter {
    func account(_ moved: Traffic, on exchange: Exchange, isLast: Bool) throws -> Lease {
      if exchange.traffic.down > 500_000 { throw Rejection(.quotaExhausted) }
      return Lease(down: 10_000)
    }
  }

  private struct Metered: Middleware {
    let meter: CountingMeter
    func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
      exchange.attach(meter)
      defer { exchange.detach(meter) }
      return try await next()
    }
  }
}
