import Middlewares
import Pipeline
import Testing

@testable import Transports

/// What is counted is what went over the client's wire: heads and bodies of HTTP, answers of our own and cached ones included;
/// of a tunnel what comes after the handshake.
@Suite struct UsageSocketTests {
  private static let user = UsageAccount.identity(Principal("fierceRabbit"))
  private static let login = "Authorization: Basic ZmllcmNlUmFiYml0OnNlY3JldFRoaWNrZXQ=\r\n"

  /// Sends a request, reads to the end and says how many bytes went each way.
  private static func exchange(_ proxy: SocketAddress, _ request: String) throws -> (up: Int, down: Int) {
    let peer = try BlockingPeer.connect(proxy)
    try peer.send(Array(request.utf8))
    return (request.utf8.count, try peer.receiveToEnd().count)
  }

  @Test func everyKindOfAnswerCountsAsItIsOnTheWire() async throws {
    let usage = MemoryUsageStore()
    let backend = try ScriptedBackend { session in
      while let head = try session.readHead() {
        if head.method == "POST" { _ = try session.peer.readChunks() }
        try session.peer.send(
          "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
      }
    }
    var up = 0
    var down = 0
    var refused = (up: 0, down: 0)
    let requests = [
      "GET /local HTTP/1.1\r\nHost: t\r\n\(Self.login)Connection: close\r\n\r\n",
      "GET /far HTTP/1.1\r\nHost: t\r\n\(Self.login)Connection: close\r\n\r\n",
      // From the cache.
      "GET /far HTTP/1.1\r\nHost: t\r\n\(Self.login)Connection: close\r\n\r\n",
      "GET /nowhere HTTP/1.1\r\nHost: t\r\n\(Self.login)Connection: close\r\n\r\n",
      "POST /far HTTP/1.1\r\nHost: t\r\n\(Self.login)Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        + "3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
      // A body that nobody reads, and two requests on one connection.
      "POST /local HTTP/1.1\r\nHost: t\r\n\(Self.login)Content-Length: 5\r\n\r\nhello"
        + "GET /nowhere HTTP/1.1\r\nHost: t\r\n\(Self.login)Connection: close\r\n\r\n",
    ]
    try await withServer {
      Listener(.http, on: "127.0.0.1:0") {
        UsageTracking(usage)
        OneUser()
      } to: {
        Route("/local") {
        } to: {
          Respond(200, String(repeating: "x", count: 100_000))
        }
        Route("/far") {
          ResponseCache()
        } to: {
          Upstream(backend.address.text)
        }
      }
    } body: { server in
      let proxy = server.address()
      for request in requests {
        let sizes = try await onThread { try Self.exchange(proxy, request) }
        up += sizes.up
        down += sizes.down
      }
      refused = try await onThread {
        try Self.exchange(proxy, "GET /local HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
      }
    }
    #expect(refused.down > 0)
    #expect(
      usage.totals(of: .unauthenticated)?.usage
        == UsageChange(requests: 1, connections: 1, refused: 1, up: refused.up, down: refused.down))
    #expect(
      usage.totals(of: Self.user)?.usage
        == UsageChange(requests: 7, connections: 6, refused: 2, up: up, down: down))
  }

  @Test func aTunnelCountsWhatComesAfterTheHandshake() async throws {
    let usage = MemoryUsageStore()
    let origin = try TestOrigin { peer in
      _ = try peer.receiveToEnd()
      try peer.send([UInt8](repeating: 7, count: 5000))
    }
    let target = origin.address
    try await withServer {
      Listener(.http, on: "127.0.0.1:0", name: "http") {
        UsageTracking(usage)
        OneUser()
      } to: {
        Direct()
      }
      Listener(.socks5, on: "127.0.0.1:0", name: "socks5") {
        UsageTracking(usage)
        OneUser()
      } to: {
        Direct()
      }
    } body: { server in
      let (http, socks5) = (server.address("http"), server.address("socks5"))
      try await onThread {
        let client = try HTTPPeer.connect(http)
        try client.send("CONNECT \(target.text) HTTP/1.1\r\nHost: \(target.text)\r\nProxy-\(Self.login)\r\n")
        #expect(try client.readHead()?.status == 200)
        try client.peer.send([UInt8](repeating: 1, count: 1000))
        client.peer.finishWriting()
        #expect(try client.peer.receiveToEnd().count == 5000)
        let other = try SOCKS5Client(socks5)
        #expect(try other.greet(2) == 2)
        #expect(try other.logIn("fierceRabbit", "secretThicket") == 0)
        #expect(try other.request(ClientBytes.connect(target))?.code == 0)
        try other.peer.send([UInt8](repeating: 1, count: 1000))
        other.peer.finishWriting()
        #expect(try other.peer.receiveToEnd().count == 5000)
      }
    }
    #expect(
      usage.totals(of: Self.user)?.usage == UsageChange(requests: 2, connections: 2, up: 2000, down: 10_000))
  }
}
