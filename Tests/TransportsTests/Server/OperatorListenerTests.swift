import Glibc
import Middlewares
import Pipeline
import Synchronization
import Testing

@testable import Transports

/// A listener for operators answers until the end, and counts for nothing.
@Suite struct OperatorListenerTests {
  /// What a health check and a monitoring see of a server that does not exist yet when its chains are made.
  private final class Watched: Sendable {
    private let kept = Mutex<Server?>(nil)

    var server: Server? { kept.withLock { $0 } }
    func set(_ server: Server) { kept.withLock { $0 = server } }
  }

  private func ready(_ watched: Watched) -> some Proxy {
    Listener(.http, on: "127.0.0.1:0", name: "admin") {
    } to: {
      Route(
        "/readyz",
        to: {
          Handle { exchange in
            let isReady = watched.server?.isReady ?? false
            return try await exchange.respond(isReady ? 200 : 503, text: isReady ? "ready\n" : "draining\n")
          }
        })
      Route("/metrics", to: { ServeMetrics { page in if let server = watched.server { page.add(server) } } })
    }.forOperators()
  }

  private func status(_ peer: BlockingPeer, _ target: String = "/readyz") throws -> (status: Int, body: String) {
    try peer.send(Array("GET \(target) HTTP/1.1\r\nhost: localhost\r\n\r\n".utf8))
    var bytes: [UInt8] = []
    while true {
      let part = try peer.receive()
      if part.isEmpty { break }
      bytes += part
      let text = String(decoding: bytes, as: UTF8.self)
      guard let end = text.firstRange(of: "\r\n\r\n"),
        let line = text.split(separator: "\r\n").first(where: { $0.lowercased().hasPrefix("content-length:") }),
        let length = Int(line.split(separator: " ")[1])
      else { continue }
      let body = text[end.upperBound...]
      if body.utf8.count >= length { break }
    }
    let text = String(decoding: bytes, as: UTF8.self)
    let status = text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
    return (status, text.firstRange(of: "\r\n\r\n").map { String(text[$0.upperBound...]) } ?? "")
  }

  @Test func itSays503FromTheStopUntilTheLastTunnelHasEnded() async throws {
    let origin = try TestOrigin.echo()
    let watched = Watched()
    var options = ServerOptions()
    options.workers = 2
    options.log = { _, _ in }
    let server = try Server(
      Proxies([
        Listener(.tcp, on: "127.0.0.1:0", name: "relay") {
        } to: {
          Upstream("\(origin.address)")
        }, ready(watched),
      ]), options: options)
    watched.set(server)
    let running = Task { try await server.run() }
    let (relay, admin) = (server.listeners[0].address, server.listeners[1].address)
    let tunnel = try await onThread {
      let tunnel = try BlockingPeer.connect(relay)
      try tunnel.send([1])
      #expect(try tunnel.receive(exactly: 1) == [1])
      let kept = try BlockingPeer.connect(admin)
      #expect(try status(kept) == (200, "ready\n"))
      // Only the tunnel is counted.
      #expect(server.openConnections == 1)
      server.stop()
      // At once, on a connection that is there and on a new one, and for as long as the drain takes.
      #expect(try status(kept) == (503, "draining\n"))
      for _ in 0..<20 {
        let new = try BlockingPeer.connect(admin)
        #expect(try status(new) == (503, "draining\n"))
        new.close()
      }
      #expect(try status(kept, "/metrics").body.contains("\nproxy_ready 0\n"))
      try tunnel.send([2])
      #expect(try tunnel.receive(exactly: 1) == [2])
      return tunnel
    }
    tunnel.close()
    let report = try await running.value
    #expect(report.cut == 0)
    // Now the door is closed here, too.
    #expect(throws: SystemError("connect", ECONNREFUSED)) { try BlockingPeer.connect(admin) }
  }

  @Test func anOpenConnectionOfAnOperatorHoldsUpNoStop() async throws {
    let watched = Watched()
    try await withServer {
      ready(watched)
    } body: { running in
      watched.set(running.server)
      let peer = try BlockingPeer.connect(running.address("admin"))
      #expect(try status(peer) == (200, "ready\n"))
      running.server.stop()
      // The end of the server, and not of anybody's patience.
      #expect(try peer.receiveToEnd() == [])
    }
  }

  @Test func aFullServerStillAnswersItsOperators() async throws {
    let origin = try TestOrigin.echo()
    let watched = Watched()
    try await withServer {
      $0.maxConnections = 1
    } app: {
      Listener(.tcp, on: "127.0.0.1:0", name: "relay") {
      } to: {
        Upstream("\(origin.address)")
      }
      ready(watched)
    } body: { running in
      watched.set(running.server)
      let tunnel = try BlockingPeer.connect(running.address("relay"))
      try tunnel.send([1])
      #expect(try tunnel.receive(exactly: 1) == [1])
      #expect(try status(BlockingPeer.connect(running.address("admin"))) == (200, "ready\n"))
    }
  }

