import Pipeline
import PipelineTesting
import Testing

@testable import Transports

/// What keeps an app with upstreams from starting, as text.
@Suite struct UpstreamsRefusalTests {
  private func sentences(_ upstreams: Upstreams) -> [String] {
    do {
      _ = try Service(
        Listener(.tcp, on: "127.0.0.1:0") {
        } to: {
          upstreams
        }, shards: 1)
      return []
    } catch {
      return (error as? ConfigurationError)?.messages ?? ["\(error)"]
    }
  }

  private func sentence(
    _ strategy: LoadBalancing = .roundRobin, health: HealthCheck? = nil, passive: PassiveHealth = .standard,
    panic: PanicRule = .never, slowStart: Duration = .zero, to backend: Backend = Backend("127.0.0.1:1")
  ) -> String {
    let upstreams = Upstreams(strategy, health: health, passive: passive, panic: panic, slowStart: slowStart) {
      backend
    }
    let all = sentences(upstreams)
    #expect(all.count == 1)
    return String(all.first?.trimmingPrefix("upstreams: ") ?? "")
  }

  @Test func whatIsRightIsNotRefused() {
    #expect(
      sentences(Upstreams(.leastConnections, health: .http(), named: "web") { Backend("127.0.0.1:1", weight: 2) }) == []
    )
    #expect(
      sentences(
        Upstreams {
          "127.0.0.1:1"; "[::1]:2"; "unix:/run/a.sock"; "web.internal:80"
        }) == [])
  }

  @Test func theListIsChecked() {
    #expect(sentences(Upstreams(backends: [])) == ["upstreams: it has no backend: name one or more"])
    #expect(
      sentences(
        Upstreams {
          "127.0.0.1:1"; "127.0.0.1:1"
        })
        == ["upstreams: two backends are called 127.0.0.1:1: give each a name of its own"])
    #expect(sentence(to: Backend("nowhere")).hasPrefix("\"nowhere\" is no address: write host:port"))
    #expect(sentence(to: Backend("127.0.0.1:0")) == "127.0.0.1:0: port 0 cannot be dialled; allowed are 1...65535")
    #expect(
      sentence(to: Backend("127.0.0.1:1", priority: -1))
        == "127.0.0.1:1 has a priority of -1: 0 to 65,535 are allowed")
    #expect(
      sentence(to: Backend("127.0.0.1:1", weight: 0)) == "127.0.0.1:1 has a weight of 0: 1 to 10,000 are allowed")
    #expect(
      sentence(to: Backend("127.0.0.1:1", maxConnections: 0))
        == "127.0.0.1:1 takes 0 connections: 1 to 1,000,000 are allowed")
    #expect(
      sentence(to: Backend("127.0.0.1:1", queue: 3))
        == "127.0.0.1:1 has a queue and no maxConnections: nobody would ever wait in it")
    #expect(
      sentence(to: Backend("127.0.0.1:1", named: "a b"))
        == "\"a b\" is no name of a backend: write 1 to 100 printable characters without a space or a quote")
  }

  @Test func strategiesAreChecked() {
    #expect(
      sentence(.sticky(StickyCookie())) == "a cookie needs HTTP: use .clientAddressHash here, or a Listener(.http, ...)"
    )
    #expect(
      sentence(.hash(.header("x-user")))
        == "the header x-user is part of an HTTP request: use another key here, or a Listener(.http, ...)")
    #expect(
      sentence(.hash(.clientAddress, boundedLoad: 1))
        == "a bounded load of 1.0: 1.01 to 10 times the share are allowed")
    #expect(sentence(.peakEWMA(decay: .zero)) == "a decay of 0.0 seconds: it must be more than 0 seconds")
  }

  @Test func healthIsChecked() {
    #expect(
      sentence(health: .http("health"))
        == "\"health\" is no path to check: it begins with / and has no spaces: /health")
    #expect(sentence(health: .tcp(rise: 0)) == "a rise of 0: 1 to 100 are allowed")
    #expect(sentence(health: .tcp(every: .zero)) == "a check every 0.0 seconds: 10 ms or more is allowed")
    var passive = PassiveHealth.standard
    passive.failureRatio = 50
    #expect(sentence(passive: passive) == "a failure ratio of 50.0: more than 0 and up to 1 is allowed")
    #expect(sentence(panic: .below(50)) == "panic below a share of 50.0: more than 0 and up to 1 is allowed")
    #expect(sentence(slowStart: .seconds(-1)) == "a slow start of -1.0 seconds: 0 seconds or more is allowed")
  }
}
