public import Pipeline
internal import Synchronization

/// What a server says of itself: its listeners, every element of every chain, the engine; and whatever the state objects of
/// its chains say (``MetricSource``), each once. Its counters only grow, whatever is reloaded.
extension Server: MetricSource {
  public func collect(into page: inout MetricPage) {
    page.add(ServerMetric.ready, isReady)
    let engine = ledger.withLock { ledger in
      let (ports, retired, engine) = parts
      for port in ports { port.collectLimit(into: &page) }
      var seen: Set<ObjectIdentifier> = []
      for port in ports + retired {
        port.collectOpen(into: &page)
        if seen.insert(ObjectIdentifier(port.counts)).inserted { port.collectCounts(into: &page) }
      }
      ledger.collect(into: &page)
      return engine
    }
    engine?.collect(into: &page)
  }
}

/// The services that are asked for metrics, and what those before them had counted: both change together, so that nobody sees a
/// chain that begins at 0 without what its predecessor had come to.
struct MetricLedger: Sendable {
  private var services: [any Serving]
  private var carried = CarriedCounts()

  init(_ services: [any Serving]) { self.services = services }

  func collect(into page: inout MetricPage) {
    for service in services { service.collectElements(into: &page) }
    collectSources(into: &page)
    carried.add(to: &page)
  }

  private func collectSources(into page: inout MetricPage) {
    var seen: Set<ObjectIdentifier> = []
    for service in services { service.placement.collect(into: &page, seen: &seen) }
  }

  /// A reload.
  ///
  /// - Parameters:
  ///   - ended: ports that nothing is open on any more, and that nobody sees from now on.
  ///   - left: all others.
  mutating func replace(by next: [any Serving], _ ended: [Port], _ left: [Port]) {
    var gone = MetricPage()
    let held = Set(left.map { ObjectIdentifier($0.counts) })
    for port in ended where !held.contains(ObjectIdentifier(port.counts)) { port.collectCounts(into: &gone) }
    // Each service counts its elements itself, from 0.
    for service in services { service.collectElements(into: &gone) }
    // A source may be there still, or have handed on what it counted.
    var before = MetricPage()
    collectSources(into: &before)
    services = next
    var now = MetricPage()
    collectSources(into: &now)
    carried.keep(gone, without: MetricPage())
    carried.keep(before, without: now)
    for port in left { port.collectCounts(into: &now) }
    for service in services { service.collectElements(into: &now) }
    carried.trim(to: now)
  }
}

private enum ServerMetric {
  static let ready = Metric.gauge(
    "proxy_ready", "Whether new connections are taken: 0 from the moment a stop is asked for", joining: .least)
  static let active = Metric.gauge("proxy_active_connections", "Connections of clients that are open")
  static let accepted = Metric.counter("proxy_connections_total", "Connections that were taken from the kernel")
  static let refused = Metric.counter(
    "proxy_connections_refused_total", "Connections that were closed before a chain saw them, by the reason")
  static let limit = Metric.gauge("proxy_connections_limit", "Connections that a listener may have open at once")

  static let entered = Metric.counter("proxy_middleware_requests_total", "Exchanges that came to an element")
  static let elementRefused = Metric.counter(
    "proxy_middleware_refusals_total", "Of these, refused by the element itself")
  static let failed = Metric.counter(
    "proxy_middleware_failures_total", "Of these, ended by another error of the element, or given up there by a retry")

  static let loops = Metric.gauge("proxy_engine_loops", "Event loops")
  static let sockets = Metric.gauge("proxy_engine_sockets", "Open sockets, listening ones not counted")
  static let timers = Metric.gauge("proxy_engine_timers", "Armed timers")
  static let pipes = Metric.gauge("proxy_engine_pipes", "Pipes that relays use to move bytes within the kernel")
  static let spilled = Metric.gauge(
    "proxy_engine_spilled_bytes", "Bytes that are held for receivers that do not read")
  static let stalls = Metric.counter("proxy_engine_stalls_total", "Times that a loop was busy for more than 50 ms")
  static let waiting = Metric.gauge("proxy_offload_waiting", "Blocking work that waits for a thread")
  static let threads = Metric.gauge("proxy_offload_threads", "Threads for blocking work")
  static let room = Metric.gauge("proxy_offload_waiting_limit", "Blocking work that may wait; more is refused")
  static let idle = Metric.gauge(
    "proxy_upstream_idle_connections", "Connections to upstreams that wait for the next request")
}

extension Port {
  private var labels: MetricLabels {
    let listener = listener
    return ["listener": MetricLabel(listener), "transport": MetricLabel(configured: listener.transport)]
  }

  /// Of those that accept alone: what one had that was moved to another address is nobody's limit any more.
  fileprivate func collectLimit(into page: inout MetricPage) {
    if let limit = listener.options.maxConnections { page.add(ServerMetric.limit, limit, labels) }
  }

  fileprivate func collectOpen(into page: inout MetricPage) { page.add(ServerMetric.active, limit.count, labels) }

  /// Once for all ports that share their counts.
  fileprivate func collectCounts(into page: inout MetricPage) {
    let labels = labels
    page.add(ServerMetric.accepted, counts.acceptedConnections, labels)
    for (reason, count) in [
      ("per_client" as MetricLabel, counts.tooMany.count), ("proxy_protocol", counts.notAnnounced.count),
    ] {
      var labels = labels
      labels.add("reason", reason)
      page.add(ServerMetric.refused, count, labels)
    }
  }
}

extension Serving {
  /// Elements that have no name and are of one kind are one series: `.named` tells them apart.
  fileprivate func collectElements(into page: inout MetricPage) {
    let counts = counts()
    let listener = MetricLabel(configured: name)
    for (entry, counts) in zip(placement.entries, counts) {
      let labels: MetricLabels = [
        "listener": listener,
        "middleware": MetricLabel(configured: (entry.groups + [entry.label]).joined(separator: "/")),
        "name": MetricLabel(configured: entry.name ?? ""),
      ]
      page.add(ServerMetric.entered, counts.entered, labels)
      page.add(ServerMetric.elementRefused, counts.refused, labels)
      page.add(ServerMetric.failed, counts.failed, labels)
    }
  }
}

extension Engine {
  fileprivate func collect(into page: inout MetricPage) {
    page.add(ServerMetric.loops, loops.count)
    page.add(ServerMetric.sockets, counters.sockets.value)
    page.add(ServerMetric.timers, counters.timers.value)
    page.add(ServerMetric.pipes, counters.pipesInFlight.value)
    page.add(ServerMetric.spilled, counters.spilledBytes.value)
    page.add(ServerMetric.stalls, watchdog.stalls[0])
    page.add(ServerMetric.idle, loops.reduce(0) { $0 + $1.idleUpstreams[0] })
    for (name, pool) in [("work" as MetricLabel, offloadPool), ("lookup", lookupPool)] {
      let load = pool.load
      page.add(ServerMetric.waiting, load.waiting, ["pool": name])
      page.add(ServerMetric.threads, load.threads, ["pool": name])
      page.add(ServerMetric.room, pool.queueLimit, ["pool": name])
    }
  }
}
