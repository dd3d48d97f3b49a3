import Middlewares
import Pipeline
import Testing

@testable import Transports

/// What clients really get, over real sockets.
@Suite struct BandwidthRateTests {
  private static let rate = 10_000_000
  private static let time = Duration.seconds(10)
  // 3 % of what ten seconds bring. A busy machine may come 300 ms late without a loss.

  /// Sends for as long as somebody takes it.
  private static func flood(_ peer: BlockingPeer) throws {
    let piece = [UInt8](repeating: 7, count: 256 * 1024)
    while true { try peer.send(piece) }
  }

  /// Reads for the whole time and says how many bytes a second came.
  private static func measure(_ peer: BlockingPeer) throws -> Double {
    var count = 0
    let began = Loop.preciseNow
    while Loop.preciseNow - began < time {
      let bytes = try peer.receive(upTo: 256 * 1024)
      if bytes.isEmpty { break }
      count += bytes.count
    }
    return Double(count) / (Loop.preciseNow - began).inSeconds
  }

  /// TCP, SOCKS5 (two connections of one user) and HTTP, at once: each limit is held within a twentieth over ten seconds, and
  /// the two connections have the same within a fifth.
  @Test func eachTransportIsHeldToItsRateAndAnIdentityIsSharedFairly() async throws {
    let origin = try TestOrigin { peer in
      // A client that leaves ends it.
      try? Self.flood(peer)
    }
    let web = try ScriptedBackend { session in
      _ = try session.readHead()
      try session.peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
      try? Self.flood(session.peer.peer)
    }
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0", name: "tcp") {
        Bandwidth(.bytesPerSecond(Self.rate, burst: 3_000_000), per: .clientAddress)
      } to: {
        Upstream(origin.address.text)
      }
      Listener(.socks5, on: "127.0.0.1:0", name: "socks5") {
        OneUser()
        Bandwidth(.bytesPerSecond(Self.rate, burst: 3_000_000), per: .identity)
      } to: {
        Direct()
      }
      Listener(.http, on: "127.0.0.1:0", name: "http") {
        Bandwidth(.bytesPerSecond(Self.rate, burst: 3_000_000), per: .global)
      } to: {
        Upstream(web.address.text)
      }
    } body: { server in
      let tcp = server.address("tcp")
      let socks5 = server.address("socks5")
      let http = server.address("http")
      let target = origin.address
      @Sendable func overSOCKS5() throws -> Double {
        let client = try SOCKS5Client(socks5)
        #expect(try client.greet(2) == 2)
        #expect(try client.logIn("fierceRabbit", "secretThicket") == 0)
        #expect(try client.request(ClientBytes.connect(target))?.code == 0)
        return try Self.measure(client.peer)
      }
      async let raw = onThread { try Self.measure(try BlockingPeer.connect(tcp)) }
      async let first = onThread { try overSOCKS5() }
      async let second = onThread { try overSOCKS5() }
      async let web = onThread {
        let client = try HTTPPeer.connect(http)
        try client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n")
        #expect(try client.readHead()?.status == 200)
        return try Self.measure(client.peer)
      }
      let (a, b) = (try await first, try await second)
      let (overTCP, overHTTP) = (try await raw, try await web)
      let allowed = Double(Self.rate) * 0.95...Double(Self.rate) * 1.05
      #expect(allowed.contains(overTCP), "TCP: \(overTCP)")
      #expect(allowed.contains(a + b), "SOCKS5: \(a) and \(b)")
      #expect(allowed.contains(overHTTP), "HTTP: \(overHTTP)")
      #expect(max(a, b) / min(a, b) <= 1.2, "\(a) and \(b)")
    }
  }
}