  @Test func theServerSaysWhatItKnows() async throws {
    let origin = try TestOrigin.echo()
    let watched = Watched()
    let metrics = Metrics()
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0", name: "relay") {
        metrics
        TokenBucket(.perHour(2), per: .global).named("two")
      } to: {
        Upstream("\(origin.address)")
      }.maxConnections(10)
      ready(watched)
    } body: { running in
      watched.set(running.server)
      for _ in 0..<3 {
        let tunnel = try BlockingPeer.connect(running.address("relay"))
        // The third is refused, and reset.
        do {
          try tunnel.send([1])
          if try tunnel.receive(exactly: 1) == [1] {
            tunnel.finishWriting()
            #expect(try tunnel.receiveToEnd() == [])
          }
        } catch let error as SystemError {
          #expect([ECONNRESET, EPIPE].contains(error.code))
        }
      }
      var page = ""
      let peer = try BlockingPeer.connect(running.address("admin"))
      // A tunnel's end is counted once both sides are closed, which its client does not see.
      while !page.contains("proxy_requests_total{listener=\"relay\",transport=\"tcp\"} 3\n") {
        page = try status(peer, "/metrics").body
      }
      for line in [
        "proxy_ready 1", "proxy_active_connections{listener=\"admin\",transport=\"http\"} 1",
        "proxy_connections_total{listener=\"relay\",transport=\"tcp\"} 3",
        "proxy_connections_limit{listener=\"relay\",transport=\"tcp\"} 10",
        "proxy_connections_refused_total{listener=\"relay\",transport=\"tcp\",reason=\"per_client\"} 0",
        "proxy_middleware_requests_total{listener=\"relay\",middleware=\"token-bucket\",name=\"two\"} 3",
        "proxy_middleware_refusals_total{listener=\"relay\",middleware=\"token-bucket\",name=\"two\"} 1",
        "proxy_middleware_requests_total{listener=\"relay\",middleware=\"upstream\",name=\"\"} 2",
        "proxy_bytes_total{listener=\"relay\",transport=\"tcp\",direction=\"up\"} 2",
        "proxy_bytes_total{listener=\"relay\",transport=\"tcp\",direction=\"down\"} 2",
        "proxy_refusals_total{listener=\"relay\",transport=\"tcp\",reason=\"rateLimited\"} 1", "proxy_engine_loops 2",
        "proxy_offload_waiting{pool=\"lookup\"} 0",
      ] {
        #expect(page.contains("\n\(line)\n"), "\(line)")
      }
    }
  }

  @Test func backendsAreNamedAsTheConfigurationNamesThem() async throws {
    let origin = try TestOrigin.echo()
    let upstreams = Upstreams(.roundRobin, named: "web") {
      Backend("\(origin.address)", named: "b1")
      Backend("127.0.0.1:1", named: "b2")
    }
    try upstreams.group.drain("b2")
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0", name: "relay") {
      } to: {
        upstreams
      }
      Listener(.tcp, on: "127.0.0.1:0", name: "again") {
      } to: {
        upstreams
      }
    } body: { running in
      #expect(running.server.upstreamGroups.map(\.name) == ["web"])
      let tunnel = try BlockingPeer.connect(running.address("relay"))
      try tunnel.send([1])
      #expect(try tunnel.receive(exactly: 1) == [1])
      var page = MetricPage()
      page.add(running.server)
      let text = String(decoding: MetricFormat.prometheus.text(of: page), as: UTF8.self)
      for line in [
        "proxy_backend_health{upstream=\"web\",backend=\"b1\"} 1",
        "proxy_backend_health{upstream=\"web\",backend=\"b2\"} 0",
        "proxy_backend_state{upstream=\"web\",backend=\"b2\",state=\"draining\"} 1",
        "proxy_backend_state{upstream=\"web\",backend=\"b2\",state=\"healthy\"} 0",
        "proxy_backend_active_requests{upstream=\"web\",backend=\"b1\"} 1",
        "proxy_backend_requests_total{upstream=\"web\",backend=\"b1\"} 1",
        "proxy_backend_requests_total{upstream=\"web\",backend=\"b2\"} 0",
        "proxy_backend_failures_total{upstream=\"web\",backend=\"b1\",reason=\"connect\"} 0",
        "proxy_upstream_panic{upstream=\"web\"} 0",
      ] {
        #expect(text.contains("\n\(line)\n"), "\(line)")
      }
      tunnel.close()
    }
  }

  @Test func theProcessIsSeenAsTheSystemSeesIt() {
    var page = MetricPage()
    page.add(ProcessMetrics())
    var values: [String: Double] = [:]
    for family in page.families {
      if case .number(let value)? = family.samples.first?.value { values[family.metric.name] = value }
    }
    #expect((values["process_cpu_seconds_total"] ?? 0) > 0)
    #expect((values["process_resident_memory_bytes"] ?? 0) > 1_000_000)
    #expect((values["process_virtual_memory_bytes"] ?? 0) >= (values["process_resident_memory_bytes"] ?? .infinity))
    #expect((values["process_threads"] ?? 0) >= 1)
    #expect((values["process_open_fds"] ?? 0) >= 3)
    #expect((values["process_max_fds"] ?? 0) >= (values["process_open_fds"] ?? .infinity))
    #expect(abs((values["process_start_time_seconds"] ?? 0) - Double(time(nil))) < 86_400)
  }

  /// The program's name may hold blanks and parentheses.
  @Test func theNameOfTheProgramForgesNothing() throws {
    let rest = (4...52).map(String.init).joined(separator: " ")
    let status = try #require(ProcessStatus("7 (a) R 1 2 (b) S \(rest)\n"))
    #expect(status.threads == 20 && status.startTicks == 22)
    #expect(status.virtualBytes == 23 && status.residentPages == 24)
    #expect(ProcessStatus("7 (a) R 1 2") == nil)
    #expect(ProcessStatus("") == nil)
  }
}
