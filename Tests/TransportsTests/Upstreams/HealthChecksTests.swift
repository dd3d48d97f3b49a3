import Pipeline
import PipelineTesting
import Testing

@testable import Transports

/// Active checks on a manual clock, against peers in memory.
@Suite struct HealthChecksTests {
  /// Runs the checks of a group beside `body`.
  private func withChecks(
    _ health: HealthCheck, _ backends: [Backend] = [Backend("127.0.0.1:1")],
    _ body: (UpstreamGroup, ManualServices) async throws -> Void
  ) async throws {
    let services = ManualServices()
    let clock = services.clock
    var health = health
    health.jitter = 0
    let group = UpstreamGroup(
      "web",
      UpstreamGroup.Configuration(
        strategy: .roundRobin, health: health, passive: .standard, panic: .never, slowStart: .zero),
      backends, clock: { clock.now })
    let running = Task { try await group.run(services) }
    await services.clock.sleepers(backends.count)
    try await body(group, services)
    running.cancel()
    _ = await running.result
  }

  /// Lets the next check begin and end.
  private func tick(_ services: ManualServices, _ duration: Duration = .seconds(10)) async {
    services.clock.advance(by: duration)
    await services.clock.sleepers(1)
  }

  private func answering(_ status: String, _ body: String = "") -> MockNetwork.Dial {
    .connects(
      to: .answers { _ in Array("HTTP/1.1 \(status)\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)".utf8) })
  }

  @Test func aBackendGoesDownAndComesBackByTheAnswersOfItsChecks() async throws {
    try await withChecks(.http(rise: 2, fall: 2)) { group, services in
      func state() -> BackendState { group.report().backends[0].state }
      services.network.usually(answering("200 OK"))
      await tick(services)
      #expect(state() == .healthy)
      #expect(group.report().backends[0].lastCheck?.detail == "status 200")
      services.network.usually(answering("500 No"))
      await tick(services)
      #expect(state() == .healthy)
      await tick(services)
      #expect(state() == .unhealthy)
      #expect(group.report().backends[0].reason == "2 checks in a row failed, the last one: status 500")
      services.network.usually(answering("204 Nothing"))
      await tick(services)
      #expect(state() == .unhealthy)
      await tick(services)
      #expect(state() == .healthy)
      #expect(group.report().events.map(\.kind) == [.unhealthy, .up])
      #expect(
        services.log.lines.map(\.message) == [
          "upstreams web: 127.0.0.1:1: unhealthy: 2 checks in a row failed, the last one: status 500",
          "upstreams web: 127.0.0.1:1: up: 2 checks passed in a row",
        ])
    }
  }

  @Test func anAnswerIsJudgedByStatusAndBody() async throws {
    let cases: [(HealthCheck, MockNetwork.Dial, Bool, String)] = [
      (.http(), answering("301 Moved"), false, "status 301"),
      (.http(status: 200...399), answering("301 Moved"), true, "status 301"),
      (.http(body: "ready"), answering("200 OK", "all ready"), true, "status 200"),
      (
        .http(body: "ready"), answering("200 OK", "starting"), false,
        "status 200, and a body without the text that it should hold"
      ),
      (.http(), .fails(.connectionRefused), false, "connectionRefused"),
      (.http(), .connects(to: .says(Array("SSH-2.0".utf8))), false, "upstreamProtocol"),
      (.http(), .connects(to: .says([])), false, "closed without an answer"),
      (.tcp(), .connects(to: .sink), true, "connected"),
      (.tcp(), .fails(.hostUnreachable), false, "hostUnreachable"),
      (.tcp(send: "PING\r\n", expect: "+PONG"), .connects(to: .says(Array("+PONG\r\n".utf8))), true, "answered"),
      (.tcp(send: "PING\r\n", expect: "+PONG"), .connects(to: .says(Array("-ERR\r\n".utf8))), false, "another answer"),
      (.tcp(expect: "+PONG"), .connects(to: .says([])), false, "closed before it answered"),
    ]
    for (health, dial, isWell, detail) in cases {
      try await withChecks(health) { group, services in
        services.network.usually(dial)
        await tick(services)
        let check = group.report().backends[0].lastCheck
        #expect(check?.passed == isWell, "\(detail)")
        #expect(check?.detail.hasPrefix(detail) == true, "\(check?.detail ?? "none"), not \(detail)")
      }
    }
  }

  @Test func aBackendThatAcceptsAndDoesNotAnswerFailsItsCheck() async throws {
    try await withChecks(.http(timeout: .seconds(5))) { group, services in
      services.network.usually(.connects(to: .sink))
      await tick(services, .seconds(1))
      await tick(services, .seconds(5))
      #expect(group.report().backends[0].lastCheck?.detail == "no answer within 5.0 seconds")
      #expect(group.report().backends[0].state == .unhealthy)
    }
  }

  @Test func whoIsAddedIsCheckedAndWhoIsRemovedIsNot() async throws {
    try await withChecks(.tcp()) { group, services in
      try group.add(Backend("127.0.0.1:2"))
      await services.clock.sleepers(2)
      services.clock.advance(by: .seconds(10))
      await services.clock.sleepers(2)
      #expect(Set(services.network.dials.flatMap(\.addresses).map(\.description)) == ["127.0.0.1:1", "127.0.0.1:2"])
      try group.remove("127.0.0.1:1")
      let before = services.network.dials.count
      services.clock.advance(by: .seconds(10))
      await services.clock.sleepers(1)
      #expect(services.network.dials.dropFirst(before).allSatisfy { $0.endpoint?.port == 2 })
    }
  }

  @Test func whoIsDisabledIsNotAsked() async throws {
    try await withChecks(.tcp()) { group, services in
      try group.disable("127.0.0.1:1")
      await services.clock.sleepers(1)
      for _ in 0..<3 { await tick(services) }
      #expect(services.network.dials.isEmpty)
    }
  }

  @Test func anotherPortMayBeAsked() async throws {
    try await withChecks(.tcp(port: 9000)) { _, services in
      await tick(services)
      #expect(services.network.dials.first?.endpoint?.port == 9000)
    }
  }

  @Test func intervalsVaryByTheirJitter() {
    var health = HealthCheck.tcp(every: .seconds(10))
    health.jitter = 0.2
    #expect(abs((health.interval(0) - .seconds(8)).inSeconds) < 0.001)
    #expect(abs((health.interval(.max) - .seconds(12)).inSeconds) < 0.001)
  }

  @Test func aCheckOfABackendWithTheProxyProtocolIsAboutNoClient() {
    var bytes: [UInt8] = []
    ProxyProtocolWriter.appendLocal(.v2, to: &bytes)
    #expect(bytes == [13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10, 0x20, 0, 0, 0])
    bytes = []
    ProxyProtocolWriter.appendLocal(.v1, to: &bytes)
    #expect(String(decoding: bytes, as: UTF8.self) == "PROXY UNKNOWN\r\n")
  }
}
