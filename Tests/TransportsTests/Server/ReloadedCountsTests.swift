import Middlewares
import Pipeline
import Synchronization
import Testing

@testable import Transports

/// Counters only grow, over any row of reloads.
@Suite struct ReloadedCountsTests {
  // MARK: Without a socket

  private static let calls = Metric.counter("test_calls_total", "Calls")
  private static let times = Metric.histogram("test_seconds", "Times")
  private static let open = Metric.gauge("test_open", "Open")

  private func page(_ counts: [MetricLabel: Int], times: [Int]? = nil, open: Int? = nil) -> MetricPage {
    var page = MetricPage()
    for (name, count) in counts { page.add(Self.calls, count, ["name": name]) }
    if let times { page.add(Self.times, MetricBuckets(bounds: [1, 2], counts: times, sum: 4)) }
    if let open { page.add(Self.open, open) }
    return page
  }

  private func number(_ page: MetricPage, _ metric: String, _ labels: [String: String]) -> Double? {
    for family in page.families where family.metric.name == metric {
      for sample in family.samples {
        var found: [String: String] = [:]
        sample.labels.forEach { found[$0] = $1 }
        guard found == labels else { continue }
        switch sample.value {
        case .number(let number): return number
        case .buckets(let buckets): return Double(buckets.count)
        }
      }
    }
    return nil
  }

  @Test func whatLeavesASumIsAddedToWhatStays() {
    var carried = CarriedCounts()
    carried.keep(page(["a": 150], times: [1, 2, 3], open: 7), without: page(["a": 50], times: [1, 0, 3], open: 1))
    var shown = page(["a": 51], times: [2, 0, 3], open: 2)
    carried.add(to: &shown)
    #expect(number(shown, "test_calls_total", ["name": "a"]) == 151)
    #expect(number(shown, "test_seconds", [:]) == 7)
    #expect(number(shown, "test_open", [:]) == 2)
  }

  @Test func aSeriesThatIsGoneIsNotShownAndGoesOnWhenItComesBack() {
    var carried = CarriedCounts()
    carried.keep(page(["a": 5, "b": 7]), without: page(["a": 5]))
    var without = page(["a": 6])
    carried.add(to: &without)
    #expect(number(without, "test_calls_total", ["name": "b"]) == nil)
    #expect(number(without, "test_calls_total", ["name": "a"]) == 6)
    var again = page(["a": 6, "b": 1])
    carried.add(to: &again)
    #expect(number(again, "test_calls_total", ["name": "b"]) == 8)
    // And once more: what was carried is not carried twice.
    carried.keep(page(["b": 1]), without: page([:]))
    var third = page(["b": 0])
    carried.add(to: &third)
    #expect(number(third, "test_calls_total", ["name": "b"]) == 8)
  }

  @Test func namesThatNeverComeBackTakeNoMoreMemoryThanTheLimit() {
    let many = MetricNames((0..<900).map { "n\($0)" })
    var carried = CarriedCounts()
    for round in 0..<6 {
      var before = MetricPage()
      for index in 0..<900 {
        let labels: MetricLabels = ["name": many.label(for: "n\(index)"), "round": MetricLabel(Round.allCases[round])]
        before.add(Self.calls, 1, labels)
      }
      carried.keep(before, without: MetricPage())
      carried.trim(to: page(["a": 1]))
      #expect(carried.count <= CarriedCounts.limit)
    }
  }

  private enum Round: String, CaseIterable { case a, b, c, d, e, f }

  // MARK: A server

  /// Counts its exchanges in a state object that no reload carries over.
  private struct Forgetful: Middleware {
    final class Count: MetricSource {
      static let seen = Metric.counter("test_seen_total", "Exchanges")
      let value = Atomic<Int>(0)
      func collect(into page: inout MetricPage) { page.add(Self.seen, value.load(ordering: .relaxed)) }
    }

    private let count = Count()
    var state: AnyObject? { count }

    func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
      count.value.add(1, ordering: .relaxed)
      return try await next()
    }
  }

  private func app(_ listeners: [(name: String, address: String)], to origins: [SocketAddress]) -> Proxies {
    Proxies(
      listeners.map { name, address in
        Listener(.tcp, on: address, name: name) {
          Forgetful()
        } to: {
          Upstreams(.roundRobin, named: "web", backends: origins.map { Backend("\($0)") })
        }
      })
  }

  private func counters(_ server: Server) -> [String: Double] {
    var page = MetricPage()
    server.collect(into: &page)
    var all: [String: Double] = [:]
    for family in page.families where family.metric.kind == .counter {
      for sample in family.samples {
        var name = family.metric.name
        sample.labels.forEach { name += " \($1)" }
        if case .number(let number) = sample.value { all[name] = number }
      }
    }
    return all
  }

  /// Connects, and sees that the tunnel is there.
  private func visit(_ address: SocketAddress) async throws {
    try await onThread {
      let client = try BlockingPeer.connect(address)
      try client.send([1])
      #expect(try client.receive(exactly: 1) == [1])
      client.close()
    }
  }

  @Test func noCounterFallsWhateverIsReloaded() async throws {
    let origins = [try TestOrigin.echo(), try TestOrigin.echo()]
    let both = origins.map(\.address)
    let (first, second) = ("127.0.0.1:0", "127.0.0.2:0")
    var highest: [String: Double] = [:]
    try await withServer {
      app([("in", first)], to: both)
    } body: { server in
      func look() {
        for (name, value) in counters(server.server) {
          #expect(value >= highest[name] ?? 0, "\(name)")
          highest[name] = value
        }
      }
      // Another address, the same again, none, back; one backend less, and more.
      let row: [([(String, String)], [SocketAddress])] = [
        ([("in", second)], both), ([("in", second)], both), ([("in", first)], both), ([("other", first)], both),
        ([("other", first)], both), ([("in", first)], both), ([("in", first)], [both[0]]), ([("in", first)], both),
        ([("in", second), ("other", first)], both),
      ]
      var visits = 0
      for (listeners, backends) in row {
        for _ in 0..<2 {
          if server.server.listeners.contains(where: { $0.name == "in" }) {
            try await visit(server.address("in"))
            visits += 1
          }
        }
        look()
        try await server.server.reload(app(listeners, to: backends))
        look()
      }
      #expect(highest["proxy_connections_total in tcp"] == Double(visits))
      #expect(highest["proxy_middleware_requests_total in upstreams web"] == Double(visits))
      #expect(highest["test_seen_total"] == Double(visits))
      #expect(
        both.reduce(0) { $0 + (highest["proxy_backend_requests_total web \($1)"] ?? 0) } == Double(visits))
    }
  }
}
